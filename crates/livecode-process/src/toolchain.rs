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
        return Ok(Tool { path: command.into(), prefixes: Vec::new() });
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
    let prefixes = if SYSTEM.iter().any(|system| path.starts_with(system)) {
        Vec::new()
    } else {
        vec![prefix_of(&path)?]
    };
    Some(Tool { path, prefixes })
}

/// What an executable needs to be seen with: its prefix where it's installed in one of its own, else itself alone.
fn prefix_of(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?;
    let prefix = directory.parent()?;
    // Directories that hold more than one program's things, secrets among them.
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let is_a_home = prefix == Path::new("/root") || prefix.parent() == Some(Path::new("/home"));
    let shared =
        is_a_home || prefix.parent().is_none() || home.starts_with(prefix) || prefix.ends_with(".local");
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::{Toolchains, find, real};

    fn executable(path: &Path, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_system_command_needs_nothing_shown() {
        let tool = Toolchains::default().find("sh").unwrap();
        assert!(tool.path.is_absolute() && tool.prefixes.is_empty(), "{tool:?}");
    }

    #[test]
    fn a_command_in_the_work_directory_is_left_alone() {
        let tool = find("./main").unwrap();
        assert_eq!((tool.path.to_str(), tool.prefixes.len()), (Some("./main"), 0));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        for command in ["no-such-command", "/no/such/command", "/etc/passwd"] {
            let error = find(command).unwrap_err().to_string();
            assert!(error.contains(command), "{error}");
        }
    }

    #[test]
    fn an_interpreter_of_its_own_prefix_is_seen_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        executable(&root.join("lang/bin/lang"), "");
        fs::create_dir(root.join("lang/lib")).unwrap();
        std::os::unix::fs::symlink(root.join("lang/bin/lang"), root.join("link")).unwrap();
        let tool = real(&root.join("link")).unwrap();
        assert_eq!(tool.path, root.join("lang/bin/lang"));
        assert_eq!(tool.prefixes, [root.join("lang")]);
    }

    #[test]
    fn an_executable_among_others_is_seen_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("tool");
        executable(&path, "");
        assert_eq!(real(&path).unwrap().prefixes, [path]);
    }

    #[test]
    fn a_version_managers_shim_is_seen_through() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let version = root.join("versions/3.0");
        executable(&version.join("bin/lang"), "");
        fs::create_dir(version.join("lib")).unwrap();
        executable(&root.join("shims/lang"), "#!/bin/sh\nexec langenv exec lang");
        let manager =
            format!("#!/bin/sh\n[ \"$1 $2\" = 'which lang' ] && echo {}/bin/lang", version.display());
        executable(&root.join("bin/langenv"), &manager);
        let tool = real(&root.join("shims/lang")).unwrap();
        assert_eq!((tool.path, tool.prefixes), (version.join("bin/lang"), vec![version]));
    }
}
