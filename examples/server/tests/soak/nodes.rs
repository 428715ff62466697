//! The processes of ours: the server's binary, started again wherever it ends.

use std::{
    cell::Cell,
    fs::{self, File, OpenOptions},
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) port: u16,
    environment: Vec<(String, String)>,
    directory: PathBuf,
    log: File,
    process: Option<Child>,
    /// Whether it has listened: one that can't open what it needs ends, and is started again.
    has_listened: bool,
    /// Whether it is without memory, for which the kernel kills, and whether it was since it began.
    is_without_memory: Cell<bool>,
    was_without_memory: Cell<bool>,
    /// All that it was.
    pids: Vec<u32>,
    /// Cgroups of its own, in which it can be left without memory and processes; none where there can't be any.
    groups: Option<[PathBuf; 2]>,
}

impl Node {
    pub(crate) fn start(
        name: &str,
        role: &'static str,
        environment: &[(&str, &str)],
        directory: &Path,
        logs: &Path,
    ) -> Self {
        let log =
            OpenOptions::new().create(true).append(true).open(logs.join(format!("{name}.log"))).unwrap();
        // It's the same each time, since clients know it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut node = Self {
            name: name.into(),
            role,
            port,
            environment: environment.collect(),
            directory: directory.into(),
            log,
            process: None,
            has_listened: false,
            is_without_memory: Cell::new(false),
            was_without_memory: Cell::new(false),
            pids: Vec::new(),
            groups: groups(name),
        };
        node.begin();
        node
    }

    fn begin(&mut self) {
        let temporary = self.directory.join("tmp");
        fs::create_dir_all(&temporary).ok();
        // It doesn't outlive a test that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_livecode-server")])
            .current_dir(&self.directory)
            .envs([
                ("ROLE", self.role),
                ("LISTEN", &format!("127.0.0.1:{}", self.port)),
                ("LEASE_MS", "1000"),
            ])
            .envs([("MAX_ATTEMPTS", "10"), ("RUST_LOG", "warn"), ("RUST_BACKTRACE", "0")])
            .env("TMPDIR", temporary)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log.try_clone().unwrap())
            .spawn()
            .unwrap();
        for group in self.groups.iter().flatten() {
            fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        self.pids.push(child.id());
        self.process = Some(child);
        self.has_listened = false;
        self.was_without_memory.set(self.is_without_memory.get());
    }

    /// Starts it where it isn't there; says how it had ended by itself after it had listened.
    pub(crate) fn keep_alive(&mut self) -> Option<String> {
        let Some(child) = &mut self.process else {
            self.begin();
            return None;
        };
        let Some(status) = child.try_wait().unwrap() else {
            self.has_listened = self.has_listened || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            return None;
        };
        let is_meant = self.was_without_memory.get() && status.signal() == Some(Signal::KILL.as_raw());
        let unasked =
            (self.has_listened && !is_meant).then(|| format!("{} ended by itself: {status}", self.name));
        self.begin();
        unasked
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As an operator does; says what is wrong with how it ends.
    pub(crate) fn stop(&mut self) -> Option<String> {
        let mut child = self.process.take()?;
        self.signal_to(child.id(), Signal::TERM);
        let status = child.wait().unwrap();
        (!status.success()).then(|| format!("{} was asked to end, and did so with {status}", self.name))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            self.signal_to(pid, signal);
        }
    }

    fn signal_to(&self, pid: u32, signal: Signal) {
        // It's our child, and was not waited for.
        kill_process(raw(pid), signal).unwrap();
    }

    /// Lets it open no more files than it has now; or as many as before.
    pub(crate) fn without_files(&self, without: bool) {
        let Some(pid) = self.pid() else { return };
        let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
        let now = if without { Some(descriptors(pid) as u64) } else { maximum };
        prlimit(Some(raw(pid)), Resource::Nofile, Rlimit { current: now, maximum }).ok();
    }

    /// Leaves it what it has of memory, or so much as it wants.
    pub(crate) fn without_memory(&self, without: bool) {
        let Some([memory, _]) = &self.groups else { return };
        self.is_without_memory.set(without);
        self.was_without_memory.set(self.was_without_memory.get() || without);
        let limit = memory.join("memory.limit_in_bytes");
        let used = fs::read_to_string(memory.join("memory.usage_in_bytes")).unwrap();
        // Less than what it has is refused, where the kernel finds nothing to take.
        let less: u64 = used.trim().parse::<u64>().unwrap() / 4 * 3;
        let asked = if without { vec![less.to_string(), used] } else { vec!["-1".into()] };
        assert!(
            !asked.is_empty()
                && (asked.iter().any(|bytes| fs::write(&limit, bytes.trim()).is_ok()) || without)
        );
    }

    /// Leaves it the processes it has, or so many as it wants.
    pub(crate) fn without_processes(&self, without: bool) {
        let Some([_, pids]) = &self.groups else { return };
        let used = fs::read_to_string(pids.join("pids.current")).unwrap();
        fs::write(pids.join("pids.max"), if without { used.trim() } else { "max" }).unwrap();
    }

    pub(crate) fn can_be_limited(&self) -> bool {
        self.groups.is_some()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        for group in self.groups.iter().flatten() {
            // Where it can't be removed the census says so.
            fs::remove_dir(group).ok();
        }
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn groups(name: &str) -> Option<[PathBuf; 2]> {
    let own = format!("soak-{}-{name}", std::process::id());
    let groups = ["memory", "pids"].map(|kind| Path::new("/sys/fs/cgroup").join(kind).join(&own));
    groups.iter().all(|group| fs::create_dir(group).is_ok()).then_some(groups)
}
