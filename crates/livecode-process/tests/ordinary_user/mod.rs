//! Runs a test binary again as an ordinary user, to whom a cgroup was delegated.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

const CGROUP: &str = "LIVECODE_TEST_CGROUP";
const NOBODY: u32 = 65_534;
const MOUNT: &str = "/sys/fs/cgroup";
const HIERARCHIES: [&str; 4] = ["memory", "pids", "cpu", "cpuacct"];

/// The cgroup that was delegated to us, where we are the ordinary user.
pub(crate) fn own_cgroup() -> Option<PathBuf> {
    env::var_os(CGROUP).map(PathBuf::from)
}

/// A directory in each hierarchy, an ordinary user's own. Removed on drop.
struct Delegated {
    name: String,
    /// On version 2 with one beneath, which the user's processes belong in.
    made: Vec<PathBuf>,
    main: Option<PathBuf>,
}

impl Delegated {
    fn new() -> Self {
        let name = format!("livecode-test-{}", std::process::id());
        let v1 = HIERARCHIES.map(|name| Path::new(MOUNT).join(name));
        if v1.iter().all(|mount| mount.is_dir()) {
            let made = v1.map(|mount| mount.join(&name)).to_vec();
            for path in &made {
                fs::create_dir(path).unwrap();
                hand_over(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                hand_over([path.clone()]);
            }
            return Self { name, made, main: None };
        }
        // What systemd does for a unit with `Delegate=yes` and `DelegateSubgroup=main`.
        fs::write(Path::new(MOUNT).join("cgroup.subtree_control"), "+memory +pids +cpu").unwrap();
        let path = Path::new(MOUNT).join(&name);
        let main = path.join("main");
        fs::create_dir_all(&main).unwrap();
        for path in [&path, &main] {
            let files = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];
            hand_over(files.map(|file| path.join(file)));
            hand_over([path.clone()]);
        }
        Self { name, made: vec![main.clone(), path], main: Some(main) }
    }
}

fn hand_over(paths: impl IntoIterator<Item = PathBuf>) {
    for path in paths {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for path in &self.made {
            fs::remove_dir(path).unwrap();
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
    let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let directory = directory.unwrap();
    let binary = directory.path().join("tests");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();
    let entrance = delegated.main.as_deref().map_or("/dev/null".into(), |main| main.join("cgroup.procs"));
    // What is left out of this run is of that one, too.
    let own: Vec<String> = env::args().collect();
    let skipped = own.windows(2).filter(|pair| pair[0] == "--skip").flatten();
    let output = Command::new("sh")
        .args(["-c", "echo 0 >\"$0\" && exec \"$@\""])
        .arg(entrance)
        .args(["setpriv", &format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"])
        .arg(&binary)
        .args(["--skip", "ordinary_user"])
        .args(skipped)
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
