//! Parts `add`, `processed`, `pickup` and `cpu`: ours and theirs in turns.

use crate::{
    Result,
    figures::{at_least, at_most, median},
    ours::Ours,
    peers::{Kind, Peer},
    server::Server,
    slices,
};

#[derive(Clone, Copy)]
pub(crate) enum Measure {
    /// Jobs a second that are added, one in each call.
    Add,
    /// The same, a thousand in each call.
    Bulk,
    /// Jobs are added, and that's all.
    Fill,
    /// Jobs a second that are added, claimed and acknowledged: the next one is added when one has ended.
    Flow,
    /// Jobs a second that are claimed and acknowledged, of those that have been added before.
    Processed,
    /// All are added, and then all are processed: how many.
    Counted,
    /// Milliseconds from before a job is added until it's claimed, at low load: the median, and the 99th percentile.
    PickUp,
}

pub(crate) struct Task {
    pub(crate) measure: Measure,
    pub(crate) in_flight: usize,
    /// How many jobs of ours, where that is to be known.
    pub(crate) ours: usize,
    pub(crate) theirs: usize,
}

/// What came of a turn.
struct Turn {
    figures: Vec<f64>,
    /// What the server has used of processors meanwhile, in seconds.
    cpu: f64,
}

/// Ours, and each of theirs.
struct Turns<'a> {
    ours: Vec<Turn>,
    theirs: Vec<(&'a Peer, Vec<Turn>)>,
}

pub(crate) struct Compared<'a> {
    pub(crate) server: &'a Server,
    pub(crate) peers: &'a [Peer],
}

impl Compared<'_> {
    pub(crate) async fn add(&self) -> Result<()> {
        let rows: [(_, _, _, &[_]); 3] = [
            ("add, 1 caller", Measure::Add, 1, &[]),
            ("add, 100 callers", Measure::Add, 100, &[(Kind::BullMq, 5.0)]),
            ("add, 1,000 in a call", Measure::Bulk, 1, &[]),
        ];
        for (what, measure, in_flight, least) in rows {
            self.rates(what, &Task { measure, in_flight, ours: 0, theirs: 0 }, least).await?;
        }
        Ok(())
    }

    pub(crate) async fn processed(&self) -> Result<()> {
        // In a backlog, how many of ours and of theirs: more than any of them does in a slice and its warm-up.
        let rows: [(_, _, _, &[_]); 3] = [
            (1, 80_000, 30_000, &[(Kind::BullMq, 2.0)]),
            (10, 250_000, 100_000, &[(Kind::BullMq, 3.0)]),
            (100, 400_000, 100_000, &[(Kind::BullMq, 7.0), (Kind::Official, 3.5)]),
        ];
        for (in_flight, .., least) in rows {
            let what = format!("added, claimed and acknowledged, {in_flight} in flight");
            self.rates(&what, &Task { measure: Measure::Flow, in_flight, ours: 0, theirs: 0 }, least).await?;
        }
        for (in_flight, ours, theirs, _) in rows {
            let what = format!("claimed and acknowledged, {in_flight} in flight, all have been added before");
            self.rates(&what, &Task { measure: Measure::Processed, in_flight, ours, theirs }, &[]).await?;
        }
        Ok(())
    }

    pub(crate) async fn pick_up(&self) -> Result<()> {
        println!("  from before one is added to when it's claimed, one every 10 ms");
        let turns = self.turns(&Task { measure: Measure::PickUp, in_flight: 1, ours: 0, theirs: 0 }).await?;
        let figure = |turns: &[Turn], index: usize| {
            median(&mut turns.iter().map(|turn| turn.figures[index]).collect::<Vec<_>>())
        };
        for (peer, turns) in &turns.theirs {
            println!(
                "    {}: p50 {:.3} ms, p99 {:.3} ms",
                peer.kind.name(),
                figure(turns, 0),
                figure(turns, 1)
            );
        }
        let (p50, p99) = (figure(&turns.ours, 0), figure(&turns.ours, 1));
        println!("    livecode: p50 {p50:.3} ms ({}), p99 {p99:.3} ms", at_most(p50, 1.0));
        Ok(())
    }

    pub(crate) async fn cpu(&self) -> Result<()> {
        const JOBS: usize = 40_000;
        println!(
            "  the server's processor for a job, added and processed, 100 in flight, n = {JOBS} in a slice"
        );
        let task = Task { measure: Measure::Counted, in_flight: 100, ours: JOBS, theirs: JOBS };
        let turns = self.turns(&task).await?;
        let microseconds =
            |turns: &[Turn]| turns.iter().map(|turn| turn.cpu / turn.figures[0] * 1e6).collect();
        let ours: Vec<f64> = microseconds(&turns.ours);
        println!("    livecode: {:.1} µs", median(&mut ours.clone()));
        for (peer, turns) in &turns.theirs {
            let theirs: Vec<f64> = microseconds(turns);
            let ratio = ratio(&ours, &theirs);
            let promise = (peer.kind == Kind::BullMq).then(|| format!(" ({})", at_most(ratio, 0.25)));
            let name = peer.kind.name();
            println!(
                "    {name}: {:.1} µs, livecode {ratio:.2} of it{}",
                median(&mut theirs.clone()),
                promise.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Jobs a second, and how many times as many they are at least promised to be.
    async fn rates(&self, what: &str, task: &Task, least: &[(Kind, f64)]) -> Result<()> {
        println!("  {what}");
        let turns = self.turns(task).await?;
        let rates = |turns: &[Turn]| turns.iter().map(|turn| turn.figures[0]).collect();
        let ours: Vec<f64> = rates(&turns.ours);
        println!("    livecode: {:.0} a second", median(&mut ours.clone()));
        for (peer, turns) in &turns.theirs {
            let theirs: Vec<f64> = rates(turns);
            let ratio = ratio(&ours, &theirs);
            let promise = least
                .iter()
                .find(|(kind, _)| *kind == peer.kind)
                .map(|(_, least)| format!(" ({})", at_least(ratio, *least)));
            let name = peer.kind.name();
            println!(
                "    {name}: {:.0} a second, livecode {ratio:.2} times that{}",
                median(&mut theirs.clone()),
                promise.unwrap_or_default()
            );
        }
        Ok(())
    }

    async fn turns(&self, task: &Task) -> Result<Turns<'_>> {
        let mut ours = Vec::new();
        let mut theirs: Vec<_> = self.peers.iter().map(|peer| (peer, Vec::new())).collect();
        for _ in 0..slices()? {
            self.server.empty()?;
            let before = self.server.cpu()?;
            let figures = Ours::open(self.server, "bench").await?.measure(task).await?;
            ours.push(Turn { figures, cpu: self.server.cpu()? - before });
            for (peer, turns) in &mut theirs {
                self.server.empty()?;
                let before = self.server.cpu()?;
                let figures = peer.measure(self.server, task)?;
                turns.push(Turn { figures, cpu: self.server.cpu()? - before });
            }
        }
        Ok(Turns { ours, theirs })
    }
}

/// The median of pairs.
fn ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    median(&mut ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
}
