//! Redis servers for tests, each in a directory and on ports of its own: `redis-server`, or what `LIVECODE_TEST_REDIS_SERVER` names
//! (`valkey-server`). None outlives who started it, however that ends.
#![allow(dead_code, unused_imports, clippy::allow_attributes, reason = "each test uses a part of it")]

mod cluster;
mod sentinel;

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hasher},
    io::Write,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

pub(crate) use self::{cluster::Cluster, sentinel::Sentinel};
use tempfile::TempDir;

/// The URL of an empty queue on the server that the tests of this process share.
pub(crate) fn fresh() -> String {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::with(&[])).queue(&unused_name())
}

/// The URL of an empty queue on the cluster that the tests of this process share.
pub(crate) fn fresh_in_cluster() -> String {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    format!("{}?prefix={}", SHARED.get_or_init(Cluster::three).url(), unused_name())
}

/// A name that no other queue has.
pub(crate) fn unused_name() -> String {
    format!("t{:016x}", random())
}

/// The setting by which nothing is lost in a crash: every change is synced before it's answered.
pub(crate) const DURABLE: &[&str] = &["appendonly yes", "appendfsync always"];

/// Starts `"$@"`, and kills it when somebody says so, or is gone: then `$0`, its directory, goes as well.
const OWNED: &str = r#""$@" & read -r keep; kill -9 $!; wait $!; [ "$keep" ] || rm -rf "$0""#;

/// Longer than a server takes for anything.
const HANGS: Duration = Duration::from_secs(120);

/// A server, or none where it was killed.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    directory: TempDir,
    /// How the command line client gets in.
    access: Vec<String>,
    process: Mutex<Option<Child>>,
}

impl Server {
    /// One that keeps nothing on the disk, with these lines in its configuration.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let server = Self::new();
        server.configure(&format!("port {}", server.port), settings);
        server.start();
        server
    }

    /// One that lets nobody in without this password, nor one whom another line lets in.
    pub(crate) fn with_password(password: &str, settings: &[&str]) -> Self {
        let mut server = Self::new();
        let ours = format!("port {}\nrequirepass {password}", server.port);
        server.configure(&ours, settings);
        server.access = ["-a", password].map(str::to_owned).into();
        server.start();
        server
    }

    /// One that talks TLS alone. Its certificate is from an authority of its own, in `ca.pem`.
    pub(crate) fn with_tls() -> Self {
        let mut server = Self::new();
        server.sign("ca", &["-subj", "/CN=an authority for tests"]);
        let [ca, ca_key] = ["ca.pem", "ca.key"].map(|file| server.path(file));
        let own = ["-subj", "/CN=redis", "-CA", &ca, "-CAkey", &ca_key];
        let address =
            ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
        server.sign("own", &[own.as_slice(), &address].concat());
        let ours = format!("port 0\ntls-port {}", server.port);
        let files = ["tls-cert-file own.pem", "tls-key-file own.key", "tls-ca-cert-file ca.pem"];
        server.configure(&ours, &[files.as_slice(), &["tls-auth-clients no"]].concat());
        server.access = ["--tls", "--cacert", &ca].map(str::to_owned).into();
        server.start();
        server
    }

    fn new() -> Self {
        Self {
            port: free_port(),
            directory: tempfile::Builder::new().prefix("livecode-redis-").tempdir().unwrap(),
            access: Vec::new(),
            process: Mutex::default(),
        }
    }

    fn configure(&self, ours: &str, settings: &[&str]) {
        let directory = self.directory.path().display();
        let always =
            format!("dir {directory}\npidfile {directory}/pid\nlogfile log\nbind 127.0.0.1\nsave \"\"");
        fs::write(self.path("conf"), [&[always.as_str(), ours], settings].concat().join("\n")).unwrap();
    }

    /// A certificate and its key, in files of that name.
    fn sign(&self, name: &str, options: &[&str]) {
        let [certificate, key] = ["pem", "key"].map(|kind| self.path(&format!("{name}.{kind}")));
        run(Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "9", "-out", &certificate, "-keyout", &key])
            .args(options));
    }

    /// Starts it, again where it was killed.
    pub(crate) fn start(&self) {
        self.start_as(&[]);
    }

    fn start_as(&self, how: &[&str]) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "it's there");
        let child = Command::new("sh")
            .args(["-c", OWNED])
            .arg(self.directory.path())
            .arg(program())
            .arg(self.directory.path().join("conf"))
            .args(how)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        *process = Some(child.unwrap());
        self.until("an answer", || self.cli(&["PING"]) == "PONG");
    }

    /// Kills it: what isn't on the disk is lost.
    pub(crate) fn kill(&self) {
        let mut child = self.process.lock().unwrap().take().unwrap();
        child.stdin.take().unwrap().write_all(b"keep\n").unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of the queue of that name.
    pub(crate) fn queue(&self, prefix: &str) -> String {
        format!("redis://{}/?prefix={prefix}", self.address())
    }

    /// The path of a file of this server's.
    pub(crate) fn path(&self, file: &str) -> String {
        self.directory.path().join(file).to_str().unwrap().to_owned()
    }

    /// What the command line client says to a command.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        cli(&["-p", &self.port.to_string()], &self.access, command)
    }

    /// Stops it (`STOP`) as a machine does that hangs, and lets it go on (`CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        let child = fs::read_to_string(self.path("pid")).unwrap();
        run(Command::new("kill").args(["-s", signal, child.trim()]));
    }

    /// Asks until it's so.
    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(
                begun.elapsed() < HANGS,
                "{what} did not come about: {:?}",
                fs::read_to_string(self.path("log"))
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.get_mut().unwrap().take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }
}

/// What the command line client says to a command.
fn cli(place: &[&str], access: &[String], command: &[&str]) -> String {
    let cli = program().replace("-server", "-cli");
    let output = Command::new(&cli).args(place).args(access).args(command).stdin(Stdio::null()).output();
    assert!(
        output.is_ok(),
        "{cli} is missing: install Redis (Debian: redis), or name a server by LIVECODE_TEST_REDIS_SERVER"
    );
    String::from_utf8_lossy(&output.unwrap().stdout).trim_end().to_owned()
}

fn program() -> String {
    std::env::var("LIVECODE_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A port that is free, as the one 10,000 above is, by which nodes of a cluster talk. Both are below those that the kernel
/// gives to whoever connects: such a one may be taken while a server is down, even by a client that tries to connect to it.
fn free_port() -> u16 {
    loop {
        let port = 11_000 + u16::try_from(random() % 11_000).unwrap();
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
