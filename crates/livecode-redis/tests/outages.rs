//! What a queue does while its server is away, hangs or forgets, and afterwards.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod redis_server;

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use livecode_core::{
    Clock, ErrorKind, ExecutionId, Job, Lease, Owner, Queue, QueueStats, Result, SystemClock,
    conformance::finish,
};
use livecode_redis::RedisQueue;
use redis_server::{Cluster, DURABLE, Sentinel, Server, fresh};

const NO: Duration = Duration::ZERO;
/// How long a claim waits whose answer is expected sooner.
const LONG: Duration = Duration::from_secs(50);
/// How long a claim waits that is to get nothing.
const SHORT: Duration = Duration::from_millis(200);

fn job() -> Job {
    let id = ExecutionId::generate(SystemClock.now());
    Job { id, attempt: 1, owner: Owner::anonymous(), delay: NO, priority: 0 }
}

fn jobs(count: usize) -> Vec<Job> {
    (0..count).map(|_| job()).collect()
}

fn ids(leases: &[Lease]) -> Vec<ExecutionId> {
    leases.iter().map(|lease| lease.id).collect()
}

fn ids_of(jobs: &[Job]) -> Vec<ExecutionId> {
    jobs.iter().map(|job| job.id).collect()
}

async fn open(url: &str) -> RedisQueue {
    RedisQueue::open(url).await.unwrap()
}

/// Repeats a call as its callers do, as long as it fails for now.
async fn persistently<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    loop {
        match call().await {
            Err(error) if error.is_temporary() => tokio::task::yield_now().await,
            made => return made.unwrap(),
        }
    }
}

/// A claim that waits while `meanwhile` happens, and then gets a job that is pushed.
async fn waits_through(url: &str, meanwhile: impl AsyncFnOnce()) {
    let [waiting, other] = [open(url).await, open(url).await];
    let job = job();
    let (leases, ()) = tokio::join!(waiting.claim(1, LONG, LONG), async {
        // By then the other one waits.
        assert_eq!(other.claim(1, SHORT, LONG).await.unwrap(), []);
        meanwhile().await;
        persistently(async || other.push(std::slice::from_ref(&job)).await).await;
    });
    assert_eq!(ids(&leases.unwrap()), [job.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_that_waits_survives_a_restart_of_the_server() {
    finish(async {
        let server = Server::with(&[]);
        waits_through(&server.queue("jobs"), async || {
            server.kill();
            server.start();
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_that_waits_survives_a_server_that_hangs() {
    finish(async {
        let server = Server::with(&[]);
        let other = open(&server.queue("other")).await;
        waits_through(&server.queue("jobs"), async || {
            server.signal("STOP");
            // So long that the one that waits has got no answer, either.
            for _ in 0..2 {
                assert_eq!(other.stats().await.unwrap_err().kind(), ErrorKind::Unavailable);
            }
            server.signal("CONT");
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_that_waits_survives_the_loss_of_its_connections() {
    finish(async {
        let server = Server::with(&[]);
        waits_through(&server.queue("jobs"), async || {
            for kind in ["normal", "pubsub"] {
                server.cli(&["CLIENT", "KILL", "TYPE", kind]);
            }
        })
        .await;
    })
    .await;
}

/// Every call, while the server is away or hangs: none takes as long as the claim may wait.
async fn everything_is_unavailable(queue: &RedisQueue, lease: &[Lease]) {
    let calls = async {
        let job = jobs(1);
        let calls = tokio::join!(
            queue.push(&job),
            queue.claim(1, LONG, LONG),
            queue.extend(lease, LONG),
            queue.ack(lease),
            queue.stats(),
        );
        let (push, claim, extend, ack, stats) = calls;
        for call in [push, claim.map(drop), extend.map(drop), ack, stats.map(drop)] {
            assert_eq!(call.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    };
    assert!(tokio::time::timeout(LONG / 2, calls).await.is_ok(), "a call hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_away_is_unavailable_and_is_found_again() {
    finish(async {
        let server = Server::with(DURABLE);
        let queue = open(&server.queue("jobs")).await;
        queue.push(&jobs(2)).await.unwrap();
        let leases = queue.claim(1, NO, LONG).await.unwrap();
        server.kill();
        everything_is_unavailable(&queue, &leases).await;
        server.start();
        let stats = persistently(async || queue.stats().await).await;
        assert_eq!((stats.waiting, stats.leased), (1, 1));
        queue.ack(&leases).await.unwrap();
        assert_eq!(queue.claim(9, LONG, LONG).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_hangs_is_unavailable_and_is_found_again() {
    finish(async {
        let server = Server::with(&[]);
        let queue = open(&server.queue("jobs")).await;
        queue.push(&jobs(1)).await.unwrap();
        let leases = queue.claim(1, NO, LONG).await.unwrap();
        server.signal("STOP");
        everything_is_unavailable(&queue, &leases).await;
        server.signal("CONT");
        // It may make what nobody waits for any more.
        persistently(async || queue.ack(&leases).await).await;
        let job = Job { priority: 9, ..job() };
        persistently(async || queue.push(std::slice::from_ref(&job)).await).await;
        let claimed = persistently(async || queue.claim(1, LONG, LONG).await).await;
        assert_eq!(ids(&claimed), [job.id]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_waits_no_longer_than_it_may_whatever_the_server_does() {
    finish(async {
        let server = Server::with(&[]);
        let url = server.queue("jobs");
        let [one, two, other] = [open(&url).await, open(&url).await, open(&url).await];
        let wait = Duration::from_secs(1);
        let waits = async |queue: &RedisQueue, signal: &str| {
            let (claimed, ()) = tokio::join!(queue.claim(1, wait, LONG), async {
                assert_eq!(other.claim(1, SHORT, LONG).await.unwrap(), []);
                server.signal(signal);
            });
            // It says that it doesn't know, or that it knows of nothing.
            claimed.map_or_else(
                |error| assert_eq!(error.kind(), ErrorKind::Unavailable),
                |none| assert_eq!(none, []),
            );
        };
        let limit = LONG / 2;
        assert!(tokio::time::timeout(limit, waits(&one, "STOP")).await.is_ok(), "a claim hangs");
        server.signal("CONT");
        persistently(async || other.stats().await).await;
        assert!(tokio::time::timeout(limit, waits(&two, "KILL")).await.is_ok(), "a claim hangs");
    })
    .await;
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_told_again() {
    let server = Server::with(&[]);
    let queue = open(&server.queue("jobs")).await;
    let batch = jobs(1);
    let forget = || server.cli(&["SCRIPT", "FLUSH"]);
    forget();
    queue.push(&batch).await.unwrap();
    forget();
    let leases = queue.claim(1, NO, LONG).await.unwrap();
    assert_eq!(ids(&leases), [batch[0].id]);
    forget();
    assert_eq!(queue.extend(&leases, LONG).await.unwrap(), []);
    forget();
    assert_eq!(queue.stats().await.unwrap().leased, 1);
    forget();
    queue.ack(&leases).await.unwrap();
    assert_eq!(queue.stats().await.unwrap(), QueueStats::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_are_cut_again_and_again_lose_nothing() {
    finish(async {
        let server = Server::with(&[]);
        let url = server.queue("jobs");
        let [pushing, claiming] = [open(&url).await, open(&url).await];
        let batch = jobs(100);
        let pushes = async {
            for job in &batch {
                persistently(async || pushing.push(std::slice::from_ref(job)).await).await;
            }
        };
        let done = AtomicBool::new(false);
        let claims = async {
            let mut left: HashSet<_> = batch.iter().map(|job| job.id).collect();
            while !left.is_empty() {
                // One that is lost on its way comes back when it lapses.
                let leases = persistently(async || claiming.claim(7, LONG, SHORT).await).await;
                persistently(async || claiming.ack(&leases).await).await;
                left.retain(|id| leases.iter().all(|lease| lease.id != *id));
            }
            done.store(true, Ordering::Relaxed);
        };
        let cuts = async {
            let mut cuts = 0;
            while !done.load(Ordering::Relaxed) {
                for kind in ["normal", "pubsub"] {
                    server.cli(&["CLIENT", "KILL", "TYPE", kind]);
                }
                cuts += 1;
                tokio::task::yield_now().await;
            }
            cuts
        };
        let ((), (), cuts) = tokio::join!(pushes, claims, cuts);
        assert!(cuts > 3, "{cuts}");
        // A push whose answer was lost is made again, after its job was acknowledged as well.
        while persistently(async || claiming.stats().await).await != QueueStats::default() {
            let leases = persistently(async || claiming.claim(99, SHORT, LONG).await).await;
            persistently(async || claiming.ack(&leases).await).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_that_the_server_threw_away_hide_no_job() {
    finish(async {
        for key in ["jobs", "waiting", "times", "owners"] {
            let server = Server::with(&[]);
            let queue = open(&server.queue("q")).await;
            let batch = jobs(4);
            queue.push(&batch).await.unwrap();
            let leases = queue.claim(1, NO, LONG).await.unwrap();
            server.cli(&["DEL", &format!("{{q}}:{key}")]);
            // As a sweep does.
            queue.push(&batch).await.unwrap();
            let again = [Job { attempt: 2, ..batch[3].clone() }];
            queue.push(&again).await.unwrap();
            let mut claimed = ids(&leases);
            claimed.extend(ids(&queue.claim(9, NO, LONG).await.unwrap()));
            let missing: Vec<_> = ids_of(&batch).into_iter().filter(|id| !claimed.contains(id)).collect();
            assert_eq!(missing, [], "without {key}");
        }
    })
    .await;
}

/// What was claimed by somebody who died waits for the end of its lease, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_is_claimed_anew_when_one_lease_is_over() {
    let lease = Duration::from_secs(3);
    let url = fresh();
    let [dead, alive] = [open(&url).await, open(&url).await];
    dead.push(&jobs(3)).await.unwrap();
    let lost = dead.claim(3, NO, lease).await.unwrap();
    drop(dead);
    let mut again = Vec::new();
    while again.len() < 3 {
        // So much the machine may need beyond it.
        let leases = alive.claim(3, lease + Duration::from_secs(2), LONG).await.unwrap();
        assert!(!leases.is_empty(), "it waits for longer");
        again.extend(leases);
    }
    assert_eq!(ids(&again), ids(&lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failover_is_followed_to_the_new_master() {
    finish(async {
        let sentinel = Sentinel::new();
        let url = format!("{}&prefix=jobs", sentinel.url());
        let queue = open(&url).await;
        let batch = jobs(2);
        queue.push(&batch).await.unwrap();
        let leases = queue.claim(1, NO, LONG).await.unwrap();
        sentinel.replicated();
        sentinel.fail_over();
        persistently(async || queue.ack(&leases).await).await;
        let claimed = persistently(async || queue.claim(9, LONG, LONG).await).await;
        assert_eq!(ids(&claimed), [batch[1].id]);
        waits_through(&url, async || {}).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_that_waits_survives_a_failover() {
    finish(async {
        let sentinel = Sentinel::new();
        waits_through(&format!("{}&prefix=jobs", sentinel.url()), async || sentinel.fail_over()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_queue_that_moves_within_its_cluster_is_followed() {
    finish(async {
        let cluster = Cluster::three();
        let url = format!("{}?prefix=jobs", cluster.url());
        let queue = open(&url).await;
        let batch = jobs(2);
        queue.push(&batch).await.unwrap();
        let leases = queue.claim(1, NO, LONG).await.unwrap();
        cluster.move_queue("jobs");
        persistently(async || queue.ack(&leases).await).await;
        assert_eq!(ids(&persistently(async || queue.claim(9, LONG, LONG).await).await), [batch[1].id]);
        waits_through(&url, async || cluster.move_queue("jobs")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_of_a_cluster_that_is_restarted_is_found_again() {
    finish(async {
        let cluster = Cluster::three();
        let url = format!("{}?prefix=jobs", cluster.url());
        open(&url).await.push(&jobs(1)).await.unwrap();
        let holder = cluster.holder("jobs");
        let others: Vec<_> = cluster.nodes.iter().filter(|node| node.port() != holder.port()).collect();
        open(&url).await.claim(1, NO, LONG).await.unwrap();
        for node in [holder, others[0], others[1]] {
            waits_through(&url, async || {
                node.kill();
                node.start();
            })
            .await;
        }
    })
    .await;
}
