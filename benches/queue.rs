//! What the queue on Redis promises, beside other queues on the same server: `cargo bench --features redis --bench queue`.
//!
//! | part | promise |
//! | --- | --- |
//! | `add` | at least 5 times as many as BullMQ by 100 callers at the same time |
//! | `processed` | of jobs that are added, claimed and acknowledged, at least 2, 3 and 7 times as many as BullMQ with 1, 10 and 100 in flight; 3.5 times bullmq-official's with 100. Beside it, without a promise: of those that were all added before |
//! | `pickup` | half of the jobs of a queue that is empty are claimed within a millisecond |
//! | `cpu` | a job, added and processed, takes at most a quarter of the server's time that one of BullMQ's takes |
//! | `depth` | a claim takes at most 1.2 times as long where a million wait; one that waits takes at most 426 bytes |
//!
//! All of them, or those that are named: `… --bench queue -- processed depth`; once with the append-only file off, and once
//! with a sync of it every second. A job of ours is claimed under a lease of its own and acknowledged by itself: a caller
//! claims the next while it acknowledges the last, as a worker does, and as many callers as jobs are in flight do so at the
//! same time. The jobs are those of ten owners, who take turns. What is compared takes turns, so that a machine whose speed
//! drifts slows both: quote the ratios, which are medians of pairs. No figure here is a test.
//!
//! | setting | |
//! | --- | --- |
//! | `ROWS` | how many wait in a deep queue, 1,000,000; who is in a hurry takes 100,000 |
//! | `SECONDS` | for each figure, in slices of 2 s: 6 |
//! | `ROUNDS` | claims of each kind: 500 |
//!
//! The server is the bench's own, by the `redis-server` and `redis-cli` of `PATH`, in the directory for temporary files, and
//! everybody goes to it by TCP. It's emptied before each slice. `benches/peers` says how the peers get here.

mod figures;

#[path = "queue/compare.rs"]
mod compare;
#[path = "queue/depth.rs"]
mod depth;
#[path = "queue/ours.rs"]
mod ours;
#[path = "queue/peers.rs"]
mod peers;
#[path = "queue/server.rs"]
mod server;

use std::{env, error::Error, time::Duration};

use crate::{
    compare::Compared,
    peers::peers,
    server::{Persistence, Server},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Those that are compared take turns of this length.
const SLICE: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let named: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let peers = peers();
        for persistence in [Persistence::Off, Persistence::EverySecond] {
            let server = Server::start(persistence)?;
            println!("Redis, {}, n = {} slices of {} s each", persistence.name(), slices()?, SLICE.as_secs());
            let compared = Compared { server: &server, peers: &peers };
            if wanted("add") {
                compared.add().await?;
            }
            if wanted("processed") {
                compared.processed().await?;
            }
            if wanted("pickup") {
                compared.pick_up().await?;
            }
            if wanted("cpu") {
                compared.cpu().await?;
            }
            if wanted("depth") {
                depth::depth(&server, &peers).await?;
            }
        }
        Ok(())
    })
}

fn slices() -> Result<usize> {
    Ok(figures::setting("SECONDS", 6)?.div_ceil(SLICE.as_secs() as usize))
}
