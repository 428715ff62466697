//! Part `peers`: other queues on the same server, in turns with ours. `benches/peers` has them.

use std::{path::Path, process::Command, sync::Arc};

use crate::{
    Result, SLICE,
    cycles::rate,
    figures::{at_least, median},
    place::{Place, PostgresServer, Work},
    slices,
};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");

/// Another queue, as a program that is told a server, how many in flight, for how long, and how many wait at the
/// beginning, and prints how many a second.
struct Peer {
    name: &'static str,
    program: String,
    arguments: Vec<String>,
    /// The least that ours is of it, by how many are in flight.
    bounds: [Option<f64>; 2],
}

const IN_FLIGHT: [usize; 2] = [10, 100];

/// Jobs that are added in one call.
const BULK: usize = 1_000;

/// More than any of them does in a slice and its warm-up.
const BACKLOG: usize = 40_000;

/// How jobs come, and what of ours is beside a job of theirs then.
struct Way {
    name: &'static str,
    /// How many wait at the beginning. None where the next one is added when one has ended.
    backlog: usize,
    ours: &'static [(&'static str, Work)],
    /// Whether the promise is about this one: jobs that are processed, as queues count them, and not how they were added.
    is_promised: bool,
}

const WAYS: [Way; 2] = [
    Way {
        name: "the next is added when one has ended",
        backlog: 0,
        ours: &[("life cycles", Work::LifeCycle), ("push, claim, acknowledge", Work::Job)],
        is_promised: false,
    },
    Way {
        name: "all have been added before",
        backlog: BACKLOG,
        ours: &[("claim, acknowledge", Work::Waiting)],
        is_promised: true,
    },
];

pub(crate) async fn peers(server: &PostgresServer) -> Result<()> {
    println!("PostgreSQL, jobs beside other queues, n = {} slices of {} s each", slices()?, SLICE.as_secs());
    let peers: Vec<Peer> = [apalis(), bullmq()]
        .into_iter()
        .filter_map(|peer| peer.inspect_err(|missing| println!("  {missing}")).ok())
        .collect();
    for way in WAYS {
        let (place, _) = server.open("peers").await?;
        let place = Arc::new(place);
        for (index, in_flight) in IN_FLIGHT.into_iter().enumerate() {
            println!("  {}, {in_flight} in flight", way.name);
            let bound = |peer: &Peer| peer.bounds[index].filter(|_| way.is_promised);
            let bounds: Vec<_> = peers.iter().map(|peer| (peer, bound(peer))).collect();
            measure(server, &place, &way, &bounds, in_flight).await?;
        }
    }
    Ok(())
}

async fn measure(
    server: &PostgresServer,
    place: &Arc<Place>,
    way: &Way,
    peers: &[(&Peer, Option<f64>)],
    in_flight: usize,
) -> Result<()> {
    let mut ours = vec![Vec::new(); way.ours.len()];
    let mut theirs = vec![Vec::new(); peers.len()];
    for _ in 0..slices()? {
        for ((_, work), rates) in way.ours.iter().zip(&mut ours) {
            for _ in 0..2 * way.backlog / BULK {
                place.push(BULK).await?;
            }
            rates.push(rate(place, *work, in_flight, SLICE).await?);
        }
        for ((peer, _), rates) in peers.iter().zip(&mut theirs) {
            rates.push(peer.rate(server, in_flight, way.backlog)?);
        }
    }
    for ((peer, _), rates) in peers.iter().zip(&theirs) {
        println!("    {}: {:.0} a second", peer.name, median(&mut rates.clone()));
    }
    for ((what, _), rates) in way.ours.iter().zip(&ours) {
        println!("    livecode, {what}: {:.0} a second", median(&mut rates.clone()));
        for ((peer, bound), theirs) in peers.iter().zip(&theirs) {
            let mut ratios: Vec<f64> = rates.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
            let ratio = median(&mut ratios);
            let promise = bound.map_or_else(String::new, |least| format!(" ({})", at_least(ratio, least)));
            println!("      {ratio:.2} times {}{promise}", peer.name);
        }
    }
    Ok(())
}

fn apalis() -> std::result::Result<Peer, String> {
    let program = format!("{DIRECTORY}/installed/bin/livecode-bench-apalis");
    if !Path::new(&program).exists() {
        return Err(missing("apalis-postgres"));
    }
    let bounds = [Some(3.0), Some(2.0)];
    Ok(Peer { name: "apalis-postgres", program, arguments: Vec::new(), bounds })
}

fn bullmq() -> std::result::Result<Peer, String> {
    if !Path::new(DIRECTORY).join("bullmq/node_modules/bullmq").exists() {
        return Err(missing("BullMQ"));
    }
    let script = format!("{DIRECTORY}/bullmq/rate.cjs");
    let bounds = [None, Some(8.0)];
    Ok(Peer { name: "BullMQ", program: "node".into(), arguments: vec![script], bounds })
}

fn missing(name: &str) -> String {
    format!("{name}: not here, install it as benches/peers/README.md says")
}

impl Peer {
    /// Nothing of ours is to run meanwhile, so this waits where it stands.
    fn rate(&self, server: &PostgresServer, in_flight: usize, backlog: usize) -> Result<f64> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(server.url());
        command.args([in_flight.to_string(), SLICE.as_secs().to_string(), backlog.to_string()]);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| format!("{} gave no rate: {output:?}", self.name).into())
    }
}
