//! Version managers put stand-ins on `PATH`, each of which looks up which version to start; that takes longer than starting
//! it, and can't be done inside. The manager is asked once, here.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use livecode_core::{Error, Result};

use super::{SHORT, Surroundings, is_executable, is_passing, not_now, readable};

/// Managers whose stand-ins are links to one program, and the one to ask, which is beside it.
const MULTI_CALL: [(&str, &str); 3] = [("rustup", "rustup"), ("mise", "mise"), ("volta-shim", "volta")];

/// The executable that `path` stands for: itself, where it isn't a version manager's.
pub(super) fn behind(path: &Path, surroundings: &Surroundings) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Ok(path.to_owned());
    };
    let Some(manager) = manager_of(path, surroundings)? else {
        return Ok(path.to_owned());
    };
    let refuse = |reason: &str| {
        Err(Error::unsupported(format!(
            "{} stands for a version that {} chooses, which {reason}: choose one there, or put the real one on PATH",
            path.display(),
            manager.display()
        )))
    };
    let mut which = Command::new(&manager);
    which.arg("which").arg(name).stdin(Stdio::null());
    // Where its things are, which it knows of itself only in a shell that was set up for it.
    if let (Some(root), Some(variable)) = (path.parent().and_then(Path::parent), root_variable(&manager)) {
        which.env(variable, root);
    }
    let answer = match which.output() {
        Ok(answer) => answer,
        Err(error) if is_passing(&error) => return Err(not_now(&manager).with_source(error)),
        Err(error) => return refuse(&format!("can't be asked ({error})")),
    };
    let found = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    if answer.status.success() && found.is_absolute() && is_executable(&found) {
        return Ok(found);
    }
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    // It's a script itself, which starts others; what the system tells it, it repeats.
    if SHORT.iter().any(|code| said.contains(&plain(*code))) {
        return Err(not_now(&manager));
    }
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim();
    refuse(&format!("names none and says {said:?}"))
}

/// The manager whose stand-in this is.
fn manager_of(path: &Path, surroundings: &Surroundings) -> Result<Option<PathBuf>> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (program, manager) in MULTI_CALL {
        if path.ends_with(program) {
            continue;
        }
        if target.ends_with(program) {
            return Ok(Some(target.with_file_name(manager)));
        }
        // The same by hard links.
        let beside = path.with_file_name(program);
        if is_same_file(path, &beside) {
            return Ok(Some(path.with_file_name(manager)));
        }
    }
    let (Some(shims), Some(script)) = (path.parent(), script(path)?) else {
        return Ok(None);
    };
    if !shims.ends_with("shims") {
        return Ok(None);
    }
    if let Some(manager) = named_in(&script, shims, surroundings) {
        return Ok(Some(manager));
    }
    beside(shims)?.map(Some).ok_or_else(|| {
        Error::unsupported(format!(
            "{} stands for a version that an unknown manager chooses: put the real one on PATH",
            path.display()
        ))
    })
}

/// `exec MANAGER exec NAME …`, which is how all of them end.
fn named_in(script: &str, shims: &Path, surroundings: &Surroundings) -> Option<PathBuf> {
    let lines = script.lines().rev();
    let manager = lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|words| {
        let ["exec", manager, "exec", ..] = words[..] else {
            return None;
        };
        Some(manager.trim_matches(['"', '\'']).to_owned())
    })?;
    if manager.starts_with('/') {
        return is_executable(Path::new(&manager)).then(|| manager.into());
    }
    let beside = shims.parent()?.join("bin").join(&manager);
    surroundings.on_path(&manager).or_else(|| is_executable(&beside).then_some(beside))
}

/// In the directory `bin` beside `shims`, by how such managers are called.
fn beside(shims: &Path) -> Result<Option<PathBuf>> {
    let bin = shims.with_file_name("bin");
    let entries = readable(&bin, fs::read_dir(&bin))?;
    Ok(entries.into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path())).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("env")) && is_executable(path)
    }))
}

/// The environment variable that tells a manager where its directory `shims` is.
fn root_variable(manager: &Path) -> Option<String> {
    match manager.file_name()?.to_str()? {
        "asdf" => Some("ASDF_DATA_DIR".into()),
        "mise" => Some("MISE_DATA_DIR".into()),
        name if name.ends_with("env") => Some(format!("{}_ROOT", name.to_uppercase())),
        _ => None,
    }
}

fn script(path: &Path) -> Result<Option<String>> {
    // As long as the longest with its list of versions: a program that happens to be in such a directory may be large.
    if !path.metadata().is_ok_and(|metadata| metadata.len() < 64 * 1024) {
        return Ok(None);
    }
    Ok(readable(path, fs::read_to_string(path))?.filter(|text| text.starts_with("#!")))
}

/// What this error is called, as C's library does.
fn plain(code: i32) -> String {
    let text = io::Error::from_raw_os_error(code).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}
