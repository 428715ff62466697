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

/// Another queue, as a program that is told a server, how many in flight and for how long, and prints how many a second.
struct Peer {
    name: &'static str,
    program: String,
    arguments: Vec<String>,
    /// The least that ours is of it, by how many are in flight.
    bounds: [Option<f64>; 2],
}

const IN_FLIGHT: [usize; 2] = [10, 100];

pub(crate) async fn peers(server: &PostgresServer) -> Result<()> {
    let slices = slices()?;
    println!("PostgreSQL, jobs beside other queues, n = {slices} slices of {} s each", SLICE.as_secs());
    let peers: Vec<Peer> = [apalis(), bullmq()]
        .into_iter()
        .filter_map(|peer| peer.inspect_err(|missing| println!("  {missing}")).ok())
        .collect();
    let (place, _) = server.open("peers").await?;
    let place = Arc::new(place);
    for (index, in_flight) in IN_FLIGHT.into_iter().enumerate() {
        measure(server, &place, &peers, index, in_flight, slices).await?;
    }
    Ok(())
}

async fn measure(
    server: &PostgresServer,
    place: &Arc<Place>,
    peers: &[Peer],
    index: usize,
    in_flight: usize,
    slices: usize,
) -> Result<()> {
    const OURS: [(&str, Work); 2] =
        [("life cycles", Work::LifeCycle), ("push, claim, acknowledge", Work::Job)];
    let mut ours = [const { Vec::new() }; 2];
    let mut theirs = vec![Vec::new(); peers.len()];
    for _ in 0..slices {
        for ((_, work), rates) in OURS.into_iter().zip(&mut ours) {
            rates.push(rate(place, work, in_flight, SLICE).await?);
        }
        for (peer, rates) in peers.iter().zip(&mut theirs) {
            rates.push(peer.rate(server, in_flight)?);
        }
    }
    println!("  {in_flight} in flight");
    for (peer, rates) in peers.iter().zip(&mut theirs) {
        println!("    {}: {:.0} a second", peer.name, median(&mut rates.clone()));
    }
    for ((what, _), rates) in OURS.into_iter().zip(&ours) {
        println!("    livecode, {what}: {:.0} a second", median(&mut rates.clone()));
        for (peer, theirs) in peers.iter().zip(&theirs) {
            let mut ratios: Vec<f64> = rates.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
            let ratio = median(&mut ratios);
            let promise =
                peer.bounds[index].map_or_else(String::new, |least| format!(" ({})", at_least(ratio, least)));
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
    fn rate(&self, server: &PostgresServer, in_flight: usize) -> Result<f64> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(server.url());
        command.args([in_flight.to_string(), SLICE.as_secs().to_string()]);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| format!("{} gave no rate: {output:?}", self.name).into())
    }
}
