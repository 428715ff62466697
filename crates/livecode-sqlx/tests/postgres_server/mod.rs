//! A PostgreSQL server for tests: the one that `LIVECODE_TEST_POSTGRES` names, or one that is started in a temporary directory,
//! shared by all test processes, and stopped when the last of them has gone, however it went.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::{
    collections::hash_map::RandomState,
    fs::{self, File},
    hash::{BuildHasher, Hasher},
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
};

/// The URL of an empty schema of its own on the shared server. (On a server of yours it stays behind.)
pub(crate) fn fresh() -> String {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    let given = std::env::var("LIVECODE_TEST_POSTGRES").ok();
    let shared = SHARED.get_or_init(|| given.is_none().then(Server::shared));
    let url = given.or(shared.as_ref().map(Server::url)).unwrap();
    let schema = format!("livecode_{:016x}", RandomState::new().build_hasher().finish());
    run(Command::new(path("psql")).args(["-Xqc", &format!("CREATE SCHEMA {schema}"), &url]));
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}options=-c%20search_path%3D{schema}")
}

/// A server in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    directory: PathBuf,
    /// Locked as long as somebody needs the server.
    _users: Arc<File>,
}

impl Server {
    /// One that is no other test's, and keeps what it's given.
    pub(crate) fn alone() -> Self {
        Self::alone_in(&std::env::temp_dir())
    }

    /// The same, in a directory of that one.
    pub(crate) fn alone_in(parent: &Path) -> Self {
        let directory =
            tempfile::Builder::new().prefix("livecode-postgres-").tempdir_in(parent).unwrap().keep();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = format!("port = {free}");
        Self::at(&directory, &directory, &[&port, "listen_addresses = '127.0.0.1'"])
    }

    /// The one that all test processes share. In a power cut it may lose what it has.
    fn shared() -> Self {
        let directory = std::env::temp_dir().join(format!("livecode-postgres-{}", user()));
        fs::create_dir_all(&directory).unwrap();
        Self::at(
            &directory,
            &directory.join("server"),
            &["port = 5432", "listen_addresses = ''", "fsync = off", "full_page_writes = off"],
        )
    }

    /// `gone` is what is removed when nobody needs it any more.
    fn at(locks: &Path, gone: &Path, settings: &[&str]) -> Self {
        let starting = File::create(locks.join("starting")).unwrap();
        starting.lock().unwrap();
        let users = File::create(locks.join("users")).unwrap();
        users.lock_shared().unwrap();
        let server = Self { directory: locks.join("server"), _users: Arc::new(users) };
        if !server.directory.join("data/postmaster.pid").exists() {
            server.make(settings);
            server.start();
            server.stop_when_nobody_needs_it(locks, gone);
        }
        server
    }

    /// Where it listens: on a socket in its directory.
    pub(crate) fn url(&self) -> String {
        format!("postgres:///postgres?user=postgres&host={}&port={}", self.directory.display(), self.port())
    }

    /// On which one that is no other test's listens at 127.0.0.1 as well.
    pub(crate) fn port(&self) -> u16 {
        let settings = fs::read_to_string(self.directory.join("data/postgresql.auto.conf")).unwrap();
        settings.lines().find_map(|line| line.strip_prefix("port = ")).unwrap().parse().unwrap()
    }

    fn make(&self, settings: &[&str]) {
        if self.directory.exists() {
            fs::remove_dir_all(&self.directory).unwrap();
        }
        fs::create_dir(&self.directory).unwrap();
        if user() == 0 {
            run(Command::new("chown").arg("postgres").arg(&self.directory));
            run(Command::new("chmod").arg("a+x").arg(self.directory.parent().unwrap()));
        }
        let data = self.directory.join("data");
        run(program("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data));
        let mut lines = vec![
            format!("unix_socket_directories = '{}'", self.directory.display()),
            "max_connections = 400".into(),
        ];
        lines.extend(settings.iter().map(|setting| (*setting).to_owned()));
        fs::write(data.join("postgresql.auto.conf"), lines.join("\n")).unwrap();
    }

    /// Starts it, again where it was stopped.
    pub(crate) fn start(&self) {
        run(self.control("start").arg("-l").arg(self.directory.join("log")));
    }

    /// Stops it at once, as a crash does.
    pub(crate) fn stop(&self) {
        run(self.control("stop").arg("--mode=immediate"));
    }

    /// Kills it (`SIGKILL`), which it isn't told of.
    pub(crate) fn kill(&self) {
        // Where it has ended by itself there is nobody to kill.
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = file.lines().next() {
            Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status().unwrap();
        }
    }

    /// Starts it where it isn't there, if it can: what a killed one has left may not be gone yet.
    pub(crate) fn revive(&self) -> bool {
        let does = |what| {
            let output =
                self.control(what).arg("-l").arg(self.directory.join("log")).current_dir("/").output();
            output.unwrap().status.success()
        };
        does("status") || does("start")
    }

    fn control(&self, what: &str) -> Command {
        let mut control = program("pg_ctl");
        control.args([what, "--wait", "--silent", "-D"]).arg(self.directory.join("data"));
        control
    }

    /// Leaves somebody behind who looks every few seconds. The kernel takes a lock from whoever dies.
    fn stop_when_nobody_needs_it(&self, locks: &Path, gone: &Path) {
        let mut stop = self.control("stop");
        stop.arg("--mode=immediate");
        let stop: Vec<_> = std::iter::once(stop.get_program())
            .chain(stop.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let script = format!(
            "while sleep 3; do flock starting flock --nonblock users sh -c '{stop}; rm -rf {gone}' && break; done",
            stop = stop.join(" "),
            gone = gone.display(),
        );
        let left = Command::new("setsid")
            .args(["--fork", "sh", "-c", &script])
            .current_dir(locks)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(left.unwrap().success());
    }
}

/// A program of the server's, which doesn't run as root.
fn program(name: &str) -> Command {
    let path = path(name);
    if user() != 0 {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    command
}

fn path(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let installed = versions.map(|version| version.unwrap().path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        installed.chain(std::env::split_paths(&path)).map(|bin| bin.join(name)).find(|path| path.exists());
    assert!(
        found.is_some(),
        "{name} is missing: install PostgreSQL (Debian: postgresql), or name a server by LIVECODE_TEST_POSTGRES"
    );
    found.unwrap()
}

fn user() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

fn run(command: &mut Command) {
    let output = command.current_dir("/").stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
