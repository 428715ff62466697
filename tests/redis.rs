//! Workers in processes of their own, on a queue on Redis beside a store in a file, which are killed again and again: every accepted
//! execution ends, once, and nothing is left in the queue.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../crates/livecode-redis/tests/load/mod.rs"]
mod load;
#[path = "../crates/livecode-redis/tests/redis_server/mod.rs"]
mod redis_server;
mod worker_process;

use std::{env, sync::Arc, time::Duration};

use livecode::{Engine, Runner, Worker, redis::RedisQueue, sqlx::Sqlite};
use load::{Brief, Load, emptied, ended_once};
use tokio::time::sleep;

/// By which a worker that is started learns where its store and its queue are.
const STORE: &str = "LIVECODE_TEST_STORE";
const QUEUE: &str = "LIVECODE_TEST_QUEUE";

/// For how many seconds workers are killed; 12 where it isn't said.
const SECONDS: &str = "LIVECODE_TEST_KILLING_SECONDS";

/// A worker, until somebody kills it or closes its standard input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test but the worker that another starts and kills"]
async fn worker() {
    let [store, queue] = [STORE, QUEUE].map(|name| env::var(name).unwrap());
    let store = Arc::new(Sqlite::open(&store).await.unwrap().store());
    let queue = Arc::new(RedisQueue::open(&queue).await.unwrap());
    let shutdown = worker_process::at_work();
    let worker = Worker::new(store, queue, Runner::new(Brief::default())).concurrency(4).max_attempts(1_000);
    let worker =
        worker.lease(Duration::from_secs(1)).sweep(Duration::from_millis(300), Duration::from_secs(1));
    worker.run(shutdown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_ends_once_while_workers_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let store_url = format!("sqlite://{}", directory.path().join("livecode.db").display());
    let queue_url = redis_server::fresh();
    let store = Arc::new(Sqlite::open(&store_url).await.unwrap().store());
    let queue = Arc::new(RedisQueue::open(&queue_url).await.unwrap());
    let load = Load::on(Engine::new(store.clone(), queue.clone()));
    let seconds = env::var(SECONDS).map_or(12, |seconds| seconds.parse().unwrap());
    let kills = async {
        let start = || worker_process::start(&[(STORE, &store_url), (QUEUE, &queue_url)]);
        let mut workers = [(); 3].map(|()| start());
        for _ in 0..seconds / 2 {
            sleep(Duration::from_secs(2)).await;
            load.goes_on(1).await;
            let victim = &mut workers[fastrand::usize(0..3)];
            victim.kill().unwrap();
            victim.wait().unwrap();
            *victim = start();
        }
        load.goes_on(1).await;
        load.stop();
        workers
    };
    let (all, workers) = tokio::join!(load.run(), kills);
    emptied(&*queue).await;
    workers.into_iter().for_each(worker_process::end);
    for (ended, _) in &all {
        ended_once(&*store, ended).await;
    }
    assert!(all.iter().any(|(ended, _)| ended.attempt > 1), "no kill hit a program that ran");
}
