//! What livecode itself costs: `cargo bench --bench overhead`.
//!
//! The engine and a worker around a sandbox that does nothing, on the backends in memory. `ROUNDS` sets how many executions
//! (default 2000). Medians are what to quote; no figure here is a test. What a sandbox costs is `benches/sandbox.rs`.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use livecode::{
    Capabilities, Engine, ExecutionSpec, Io, MemoryQueue, MemoryStore, Outcome, Program, Result, RunOptions,
    Runner, Sandbox, State, Termination, Worker,
};
use tokio_util::sync::CancellationToken;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = env::var("ROUNDS").ok().map_or(Ok(2000), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(engine(rounds.max(1)))
}

/// The cost of a life cycle: insert, push, claim, start, finish, acknowledge, and the wait for its end.
async fn engine(rounds: usize) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let engine = Engine::new(store.clone(), queue.clone());
    let shutdown = CancellationToken::new();
    let worker = Worker::new(store, queue, Runner::new(Nothing));
    let working = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { worker.run(shutdown).await }
    });
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let spec = ExecutionSpec::new("python", "pass");
        let began = Instant::now();
        let accepted = engine.run(spec, RunOptions::default()).await?;
        let ended = engine.wait(accepted.execution.id, Duration::from_secs(10)).await?;
        times.push(began.elapsed());
        assert_eq!(ended.state, State::Completed);
    }
    shutdown.cancel();
    working.await?;
    println!("engine, one execution at a time in memory, accepted to ended");
    print("  livecode", &mut times);
    Ok(())
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.3} ms, p95 {:.3} ms, n = {}", at(50), at(95), times.len());
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Sandbox for Nothing {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "nothing".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, _: &Program, _: Io, _: &CancellationToken) -> Result<Outcome> {
        Ok(Outcome::new(Termination::Exited { code: 0 }))
    }
}
