//! Where a command really is, found as a shell would and once, and what of the host has to be seen for it to work.

mod manager;
mod prefix;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use livecode_core::{Error, Result};

/// Searched after the host's own `PATH`.
const USUAL: &str = "/usr/local/bin:/usr/bin:/bin";

/// How many scripts may be each other's interpreters, and how many links may follow each other: as the kernel has it.
const MAX_DEPTH: usize = 4;
const MAX_LINKS: usize = 40;

/// An executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Absolute, by its own name even where that is a link: many programs go by the name they are started with. As it was
    /// given, where it's relative to the work directory.
    pub(crate) path: PathBuf,
    /// What has to be shown to a program for it to work, where that isn't in a system directory.
    pub(crate) prefixes: Vec<PathBuf>,
}

/// What was found before.
#[derive(Debug, Default)]
pub(crate) struct Toolchains(Mutex<HashMap<String, Tool>>);

impl Toolchains {
    /// All of them, where all were found before.
    pub(crate) fn known(&self, commands: &[&str]) -> Option<Vec<Tool>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        commands.iter().map(|command| known.get(*command).cloned()).collect()
    }

    /// Finds `command`. What isn't there is looked for again next time: it may be installed meanwhile. Asks version
    /// managers, which takes its time.
    ///
    /// # Errors
    ///
    /// `Unsupported`, saying where it was looked for, or what of it can't be shown to a program; `Unavailable` where this process is
    /// out of files, processes or memory, so that nobody knows.
    pub(crate) fn find(&self, command: &str) -> Result<Tool> {
        if let Some(tool) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(command) {
            return Ok(tool.clone());
        }
        let tool = Surroundings::of_this_process().find(command)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(command.to_owned(), tool.clone());
        Ok(tool)
    }
}

/// What a lookup goes by.
#[derive(Clone, Debug)]
struct Surroundings {
    path: Vec<PathBuf>,
    home: Option<PathBuf>,
    /// Where Nix keeps what it installs.
    store: PathBuf,
}

impl Surroundings {
    fn of_this_process() -> Self {
        let search = env::var_os("PATH").unwrap_or_default();
        Self {
            path: env::split_paths(&search).chain(env::split_paths(USUAL)).collect(),
            home: env::var_os("HOME").map(PathBuf::from),
            store: "/nix/store".into(),
        }
    }

    fn find(&self, command: &str) -> Result<Tool> {
        self.find_for(command, 0)
    }

    fn find_for(&self, command: &str, depth: usize) -> Result<Tool> {
        if depth > MAX_DEPTH {
            return Err(Error::unsupported(format!("{command} is a script whose interpreters have no end")));
        }
        if command.contains('/') && !command.starts_with('/') {
            return Ok(Tool { path: command.into(), prefixes: Vec::new() });
        }
        let path = if command.starts_with('/') {
            let path = PathBuf::from(command);
            is_executable(&path).then_some(path).ok_or_else(|| {
                Error::unsupported(format!(
                    "{command} is not there or can't be executed: install it on this machine"
                ))
            })?
        } else {
            self.on_path(command).ok_or_else(|| {
                let search = env::join_paths(&self.path).unwrap_or_default();
                Error::unsupported(format!(
                    "{command} is not installed: it's not on PATH ({}): install it on this machine",
                    search.to_string_lossy()
                ))
            })?
        };
        let path = manager::behind(&path, self)?;
        let hops = hops(&path)?;
        let (Some(first), Some(last)) = (hops.first(), hops.last()) else {
            return Err(Error::internal(format!("{command} leads nowhere")));
        };
        if last.ends_with("usr/bin/snap") && !first.ends_with("snap") {
            return Err(Error::unsupported(format!(
                "{command} is installed as a snap, which can't run in a sandbox: install it in another way"
            )));
        }
        let mut prefixes = Vec::new();
        for hop in &hops {
            prefixes.extend(prefix::of(command, hop, self)?);
        }
        if let Some(interpreter) = interpreter_of(last)? {
            let tool = self.find_for(&interpreter, depth + 1).map_err(|error| {
                let why = format!("{command} is a script for {interpreter}: {}", error.message());
                if error.is_temporary() { error } else { Error::unsupported(why) }
            })?;
            prefixes.extend(tool.prefixes);
        }
        Ok(Tool { path: first.clone(), prefixes: prefix::outermost(prefixes) })
    }

    fn on_path(&self, name: &str) -> Option<PathBuf> {
        let absolute = self.path.iter().filter(|directory| directory.is_absolute());
        absolute.map(|directory| directory.join(name)).find(|path| is_executable(path))
    }
}

/// The path and what it leads to, link after link, the file itself last; each in its real directory.
fn hops(path: &Path) -> Result<Vec<PathBuf>> {
    let cannot =
        |error| Error::unsupported(format!("{} can't be followed", path.display())).with_source(error);
    let mut hops = Vec::new();
    let mut next = path.to_owned();
    while hops.len() < MAX_LINKS {
        let (Some(parent), Some(name)) = (next.parent(), next.file_name()) else {
            break;
        };
        let hop = parent.canonicalize().map_err(cannot)?.join(name);
        let metadata = hop.symlink_metadata().map_err(cannot)?;
        hops.push(hop.clone());
        if !metadata.is_symlink() {
            return Ok(hops);
        }
        next = hop.with_file_name(fs::read_link(&hop).map_err(cannot)?);
        if next.file_name().is_none() {
            // It ends in `..`.
            next = next.canonicalize().map_err(cannot)?;
        }
    }
    Err(Error::unsupported(format!("{} is a link that leads nowhere", path.display())))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What a script's first line asks for, `env` seen through; nothing where it isn't a script.
fn interpreter_of(path: &Path) -> Result<Option<String>> {
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(256).read_to_end(&mut start));
    readable(path, read)?;
    Ok(asked_for(&start))
}

fn asked_for(start: &[u8]) -> Option<String> {
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if Path::new(first).file_name()? != "env" {
        return Some(first.to_owned());
    }
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(str::to_owned)
}

/// None where it can't be read. Where that may be otherwise the next time nobody must take it for an answer, which is kept.
fn readable<T>(path: &Path, read: io::Result<T>) -> Result<Option<T>> {
    read.map(Some)
        .or_else(|error| if is_passing(&error) { Err(not_now(path).with_source(error)) } else { Ok(None) })
}

fn not_now(path: &Path) -> Error {
    Error::unavailable(format!(
        "{} can't be looked at: this process is short of files, processes or memory",
        path.display()
    ))
}

fn is_passing(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| SHORT.contains(&code))
}

/// What a process is told that is short of something.
const SHORT: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN];
