//! What of the host has to be seen for an executable to work, and nothing more: never a home directory, never a directory
//! that holds many programs' things.

use std::{
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use livecode_core::{Error, Result};

use super::{Surroundings, is_executable};

/// Shown to every program.
const SYSTEM: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives"];

/// A program's own, where nothing of the host's can be.
const OWN: [&str; 5] = ["/tmp", "/work", "/dev", "/proc", "/sys"];

/// Where Nix keeps its own commands, where `PATH` doesn't say it.
const NIX: [&str; 2] =
    ["/nix/var/nix/profiles/default/bin/nix-store", "/run/current-system/sw/bin/nix-store"];

/// What to show for a file, or a link on the way to it, in its real directory. `command` is named in errors.
///
/// # Errors
///
/// `Unsupported` where it can't be shown at its place.
pub(super) fn of(command: &str, hop: &Path, surroundings: &Surroundings) -> Result<Vec<PathBuf>> {
    if SYSTEM.iter().any(|system| hop.starts_with(system)) {
        return Ok(Vec::new());
    }
    if let Some(own) = OWN.iter().find(|own| hop.starts_with(own)) {
        return Err(Error::unsupported(format!(
            "{command} is {}, beneath {own}, where a program has its own files and not the host's: \
             move it or install it elsewhere, beneath /opt or /usr/local",
            hop.display()
        )));
    }
    if let Ok(inside) = hop.strip_prefix(&surroundings.store) {
        return Ok(closure(inside, surroundings));
    }
    if let Some(homebrew) = hop.ancestors().find(|path| path.ends_with("Cellar")).and_then(Path::parent) {
        // What a formula needs is linked together across all of it.
        return Ok(vec![homebrew.to_owned()]);
    }
    let prefix = hop.parent().filter(|directory| directory.ends_with("bin")).and_then(Path::parent);
    let own = prefix.filter(|prefix| {
        let has_libraries = ["lib", "lib64"].iter().any(|name| prefix.join(name).is_dir());
        has_libraries && !is_shared(prefix, surroundings)
    });
    Ok(vec![own.unwrap_or(hop).to_owned()])
}

/// Whether a directory holds more than one program's things, secrets among them.
pub(super) fn is_shared(prefix: &Path, surroundings: &Surroundings) -> bool {
    let depth = prefix.components().filter(|part| matches!(part, Component::Normal(_))).count();
    let holds_a_home = |home: &Path| home.starts_with(prefix);
    // `/`, and `/opt`, `/srv`, `/root` and the like.
    depth < 2
        || prefix.parent() == Some(Path::new("/home"))
        || prefix.ends_with(".local")
        || surroundings.home.as_deref().is_some_and(|home| {
            holds_a_home(home) || home.canonicalize().is_ok_and(|home| holds_a_home(&home))
        })
}

/// What Nix says that a path in its store refers to, itself first; the whole store where it can't be asked, which is made to
/// be read by everybody.
fn closure(inside: &Path, surroundings: &Surroundings) -> Vec<PathBuf> {
    let whole = || vec![surroundings.store.clone()];
    let Some(name) = inside.components().next() else {
        return whole();
    };
    let path = surroundings.store.join(name);
    let usual = || NIX.iter().map(PathBuf::from).find(|path| is_executable(path));
    let Some(nix_store) = surroundings.on_path("nix-store").or_else(usual) else {
        return whole();
    };
    let answer = Command::new(nix_store).arg("-qR").arg(&path).stdin(Stdio::null()).output();
    let Some(answer) = answer.ok().filter(|answer| answer.status.success()) else {
        return whole();
    };
    let text = String::from_utf8_lossy(&answer.stdout);
    let others = text.lines().map(PathBuf::from).filter(|other| other.starts_with(&surroundings.store));
    std::iter::once(path.clone()).chain(others.filter(|other| *other != path)).collect()
}

/// The same without what is beneath another of them, or there twice; in the same order, which is that of `PATH`.
pub(super) fn outermost(prefixes: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for (at, prefix) in prefixes.iter().enumerate() {
        let covers = |(other_at, other): (usize, &PathBuf)| {
            prefix.starts_with(other) && (prefix != other || other_at < at)
        };
        if !prefixes.iter().enumerate().any(covers) {
            kept.push(prefix.clone());
        }
    }
    kept
}
