//! Whole executions while the server dies and the network fails: every accepted one ends, once, and nothing is left.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../load/mod.rs"]
mod load;
mod proxy;
#[path = "../redis_server/mod.rs"]
mod redis_server;

use std::{sync::Arc, time::Duration};

use livecode_core::{Engine, MemoryStore, Runner, Worker, conformance::finish};
use livecode_redis::RedisQueue;
use load::{Brief, Load, emptied, ended_once};
use proxy::{Proxy, Weather};
use redis_server::{DURABLE, Server};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

/// A host: an engine, and two workers with connections of their own, as in three processes.
struct Host {
    store: Arc<MemoryStore>,
    queue: Arc<RedisQueue>,
    sandbox: Arc<Brief>,
    load: Load,
    shutdown: CancellationToken,
    workers: JoinSet<()>,
}

impl Host {
    async fn on(url: &str, lease: Duration) -> Self {
        let store = Arc::new(MemoryStore::new());
        let sandbox = Arc::new(Brief::default());
        let shutdown = CancellationToken::new();
        let mut workers = JoinSet::new();
        for _ in 0..2 {
            let queue = Arc::new(RedisQueue::open(url).await.unwrap());
            let worker = Worker::new(store.clone(), queue, Runner::shared(sandbox.clone())).concurrency(4);
            let worker = worker.lease(lease).sweep(Duration::from_millis(100), Duration::from_millis(200));
            let shutdown = shutdown.clone();
            workers.spawn(async move { worker.run(shutdown).await });
        }
        let queue = Arc::new(RedisQueue::open(url).await.unwrap());
        let load = Load::on(Engine::new(store.clone(), queue.clone()));
        Self { store, queue, sandbox, load, shutdown, workers }
    }

    /// Lets callers queue programs while `faults` happen, and checks what became of each.
    async fn endures(self, server: &Server, faults: impl AsyncFnOnce(&Load)) {
        let (all, ()) = tokio::join!(self.load.run(), async {
            faults(&self.load).await;
            self.load.stop();
        });
        emptied(&*self.queue).await;
        self.shutdown.cancel();
        self.workers.join_all().await;
        for (ended, source) in &all {
            ended_once(&*self.store, ended).await;
            assert!(self.sandbox.begun(source) <= ended.attempt, "an attempt is made once: {ended:?}");
        }
        for key in server.cli(&["KEYS", "*"]).lines() {
            assert_eq!(server.cli(&["TYPE", key]), "string", "{key} is left, and is no counter");
        }
    }
}

async fn ends_once_though_the_server_dies_again_and_again(settings: &[&str]) {
    let server = Server::with(settings);
    let host = Host::on(&server.queue("jobs"), Duration::from_secs(1)).await;
    let mut random = fastrand::Rng::with_seed(7);
    let deaths = async |load: &Load| {
        for _ in 0..20 {
            load.goes_on(random.usize(1..150)).await;
            server.kill();
            sleep(Duration::from_millis(random.u64(0..200))).await;
            server.start();
        }
        load.goes_on(1).await;
    };
    finish(host.endures(&server, deaths)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_ends_once_though_the_server_dies_again_and_again() {
    ends_once_though_the_server_dies_again_and_again(DURABLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_ends_once_though_the_server_forgets_all_again_and_again() {
    ends_once_though_the_server_dies_again_and_again(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_ends_once_though_the_network_fails_again_and_again() {
    let server = Server::with(&[]);
    let proxy = Proxy::to(server.port()).await;
    let url = format!("redis://127.0.0.1:{}/?prefix=jobs", proxy.port());
    // Longer than an answer may be under way.
    let host = Host::on(&url, Duration::from_secs(4)).await;
    let mut random = fastrand::Rng::with_seed(7);
    let faults = async |load: &Load| {
        let all = [
            Weather::Stalled,
            Weather::Cut,
            Weather::Swallowed { answers: true },
            Weather::Swallowed { answers: false },
        ];
        for weather in all.repeat(2) {
            load.goes_on(random.usize(1..150)).await;
            proxy.set(weather);
            sleep(Duration::from_millis(random.u64(500..1_500))).await;
            proxy.set(Weather::Clear);
        }
        load.goes_on(1).await;
    };
    finish(host.endures(&server, faults)).await;
}

/// What it has no room for waits in the store, until a sweep finds that there is some.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_ends_though_the_queue_is_shorter_than_what_was_accepted() {
    finish(async {
        let server = Server::with(&[]);
        let host = Host::on(&format!("{}&max_jobs=5", server.queue("jobs")), Duration::from_secs(2)).await;
        host.endures(&server, async |load| load.goes_on(200).await).await;
    })
    .await;
}
