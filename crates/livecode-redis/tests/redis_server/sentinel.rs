//! A master, its replica, and a sentinel who makes the one the other when it's gone.

use super::Server;

#[derive(Debug)]
pub(crate) struct Sentinel {
    pub(crate) master: Server,
    pub(crate) replica: Server,
    sentinel: Server,
}

impl Sentinel {
    /// Under the name `queue`.
    pub(crate) fn new() -> Self {
        let master = Server::with(&["repl-diskless-sync-delay 0"]);
        let replica = Server::with(&[&format!("replicaof 127.0.0.1 {}", master.port)]);
        let sentinel = Server::new();
        let settings = [
            &format!("sentinel monitor queue 127.0.0.1 {} 1", master.port),
            "sentinel down-after-milliseconds queue 1000",
            "sentinel failover-timeout queue 5000",
        ];
        sentinel.configure(&format!("port {}", sentinel.port), &settings);
        sentinel.start_as(&["--sentinel"]);
        replica
            .until("the master", || replica.cli(&["INFO", "replication"]).contains("master_link_status:up"));
        sentinel.until("the replica", || {
            sentinel.cli(&["SENTINEL", "MASTER", "queue"]).contains("num-slaves\n1\n")
        });
        Self { master, replica, sentinel }
    }

    /// Its URL, without a prefix.
    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/0?service=queue", self.sentinel.address())
    }

    /// Waits until the replica has what the master has.
    pub(crate) fn replicated(&self) {
        self.master.until("a copy", || {
            let offset = |server: &Server, name: &str| {
                let info = server.cli(&["INFO", "replication"]);
                info.lines().find_map(|line| line.trim().strip_prefix(name).map(str::to_owned)).unwrap()
            };
            offset(&self.master, "master_repl_offset:") == offset(&self.replica, "slave_repl_offset:")
        });
    }

    /// Kills the master, and waits until the replica is one.
    pub(crate) fn fail_over(&self) {
        self.master.kill();
        let port = format!("\n{}", self.replica.port);
        self.sentinel.until("another master", || {
            self.sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "queue"]).contains(&port)
        });
        self.replica.until("its promotion", || self.replica.cli(&["ROLE"]).starts_with("master"));
    }
}
