//! What livecode itself costs: `cargo bench --features process --bench overhead`.
//!
//! 1. The engine and a worker around a sandbox that does nothing, on the backends in memory.
//! 2. A cold run of `print("hi")` in the process sandbox beside bare `/usr/bin/python3 -c`, taking turns in one run, so that
//!    a machine whose speed drifts slows both.
//!
//! `ROUNDS` sets how many of each (default 200). Medians are what to quote; no figure here is a test.

use std::{
    env,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use livecode::{
    Capabilities, Engine, ExecutionSpec, Io, Language, Languages, MemoryQueue, MemoryStore, Outcome, Program,
    Result, RunOptions, Runner, Sandbox, State, Termination, Worker, process::ProcessSandbox,
};
use tokio_util::sync::CancellationToken;

const PYTHON: &str = "/usr/bin/python3";

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let rounds: usize = env::var("ROUNDS").ok().map_or(Ok(200), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        engine(rounds.max(1) * 10).await?;
        cold(rounds.max(1)).await
    })
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

async fn cold(rounds: usize) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut languages = Languages::none();
    languages.add(Language::new("python", "main.py", [PYTHON, "main.py"]))?;
    let runner = Runner::new(ProcessSandbox::builder().build()?).languages(languages);
    let spec = ExecutionSpec::new("python", "print(\"hi\")");
    let (mut bare, mut ours) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..rounds + 5 {
        let began = Instant::now();
        let output = Command::new(PYTHON).args(["-c", "print(\"hi\")"]).stdin(Stdio::null()).output()?;
        let alone = began.elapsed();
        assert_eq!(output.stdout, b"hi\n");
        let began = Instant::now();
        let run = runner.run(&spec).await?;
        let contained = began.elapsed();
        assert_eq!(run.captured.stdout, "hi\n");
        // The first few warm the page cache.
        if round >= 5 {
            bare.push(alone);
            ours.push(contained);
        }
    }
    let mut ratios: Vec<f64> =
        ours.iter().zip(&bare).map(|(ours, bare)| ours.as_secs_f64() / bare.as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    println!("print(\"hi\"), in turns");
    print("  bare /usr/bin/python3 -c", &mut bare);
    print("  livecode, process sandbox, cold", &mut ours);
    println!("  ratio, median of pairs: {:.2}", ratios[ratios.len() / 2]);
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
