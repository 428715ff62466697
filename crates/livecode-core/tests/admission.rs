//! How many programs a runner lets run at a time, and who waits how.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    num::NonZero,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use livecode_core::{
    Capabilities, Ceiling, Error, ExecutionSpec, Io, Languages, Limits, Outcome, Program, Result, Run,
    Runner, Sandbox, Termination,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, yield_now},
};
use tokio_util::sync::CancellationToken;

/// A sandbox whose programs run until they are let go, or as long as their source says in seconds.
#[derive(Debug)]
struct Gate {
    /// The sources in the order of their beginning.
    begun: Mutex<Vec<String>>,
    go: Semaphore,
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate { begun: Mutex::default(), go: Semaphore::new(0) })
}

impl Gate {
    fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Sandbox for Gate {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "gate".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, _: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let source = String::from_utf8(program.files[0].content.to_vec()).unwrap();
        self.begun.lock().unwrap().push(source.clone());
        if let Ok(seconds) = source.parse() {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            return Ok(Outcome::new(Termination::Exited { code: 0 }));
        }
        tokio::select! {
            go = self.go.acquire() => go.unwrap().forget(),
            () = cancel.cancelled() => return Ok(Outcome::new(Termination::Cancelled)),
        }
        match &*source {
            "breaks" => Err(Error::internal("the sandbox broke")),
            _ => Ok(Outcome::new(Termination::Exited { code: 0 })),
        }
    }
}

fn start(runner: &Runner, source: &str) -> JoinHandle<Result<Run>> {
    let (runner, spec) = (runner.clone(), ExecutionSpec::new("python", source));
    tokio::spawn(async move { runner.run(&spec).await })
}

/// Everything that can go on has gone on: there is one thread, and nothing but the test lets anything go.
async fn settled() {
    for _ in 0..1000 {
        yield_now().await;
    }
}

#[tokio::test]
async fn no_more_programs_run_at_a_time_than_is_asked_for_and_who_came_first_is_first() {
    let gate = gate();
    let runner = Runner::shared(gate.clone()).concurrency(2);
    // A clone counts together with the others.
    let runs = ["a", "b", "c", "d", "e"].map(|source| start(&runner.clone(), source));
    settled().await;
    assert_eq!(gate.begun(), ["a", "b"]);
    gate.go.add_permits(1);
    settled().await;
    assert_eq!(gate.begun(), ["a", "b", "c"]);
    gate.go.add_permits(4);
    for run in runs {
        assert!(run.await.unwrap().unwrap().outcome.is_success());
    }
    assert_eq!(gate.begun(), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn who_waits_can_be_cancelled_and_never_begins() {
    let gate = gate();
    let runner = Runner::shared(gate.clone()).concurrency(1);
    let first = start(&runner, "first");
    settled().await;
    let (spec, cancel) = (ExecutionSpec::new("python", "second"), CancellationToken::new());
    let (sender, _receiver) = mpsc::channel(1);
    let second = tokio::spawn({
        let (runner, cancel) = (runner.clone(), cancel.clone());
        async move { runner.stream(&spec, sender, &cancel).await }
    });
    let third = start(&runner, "third");
    settled().await;
    cancel.cancel();
    assert_eq!(second.await.unwrap().unwrap(), Outcome::new(Termination::Cancelled));
    gate.go.add_permits(2);
    first.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
    assert_eq!(gate.begun(), ["first", "third"]);
}

#[tokio::test]
async fn who_is_dropped_leaves_its_place_and_the_wait_for_one() {
    let gate = gate();
    let runner = Runner::shared(gate.clone()).concurrency(1);
    let (running, waiting, last) = (start(&runner, "a"), start(&runner, "b"), start(&runner, "c"));
    settled().await;
    waiting.abort();
    running.abort();
    gate.go.add_permits(1);
    last.await.unwrap().unwrap();
    assert_eq!(gate.begun(), ["a", "c"]);
}

#[tokio::test]
async fn a_sandbox_that_fails_gives_the_place_back() {
    let gate = gate();
    let runner = Runner::shared(gate.clone()).concurrency(1);
    gate.go.add_permits(2);
    start(&runner, "breaks").await.unwrap().unwrap_err();
    start(&runner, "next").await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_place_is_not_taken_for_a_stuck_sandbox() {
    let gate = gate();
    let ceiling =
        Ceiling { run: Limits { wall_time: Duration::from_secs(60), ..Limits::RUN }, ..Ceiling::default() };
    let runner = Runner::shared(gate).ceiling(ceiling).concurrency(1);
    // The third waits longer than any sandbox may take.
    for run in ["55", "55", "55"].map(|source| start(&runner, source)) {
        assert!(run.await.unwrap().unwrap().outcome.is_success());
    }
}

#[tokio::test]
async fn without_a_wish_it_is_by_the_processors_and_for_who_has_no_bound_of_its_own() {
    let gate = gate();
    let runner = Runner::shared(gate.clone());
    let places = (4 * thread::available_parallelism().map_or(1, NonZero::get)).max(8);
    let runs: Vec<_> = (0..=places).map(|_| start(&runner, "run")).collect();
    settled().await;
    assert_eq!(gate.begun().len(), places);
    let accepted = |runner: &Runner| {
        let runner = runner.clone();
        let spec = ExecutionSpec::new("python", "accepted");
        let spec = spec.complete(&Languages::builtin(), &Ceiling::default()).unwrap();
        tokio::spawn(async move {
            let (sender, _receiver) = mpsc::channel(1);
            runner.stream_accepted(&spec, sender, &CancellationToken::new()).await
        })
    };
    // As a worker does, which takes no more than it may.
    let beside = accepted(&runner);
    settled().await;
    assert_eq!(gate.begun().len(), places + 1);
    // Said aloud it holds for a worker as well.
    let one = runner.concurrency(1);
    let both = [accepted(&one), accepted(&one)];
    settled().await;
    assert_eq!(gate.begun().len(), places + 2);
    gate.go.add_permits(places + 4);
    for run in runs {
        run.await.unwrap().unwrap();
    }
    for run in [beside].into_iter().chain(both) {
        run.await.unwrap().unwrap();
    }
}
