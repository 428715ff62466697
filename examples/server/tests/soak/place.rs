//! Where it happens: a disk, services behind networks, and processes of ours.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use crate::{
    nodes::Node,
    postgres_server,
    proxy::{Proxy, Weather},
    redis_server,
};

/// What all that is written has.
const DISK: &str = "size=2g";

#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) nodes: Vec<Node>,
    pub(crate) postgres: Option<postgres_server::Server>,
    pub(crate) redis: Option<redis_server::Server>,
    pub(crate) networks: Vec<Proxy>,
    pub(crate) disk: Disk,
    pub(crate) logs: PathBuf,
    unasked: Vec<String>,
    runtime: Runtime,
}

impl Place {
    fn new(name: &str) -> Self {
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak").join(name);
        fs::remove_dir_all(&logs).ok();
        fs::create_dir_all(&logs).unwrap();
        Self {
            nodes: Vec::new(),
            postgres: None,
            redis: None,
            networks: Vec::new(),
            disk: Disk::new(),
            logs,
            unasked: Vec::new(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    pub(crate) fn in_memory() -> Self {
        Self::new("memory").with("all", 1, &[("DATABASE_URL", "memory:"), ("QUEUE_URL", "memory:")])
    }

    pub(crate) fn on_sqlite() -> Self {
        Self::new("sqlite").with("all", 3, &[])
    }

    pub(crate) fn on_postgres() -> Self {
        let mut place = Self::new("postgres");
        let [api, worker] = place.start_postgres();
        place.with("api", 2, &[("DATABASE_URL", &api)]).with("worker", 2, &[("DATABASE_URL", &worker)])
    }

    /// A Redis that keeps nothing: what it had queued is lost when it's killed.
    pub(crate) fn on_postgres_and_redis() -> Self {
        let mut place = Self::new("redis");
        let [api, worker] = place.start_postgres();
        let redis = redis_server::Server::with(&[]);
        let queue = format!("redis://127.0.0.1:{}", place.network(redis.port()));
        place.redis = Some(redis);
        place.with("api", 2, &[("DATABASE_URL", &api), ("QUEUE_URL", &queue)]).with(
            "worker",
            2,
            &[("DATABASE_URL", &worker), ("QUEUE_URL", &queue)],
        )
    }

    /// The URLs for those who answer and for those who run, each of whom has a network of its own.
    fn start_postgres(&mut self) -> [String; 2] {
        let server = postgres_server::Server::alone_in(&self.disk.directory);
        let ports = [(); 2].map(|()| self.network(server.port()));
        self.postgres = Some(server);
        ports.map(|port| format!("postgres://postgres@127.0.0.1:{port}/postgres"))
    }

    fn network(&mut self, server: u16) -> u16 {
        let proxy = self.runtime.block_on(Proxy::to(server));
        let port = proxy.port();
        self.networks.push(proxy);
        port
    }

    fn with(mut self, role: &'static str, many: usize, environment: &[(&str, &str)]) -> Self {
        for number in 0..many {
            let place = self.logs.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{place}-{role}-{number}");
            self.nodes.push(Node::start(&name, role, environment, &self.disk.directory, &self.logs));
        }
        self
    }

    /// Of those who answer clients.
    pub(crate) fn urls(&self) -> Vec<String> {
        let answer = self.nodes.iter().filter(|node| node.role != "worker");
        answer.map(|node| format!("http://127.0.0.1:{}", node.port)).collect()
    }

    pub(crate) fn await_ready(&mut self) {
        let began = Instant::now();
        for port in self.nodes.iter().map(|node| node.port).collect::<Vec<_>>() {
            let url = format!("http://127.0.0.1:{port}/health/ready");
            while ureq::get(&url).call().is_err() {
                assert!(began.elapsed() < Duration::from_secs(120), "not ready, see {}", self.logs.display());
                self.keep_alive();
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// What ends by itself isn't what was promised. What can't be opened now is tried again, as whoever runs services does.
    pub(crate) fn keep_alive(&mut self) {
        self.unasked.extend(self.nodes.iter_mut().filter_map(Node::keep_alive));
    }

    pub(crate) fn unasked_deaths(&mut self) -> Vec<String> {
        std::mem::take(&mut self.unasked)
    }

    pub(crate) fn weather(&self, network: usize, weather: Weather) {
        self.networks[network].set(weather);
    }

    pub(crate) fn revive_services(&self) {
        let began = Instant::now();
        while !self.postgres.as_ref().is_none_or(postgres_server::Server::revive) {
            assert!(began.elapsed() < Duration::from_secs(120), "PostgreSQL doesn't start");
            thread::sleep(Duration::from_millis(50));
        }
        if let Some(redis) = &self.redis
            && redis.cli(&["PING"]) != "PONG"
        {
            redis.start();
        }
    }

    /// Ends all processes of ours as an operator does; says what is wrong with their ends.
    pub(crate) fn stop(&mut self) -> Vec<String> {
        self.nodes.iter_mut().filter_map(Node::stop).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.nodes.clear();
        // Its disk goes with it.
        self.postgres.iter().for_each(postgres_server::Server::kill);
    }
}

/// One that can get full, where a file system of its own can be had.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) directory: PathBuf,
    pub(crate) can_get_full: bool,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("livecode-soak-").tempdir().unwrap().keep();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "soak"]).arg(&directory);
        let can_get_full = mount.status().unwrap().success();
        Self { directory, can_get_full }
    }

    pub(crate) fn fill(&self) {
        let mut file = File::create(self.directory.join("filler")).unwrap();
        for piece in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![1; piece]).is_ok() {}
        }
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.directory.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.can_get_full {
            // PostgreSQL may still write there; it ends when this process has.
            Command::new("umount").arg("--lazy").arg(&self.directory).status().ok();
        }
        fs::remove_dir_all(&self.directory).ok();
    }
}
