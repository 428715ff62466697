//! A program that kills whatever process runs it, among others, on workers in processes of their own over one SQLite file: it's given
//! up after its attempts, and nobody else is.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod worker_process;

use std::{
    env,
    process::ChildStdin,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use livecode::{
    Capabilities, Engine, ErrorType, ExecutionSpec, Io, Outcome, Program, Result, RunOptions, Runner,
    Sandbox, State, Termination, Worker, sqlx::Sqlite,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// By which a worker that is started learns where its store is.
const STORE: &str = "LIVECODE_TEST_STORE";

/// Longer than all of this takes.
const HANGS: Duration = Duration::from_secs(60);

/// The source of the program that its worker doesn't survive.
const POISON: &str = "poison";

/// A sandbox with a defect that one program meets.
#[derive(Debug)]
struct Defective;

#[async_trait]
impl Sandbox for Defective {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "defective".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, _: Io, _: &CancellationToken) -> Result<Outcome> {
        // The others are at work when it happens.
        if program.files[0].content == POISON {
            sleep(Duration::from_millis(200)).await;
            std::process::abort();
        }
        sleep(Duration::from_millis(400)).await;
        Ok(Outcome::new(Termination::Exited { code: 0 }))
    }
}

/// A worker, until a program kills it or somebody closes its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test but the worker that another starts"]
async fn worker() {
    let (store, queue) = Sqlite::open(&env::var(STORE).unwrap()).await.unwrap().store_and_queue();
    let shutdown = worker_process::at_work();
    let worker = Worker::new(Arc::new(store), Arc::new(queue), Runner::new(Defective)).concurrency(4);
    let worker =
        worker.lease(Duration::from_secs(1)).sweep(Duration::from_millis(300), Duration::from_secs(1));
    worker.run(shutdown).await;
}

/// What ends the workers that live; none once there are to be no more.
type Alive = Arc<Mutex<Option<Vec<ChildStdin>>>>;

/// Starts a worker, and another one wherever it dies, until it's ended; gives back how many have died.
fn keep(store: &str, alive: &Alive) -> u32 {
    for deaths in 0.. {
        let mut worker = worker_process::start(&[(STORE, store)]);
        let stdin = worker.stdin.take().unwrap();
        if let Some(alive) = &mut *alive.lock().unwrap() {
            alive.push(stdin);
        }
        if worker.wait().unwrap().success() {
            return deaths;
        }
    }
    unreachable!("it counts for longer than anybody waits")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_kills_its_workers_is_given_up_and_nobody_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("livecode.db").display());
    let (store, queue) = Sqlite::open(&url).await.unwrap().store_and_queue();
    let engine = Engine::new(Arc::new(store), Arc::new(queue));
    let run = async |source: &str| {
        let accepted = engine.run(ExecutionSpec::new("python", source), RunOptions::default()).await;
        accepted.unwrap().execution.id
    };
    let poison = run(POISON).await;
    let mut others = Vec::new();
    for nth in 0..16 {
        others.push(run(&format!("program {nth}")).await);
    }
    let alive: Alive = Arc::new(Mutex::new(Some(Vec::new())));
    let keepers = [(); 2].map(|()| {
        let (url, alive) = (url.clone(), alive.clone());
        thread::spawn(move || keep(&url, &alive))
    });
    let end = engine.wait(poison, HANGS).await.unwrap();
    assert_eq!((end.state, end.error_type()), (State::Failed, Some(ErrorType::InternalError)), "{end:?}");
    assert_eq!((end.attempt, end.failures), (3, 3), "{end:?}");
    let mut lost = 0;
    for other in others {
        let end = engine.wait(other, HANGS).await.unwrap();
        assert_eq!(end.state, State::Completed, "{end:?}");
        lost += end.failures;
    }
    assert!(lost > 0, "nobody ran beside it");
    drop(alive.lock().unwrap().take());
    let deaths: u32 = keepers.into_iter().map(|keeper| keeper.join().unwrap()).sum();
    assert_eq!(deaths, 3, "one for each of its attempts");
}
