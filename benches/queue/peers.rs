//! Other queues, as programs: `benches/peers` has them.

use std::{path::Path, process::Command};

use crate::{
    Result, SLICE,
    compare::{Measure, Task},
    server::Server,
};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");

/// A program that is told a server, what to measure, how many in flight, for how long, and of how many jobs, and prints
/// figures.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    program: String,
    arguments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BullMq,
    Official,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BullMq => "BullMQ",
            Self::Official => "bullmq-official",
        }
    }
}

/// Those that are here.
pub(crate) fn peers() -> Vec<Peer> {
    let script = format!("{DIRECTORY}/bullmq/redis.cjs");
    let official = format!("{DIRECTORY}/installed/bin/livecode-bench-bullmq-official");
    let all = [
        (Kind::BullMq, format!("{DIRECTORY}/bullmq/node_modules/ioredis"), "node".into(), vec![script]),
        (Kind::Official, official.clone(), official, Vec::new()),
    ];
    let mut here = Vec::new();
    for (kind, needed, program, arguments) in all {
        if Path::new(&needed).exists() {
            here.push(Peer { kind, program, arguments });
        } else {
            println!("{}: not here, install it as benches/peers/README.md says", kind.name());
        }
    }
    here
}

impl Peer {
    /// Nothing of ours is to run meanwhile, so this waits where it stands.
    pub(crate) fn measure(&self, server: &Server, task: &Task) -> Result<Vec<f64>> {
        let measure = match task.measure {
            Measure::Add => "add",
            Measure::Bulk => "bulk",
            Measure::Fill => "fill",
            Measure::Processed => "processed",
            Measure::Flow => "flow",
            Measure::Counted => "counted",
            Measure::PickUp => "pickup",
        };
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .args([server.url().as_str(), measure])
            .args([task.in_flight.to_string(), SLICE.as_secs().to_string(), task.theirs.to_string()])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let figures: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        figures
            .filter(|figures| !figures.is_empty())
            .ok_or_else(|| format!("{} gave no figures: {output:?}", self.kind.name()).into())
    }
}
