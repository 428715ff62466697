//! Workers in processes of their own on a container engine: one is killed, the engine is restarted, and every accepted execution ends all
//! the same, once, with no container left.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../crates/livecode-docker/tests/engine/mod.rs"]
mod engine;
#[path = "../crates/livecode-redis/tests/load/mod.rs"]
mod load;
mod worker_process;

use std::{env, sync::Arc, time::Duration};

use engine::Engine as Containers;
use futures_util::future::join_all;
use livecode::{
    Engine, ExecutionId, ExecutionSpec, RunOptions, Runner, Store, Worker, docker::DockerSandbox,
    sqlx::Sqlite,
};
use load::ended_once;
use tokio::time::{sleep, timeout};

/// By which a worker that is started learns where its database and its engine are.
const DATABASE: &str = "LIVECODE_TEST_DATABASE";
const ENGINE: &str = "LIVECODE_TEST_ENGINE";

const GROUP: &str = "killed";

/// How many executions there are.
const RUNS: usize = 200;

/// Longer than all of them take.
const HANGS: Duration = Duration::from_secs(240);

async fn sandbox(host: &str) -> DockerSandbox {
    DockerSandbox::builder()
        .host(host)
        .group(GROUP)
        .image("python", "livecode-test/python")
        .sweep(Duration::from_millis(500), Duration::from_secs(5))
        .build()
        .await
        .unwrap()
}

/// A worker, until somebody kills it or closes its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test but the worker that another starts and kills"]
async fn worker() {
    let [database, host] = [DATABASE, ENGINE].map(|name| env::var(name).unwrap());
    let (store, queue) = Sqlite::open(&database).await.unwrap().store_and_queue();
    let sandbox = sandbox(&host).await;
    let shutdown = worker_process::at_work();
    let worker = Worker::new(Arc::new(store), Arc::new(queue), Runner::new(sandbox.clone()));
    let worker = worker.concurrency(2).max_attempts(1_000).lease(Duration::from_secs(2));
    worker.sweep(Duration::from_millis(300), Duration::from_secs(1)).run(shutdown).await;
    sandbox.drain().await.unwrap();
}

/// Waits until so many have ended.
async fn until_ended(engine: &Engine, ids: &[ExecutionId], number: usize) {
    let ended = async {
        loop {
            let all = join_all(ids.iter().map(|id| engine.execution(*id))).await;
            let count =
                all.into_iter().filter(|execution| execution.as_ref().unwrap().state.is_terminal()).count();
            if count >= number {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(HANGS, ended).await.unwrap();
}

/// Waits until a container has the name of one of these executions.
async fn is_named(containers: &Containers, ids: &[ExecutionId]) {
    let named = async {
        loop {
            let names = containers.docker(&["ps", "--format", "{{.Names}}"]);
            if names.lines().any(|name| ids.iter().any(|id| name == format!("livecode-{id}-1"))) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANGS, named).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_ends_once_and_no_container_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", directory.path().join("livecode.db").display());
    let containers = Containers::new();
    let (store, queue) = Sqlite::open(&database).await.unwrap().store_and_queue();
    let store: Arc<dyn Store> = Arc::new(store);
    let engine = Engine::new(store.clone(), Arc::new(queue));
    let spec = |n| ExecutionSpec::new("python", format!("import time; time.sleep(0.1); print({n})"));
    let runs = join_all((0..RUNS).map(|n| engine.run(spec(n), RunOptions::default()))).await;
    let ids: Vec<_> = runs.into_iter().map(|run| run.unwrap().execution.id).collect();
    let host = containers.host();
    let start = || worker_process::start(&[(DATABASE, &database), (ENGINE, &host)]);
    let mut workers = [start(), start()];
    until_ended(&engine, &ids, RUNS / 4).await;
    is_named(&containers, &ids).await;
    workers[0].kill().unwrap();
    workers[0].wait().unwrap();
    workers[0] = start();
    until_ended(&engine, &ids, RUNS / 2).await;
    tokio::task::block_in_place(|| {
        containers.stop();
        containers.start();
    });
    until_ended(&engine, &ids, RUNS).await;
    let mut again = 0;
    for (n, id) in ids.iter().enumerate() {
        let execution = engine.execution(*id).await.unwrap();
        again += usize::from(execution.attempt > 1);
        ended_once(&*store, &execution).await;
        assert_eq!(engine.output(*id).await.unwrap().stdout, format!("{n}\n"));
    }
    assert!(again > 0, "nothing hit a program that ran");
    workers.into_iter().for_each(worker_process::end);
    // What the killed one left is anybody's to remove.
    let sandbox = sandbox(&host).await;
    containers.is_emptied(GROUP).await;
    drop(sandbox);
}
