//! Part `depth`: what it costs that many wait.

use std::{sync::Arc, time::Instant};

use crate::{
    Result,
    compare::{Measure, Task},
    figures::{at_most, median, milliseconds, setting},
    ours::Ours,
    peers::Peer,
    server::Server,
};

/// How many of ours wait beside as many of theirs.
const WAITING: usize = 100_000;

/// A few, so that a queue is never empty.
const SHALLOW: usize = 10;

pub(crate) async fn depth(server: &Server, peers: &[Peer]) -> Result<()> {
    const MOST_BYTES: f64 = 426.0;
    let rows = setting("ROWS", 1_000_000)?;
    let waiting = |jobs| Task { measure: Measure::Fill, in_flight: 1, ours: jobs, theirs: jobs };

    println!("  bytes for each that waits");
    for peer in peers {
        server.empty()?;
        let before = server.memory()?;
        peer.measure(server, &waiting(WAITING))?;
        let each = (server.memory()? - before) / WAITING as f64;
        println!("    {}, {WAITING} wait: {each:.0}", peer.kind.name());
    }
    server.empty()?;
    let shallow = Ours::open(server, "shallow").await?;
    shallow.measure(&waiting(SHALLOW)).await?;
    let deep = Ours::open(server, "deep").await?;
    let before = server.memory()?;
    let mut jobs = 0;
    for all in [WAITING.min(rows), rows] {
        deep.measure(&waiting(all - jobs)).await?;
        jobs = all;
        let each = (server.memory()? - before) / jobs as f64;
        println!("    livecode, {jobs} wait: {each:.0} ({})", at_most(each, MOST_BYTES));
    }
    claims(&shallow, &deep, rows).await
}

async fn claims(shallow: &Arc<Ours>, deep: &Arc<Ours>, rows: usize) -> Result<()> {
    const WARM_UP: usize = 20;
    let rounds = setting("ROUNDS", 500)?;
    println!("  a claim of one, n = {rounds} each");
    let mut times = [const { Vec::new() }; 2];
    for round in 0..rounds + WARM_UP {
        for turn in 0..times.len() {
            let index = (round + turn) % times.len();
            let time = claim([shallow, deep][index]).await?;
            if round >= WARM_UP {
                times[index].push(time);
            }
        }
    }
    let [shallow, deep] = times.map(|mut times| median(&mut times));
    let ratio = deep / shallow;
    println!("    {SHALLOW} wait: p50 {shallow:.4} ms");
    println!("    {rows} wait: p50 {deep:.4} ms, {ratio:.2} of that ({})", at_most(ratio, 1.2));
    Ok(())
}

/// In milliseconds. As many wait afterwards.
async fn claim(ours: &Ours) -> Result<f64> {
    let began = Instant::now();
    let leases = ours.claim().await?;
    let time = milliseconds(began.elapsed());
    ours.ack(&leases).await?;
    ours.push(1).await?;
    Ok(time)
}
