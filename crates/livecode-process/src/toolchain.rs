//! Where a command really is: found on the host's `PATH`, through links and version managers, once.

use std::{
    collections::HashMap,
    env, fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use livecode_core::{Error, Result};

/// Where system directories begin: what is beneath is shown to every program.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// Searched after the host's own `PATH`.
const USUAL: &str = "/usr/local/bin:/usr/bin:/bin";

/// An executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Absolute and free of links; or as it was given, where it's relative to the work directory.
    pub(crate) path: PathBuf,
    /// What has to be shown to a program for it to work, where that isn't a system directory.
    pub(crate) prefix: Option<PathBuf>,
}

/// What was found before.
#[derive(Debug, Default)]
pub(crate) struct Toolchains(Mutex<HashMap<String, Tool>>);

impl Toolchains {
    /// Finds `command`. What isn't there is looked for again next time: it may be installed meanwhile.
    ///
    /// # Errors
    ///
    /// `Unsupported`, saying where it was looked for.
    pub(crate) fn find(&self, command: &str) -> Result<Tool> {
        if let Some(tool) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(command) {
            return Ok(tool.clone());
        }
        let tool = find(command)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(command.to_owned(), tool.clone());
        Ok(tool)
    }
}

fn find(command: &str) -> Result<Tool> {
    if command.contains('/') && !command.starts_with('/') {
        return Ok(Tool { path: command.into(), prefix: None });
    }
    if command.starts_with('/') {
        let path = Path::new(command);
        return real(path).ok_or_else(|| {
            Error::unsupported(format!(
                "{command} is not there or can't be executed: install it on this machine"
            ))
        });
    }
    let search = env::var("PATH").unwrap_or_default();
    env::split_paths(&search)
        .chain(env::split_paths(USUAL))
        .filter(|directory| directory.is_absolute())
        .find_map(|directory| real(&directory.join(command)))
        .ok_or_else(|| {
            Error::unsupported(format!(
                "{command} is not installed: it's neither on PATH ({search}) nor in {USUAL}"
            ))
        })
}

fn real(path: &Path) -> Option<Tool> {
    let path = behind_version_manager(path)?.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return None;
    }
    let prefix =
        if SYSTEM.iter().any(|system| path.starts_with(system)) { None } else { Some(prefix_of(&path)?) };
    Some(Tool { path, prefix })
}

/// What an executable needs to be seen with: its prefix where it's installed in one of its own, else itself alone.
fn prefix_of(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?;
    let prefix = directory.parent()?;
    // Directories that hold more than one program's things, secrets among them.
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let shared = prefix.parent().is_none() || home.starts_with(prefix) || prefix.ends_with(".local");
    let own = directory.ends_with("bin") && !shared && prefix.join("lib").is_dir();
    Some(if own { prefix } else { path }.to_owned())
}

/// pyenv, rbenv, nodenv and their kin put scripts in a directory `shims`, each of which asks the manager which version to
/// start; that takes longer than starting it. The manager is asked once, here.
fn behind_version_manager(path: &Path) -> Option<PathBuf> {
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    if !path.parent()?.ends_with("shims") || !is_script(path) {
        return Some(path.to_owned());
    }
    let manager = fs::read_dir(path.parent()?.parent()?.join("bin"))
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|candidate| {
            candidate.file_name().is_some_and(|name| name.to_string_lossy().ends_with("env"))
        })?;
    let answer = Command::new(manager).arg("which").arg(path.file_name()?).output().ok()?;
    let found = String::from_utf8(answer.stdout).ok()?;
    let found = PathBuf::from(found.trim());
    (answer.status.success() && found.is_absolute()).then_some(found)
}

fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}
