//! Which servers are used and how they are reached, what is said of the others, and where a queue ends: at its prefix, its most jobs, and
//! the server's memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod redis_server;

use std::time::Duration;

use livecode_core::{Clock, Error, ErrorKind, ExecutionId, Job, Owner, Queue, QueueStats, SystemClock};
use livecode_redis::RedisQueue;
use redis_server::{Cluster, Server, fresh};

const NO: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(600);

fn jobs(count: usize) -> Vec<Job> {
    let id = || ExecutionId::generate(SystemClock.now());
    let job = |_| Job { id: id(), attempt: 1, owner: Owner::anonymous(), delay: NO, priority: 0 };
    (0..count).map(job).collect()
}

async fn open(url: &str) -> RedisQueue {
    RedisQueue::open(url).await.unwrap()
}

async fn refusal(url: &str) -> Error {
    RedisQueue::open(url).await.unwrap_err()
}

/// Does everything once that a queue does.
async fn works(queue: &RedisQueue) {
    let batch = jobs(2);
    queue.push(&batch).await.unwrap();
    let leases = queue.claim(2, LONG, LONG).await.unwrap();
    assert_eq!(leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [batch[0].id, batch[1].id]);
    assert_eq!(queue.claim(1, Duration::from_millis(20), LONG).await.unwrap(), []);
    assert_eq!(queue.extend(&leases, LONG).await.unwrap(), []);
    queue.ack(&leases).await.unwrap();
    assert_eq!(queue.stats().await.unwrap(), QueueStats::default());
}

#[tokio::test]
async fn urls_that_name_no_server_are_refused_without_their_password() {
    for url in [
        "",
        "127.0.0.1:6379",
        "http://u:hunter2@h/",
        "redis://u:hunter2@/0",
        "redis://u:hunter2@h:port",
        "redis://u:hunter2@h:1/first",
        "redis://u:hunter2@h:1/-1",
        "redis://u:hunter2@h:1?max_jobs=0",
        "redis://u:hunter2@h:1?max_jobs=many",
        "redis://u:hunter2@h:1?eviction=maybe",
        "redis://u:hunter2@h:1?prefix=",
        "redis://u:hunter2@h:1?prefix=a}b",
        "redis://u:hunter2@h:1?prefix=a&prefix=b",
        "redis://u:hunter2@h:1?colour=red",
        "redis://u:pass?hunter2@h:1",
        "redis://u:?hunter2@h:1",
        "redis://u:?hunter2&pass@h:1",
        "redis://u:pass#hunter2@h:1",
        "redis://u:hunter2@h:1#jobs",
        "redis://u:hunter2@h:1,h:2",
        "rediss://u:hunter2@h:1?ca=/nowhere/ca.pem",
        "redis+cluster://u:hunter2@h:1,h:port",
        "redis+cluster://u:hunter2@h:1/3",
        "redis+sentinel://u:hunter2@h:1",
    ] {
        let error = refusal(url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url:?}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn who_is_not_there_or_lets_nobody_in_is_unavailable() {
    let error = refusal("redis://u:hunter2@127.0.0.1:1").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let server =
        Server::with_password("opensesame", &["user worker on >opensesame +@all ~{ours}:* &{ours}:*"]);
    for (user, prefix) in
        [("", "ours"), (":hunter2@", "ours"), ("nobody:hunter2@", "ours"), ("worker:opensesame@", "others")]
    {
        let error = refusal(&format!("redis://{user}{}?prefix={prefix}", server.address())).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hunter2") && !said.contains("opensesame"), "{said}");
    }
}

#[tokio::test]
async fn a_password_or_a_users_name_and_password_let_us_in() {
    let password = "p@ss/w:rd+%&=";
    let encoded = "p%40ss%2Fw%3Ard+%25&=";
    // As the refusal of another user says that it's enough.
    let user = format!("user worker on >{password} ~{{jobs}}:* &{{jobs}}:* +@all -@admin -@dangerous +info");
    let server = Server::with_password(password, &[&user]);
    for user in [format!(":{encoded}"), format!("default:{encoded}"), format!("worker:{encoded}")] {
        works(&open(&format!("redis://{user}@{}?prefix=jobs", server.address())).await).await;
    }
}

#[tokio::test]
async fn a_cluster_is_found_though_a_node_that_is_named_says_nothing() {
    let cluster = Cluster::three();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (scheme, nodes) = cluster.url().split_once("://").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let url = format!("{scheme}://{},{nodes}", silent.local_addr().unwrap());
    works(&open(&url).await).await;
}

#[tokio::test]
async fn a_server_of_another_kind_is_told_from_one_that_is_broken() {
    let server = Server::with(&["maxclients 8"]);
    let address = server.address();
    for url in [format!("redis+cluster://{address}"), format!("redis://{address}/99")] {
        let error = refusal(&url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    let all: Vec<_> = (0..8).map(|_| std::net::TcpStream::connect(&address).unwrap()).collect();
    let error = refusal(&format!("redis://{address}")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(all);
}

#[tokio::test]
async fn encryption_by_an_authority_that_is_named_is_had_or_refused() {
    let server = Server::with_tls();
    let other = Server::with_tls();
    let url = format!("rediss://{}", server.address());
    works(&open(&format!("{url}?ca={}", server.path("ca.pem"))).await).await;
    for url in [&url, &url.replace("rediss", "redis"), &format!("{url}?ca={}", other.path("ca.pem"))] {
        let error = refusal(url).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}

#[tokio::test]
async fn a_server_that_may_throw_jobs_away_is_refused_unless_that_is_wanted() {
    let server = Server::with(&["maxmemory-policy allkeys-lru"]);
    let error = refusal(&server.queue("jobs")).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for part in ["allkeys-lru", "noeviction", "eviction=warn"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    works(&open(&format!("{}&eviction=warn", server.queue("jobs"))).await).await;
}

#[tokio::test]
async fn queues_of_other_databases_and_prefixes_are_others() {
    let server = Server::with(&[]);
    let ends =
        ["", "/", "/0?prefix=other", "/1", "/1?prefix=other", "/?prefix=oth", "/?prefix=a%20b%00%C3%A4:*"];
    let mut all = Vec::new();
    for (place, end) in ends.iter().enumerate() {
        let queue = open(&format!("redis://{}{end}", server.address())).await;
        queue.push(&jobs(place + 1)).await.unwrap();
        all.push(queue);
    }
    // The first two are one.
    let waiting = [3, 3, 3, 4, 5, 6, 7];
    for (queue, waiting) in all.iter().zip(waiting) {
        assert_eq!(queue.stats().await.unwrap().waiting, waiting);
    }
    assert_eq!(all[6].claim(99, NO, LONG).await.unwrap().len(), 7);
    assert_eq!(all[5].stats().await.unwrap().waiting, 6);
}

#[tokio::test]
async fn a_queue_that_is_full_takes_all_of_a_push_or_none() {
    let queue = open(&format!("{}&max_jobs=3", fresh())).await;
    let batch = jobs(4);
    queue.push(&batch[..2]).await.unwrap();
    let error = queue.push(&batch[2..]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QueueFull);
    assert_eq!(queue.stats().await.unwrap().waiting, 2);
    queue.push(&batch[..3]).await.unwrap();
    // What takes no room is taken: the same again, and another attempt at the same.
    queue.push(&batch[..3]).await.unwrap();
    queue.push(&[Job { attempt: 2, ..batch[0].clone() }]).await.unwrap();
    let leases = queue.claim(1, NO, LONG).await.unwrap();
    assert_eq!(queue.push(&batch[3..]).await.unwrap_err().kind(), ErrorKind::QueueFull, "leased ones count");
    queue.ack(&leases).await.unwrap();
    queue.push(&batch[3..]).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().waiting, 3);
}

#[tokio::test]
async fn a_server_without_memory_takes_no_more_and_gives_out_what_it_has() {
    let server = Server::with(&[]);
    let queue = open(&server.queue("jobs")).await;
    queue.push(&jobs(500)).await.unwrap();
    let held = queue.claim(100, NO, LONG).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
    assert_eq!(queue.push(&jobs(1)).await.unwrap_err().kind(), ErrorKind::QueueFull);
    assert_eq!(queue.extend(&held, LONG).await.unwrap(), []);
    // A worker that begins now is let in.
    let another = open(&server.queue("jobs")).await;
    let leases = another.claim(400, NO, LONG).await.unwrap();
    assert_eq!(leases.len(), 400);
    queue.ack(&[held, leases].concat()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap(), QueueStats::default());
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    works(&queue).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_or_a_replica_alone_is_refused_with_the_remedy() {
    let cluster = Cluster::three();
    let prefix = "jobs";
    open(&format!("{}?prefix={prefix}", cluster.url())).await.push(&jobs(1)).await.unwrap();
    let others = cluster.nodes.iter().filter(|node| node.port() != cluster.holder(prefix).port());
    for node in others {
        let error = refusal(&node.queue(prefix)).await;
        assert!(error.to_string().contains("redis+cluster://"), "{error}");
    }
    let master = Server::with(&[]);
    let replica = Server::with(&[&format!("replicaof 127.0.0.1 {}", master.port())]);
    let error = refusal(&replica.queue(prefix)).await;
    assert!(error.to_string().contains("replica"), "{error}");
}

#[tokio::test]
async fn keys_of_another_program_are_left_as_they_are() {
    let server = Server::with(&[]);
    server.cli(&["SET", "{jobs}:jobs", "another's"]);
    let queue = open(&server.queue("jobs")).await;
    let error = queue.push(&jobs(1)).await.unwrap_err();
    assert!(!error.is_temporary() && error.to_string().contains("prefix"), "{error}");
    assert_eq!(server.cli(&["GET", "{jobs}:jobs"]), "another's");
}
