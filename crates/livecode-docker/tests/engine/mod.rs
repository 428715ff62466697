//! Container engines for tests that end or restart them, each with a directory of its own. None outlives who started it, however that
//! ends.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Starts `"$@"`, and ends it when somebody says so, or is gone: then `$0`, its directory, goes as well.
const OWNED: &str = r#""$@" & read -r keep; kill -TERM $!; wait $!; [ "$keep" ] || rm -rf "$0""#;

/// Longer than an engine takes for anything.
const HANGS: Duration = Duration::from_secs(120);

/// An engine with the images that `scripts/docker-images` makes.
#[derive(Debug)]
pub(crate) struct Engine {
    directory: TempDir,
    has_network: bool,
    process: Mutex<Option<Child>>,
}

impl Engine {
    /// The one that the tests of this process share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Engine> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// One that reaches what listens on this machine, and has no images yet.
    pub(crate) fn with_network() -> Self {
        Self::started(true)
    }

    fn started(has_network: bool) -> Self {
        let engine = Self { directory: tempfile::tempdir().unwrap(), has_network, process: Mutex::new(None) };
        engine.start();
        engine
    }

    pub(crate) fn new() -> Self {
        let engine = Self::started(false);
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .find(|path| path.join("scripts/docker-images").exists());
        let script = script.unwrap().join("scripts/docker-images");
        let made = Command::new(script).env("DOCKER_HOST", engine.host()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        engine
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("docker.sock").display())
    }

    pub(crate) fn start(&self) {
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        // The names of containers of different engines of one machine are apart.
        let name =
            self.directory.path().display().to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let process = Command::new("sh")
            .arg("-c")
            .arg(OWNED)
            .arg(self.directory.path())
            // The bridge and the rules of the machine's own engine are left to it.
            .args(if self.has_network {
                &["dockerd"][..]
            } else {
                &["unshare", "--net", "dockerd", "--bridge=none"]
            })
            .args(["--host", &self.host(), "--pidfile", &at("pid")])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"])
            .args([
                "--containerd-namespace",
                &name,
                "--containerd-plugins-namespace",
                &format!("{name}.plugins"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        *self.process.lock().unwrap() = Some(process);
        let began = Instant::now();
        while !self.client(&["version"]).output().unwrap().status.success() {
            let log = std::fs::read_to_string(at("log")).unwrap();
            assert!(began.elapsed() < HANGS, "no engine: is dockerd installed (Debian: docker.io)? {log}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn stop(&self) {
        let Some(mut process) = self.process.lock().unwrap().take() else { return };
        process.stdin.take().unwrap().write_all(b"keep\n").unwrap();
        process.wait().unwrap();
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut client = Command::new("docker");
        client.args(["--host", &self.host()]).args(arguments);
        client
    }

    /// What the engine's own client says.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let output = self.client(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The ids of all containers of a group.
    pub(crate) fn containers(&self, group: &str) -> Vec<String> {
        let label = format!("label=livecode.group={group}");
        self.docker(&["ps", "--all", "--quiet", "--filter", &label]).lines().map(str::to_owned).collect()
    }

    /// Waits until no container of a group is there.
    pub(crate) async fn is_emptied(&self, group: &str) {
        let began = Instant::now();
        loop {
            let left = self.containers(group);
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < HANGS, "{left:?} are left");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
