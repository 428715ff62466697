//! Runs a test binary again as an ordinary user, to whom a cgroup was delegated.

use std::{env, fs, os::unix::fs::chown, path::PathBuf, process::Command};

const CGROUP: &str = "LIVECODE_TEST_CGROUP";
const NOBODY: u32 = 65_534;
const HIERARCHIES: [&str; 4] = ["memory", "pids", "cpu", "cpuacct"];

/// The cgroup that was delegated to us, where we are the ordinary user.
pub(crate) fn own_cgroup() -> Option<PathBuf> {
    env::var_os(CGROUP).map(PathBuf::from)
}

/// A directory in each hierarchy, an ordinary user's own. Removed on drop.
struct Delegated {
    name: String,
    mounts: Vec<PathBuf>,
}

impl Delegated {
    fn new() -> Self {
        let name = format!("livecode-test-{}", std::process::id());
        let v1: Vec<PathBuf> = HIERARCHIES.map(|name| PathBuf::from("/sys/fs/cgroup").join(name)).to_vec();
        let mounts = if v1.iter().all(|mount| mount.is_dir()) { v1 } else { vec!["/sys/fs/cgroup".into()] };
        for mount in &mounts {
            let path = mount.join(&name);
            fs::create_dir(&path).unwrap();
            let files = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            for file in files.chain([path.clone()]) {
                chown(file, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        Self { name, mounts }
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for mount in &self.mounts {
            fs::remove_dir(mount.join(&self.name)).unwrap();
        }
    }
}

/// Fails where any test fails for that user, or leaves a cgroup behind. Does nothing more where we aren't root: then this
/// very run is the ordinary user's.
pub(crate) fn run_this_binary_again() {
    if is_not_root() {
        return;
    }
    let delegated = Delegated::new();
    // Where that user can reach it.
    let directory =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
    let directory = directory.unwrap();
    let binary = directory.path().join("tests");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();
    let output = Command::new("setpriv")
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".into()])
        .arg(&binary)
        .args(["--skip", "ordinary_user"])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env(CGROUP, &delegated.name)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(" 0 passed"), "no test was run");
}

fn is_not_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() != 0
}
