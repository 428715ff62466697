//! Three nodes of Redis Cluster.

use super::{Server, cli};

/// Three masters that share the slots.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: [Server; 3],
}

impl Cluster {
    pub(crate) fn three() -> Self {
        // A node whose slots aren't all there answers for the others' all the same.
        let settings = ["cluster-enabled yes", "cluster-require-full-coverage no"];
        let nodes = [(); 3].map(|()| Server::with(&settings));
        let addresses = nodes.each_ref().map(Server::address);
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.push("--cluster-yes");
        let said = cli(&[], &[], &create);
        for node in &nodes {
            node.until(&format!("the cluster ({said})"), || {
                let info = node.cli(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            });
        }
        Self { nodes }
    }

    /// Its URL, without a prefix.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://{}", self.nodes.each_ref().map(Server::address).join(","))
    }

    /// The node that holds the queue of that name.
    pub(crate) fn holder(&self, prefix: &str) -> &Server {
        let slot: u16 =
            self.nodes[0].cli(&["CLUSTER", "KEYSLOT", &format!("{{{prefix}}}:")]).parse().unwrap();
        let holds =
            |node: &&Server| !node.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).starts_with('0');
        self.nodes.iter().find(holds).unwrap()
    }

    /// Moves the queue of that name to another node, key by key, as an operator does who spreads the load.
    pub(crate) fn move_queue(&self, prefix: &str) {
        let slot = self.nodes[0].cli(&["CLUSTER", "KEYSLOT", &format!("{{{prefix}}}:")]);
        let from = self.holder(prefix);
        let to = self.nodes.iter().find(|node| node.port != from.port).unwrap();
        let [from_id, to_id] = [from, to].map(|node| node.cli(&["CLUSTER", "MYID"]));
        to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        let port = to.port.to_string();
        loop {
            let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]);
            if keys.is_empty() {
                break;
            }
            from.cli(&["MIGRATE", "127.0.0.1", &port, &keys, "0", "5000"]);
        }
        for node in [to, from].into_iter().chain(&self.nodes) {
            node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }
}
