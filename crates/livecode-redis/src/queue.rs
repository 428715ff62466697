//! Jobs in Redis.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use livecode_core::{Error, Job, Lease, Queue, QueueStats, Result};
use redis::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    address::Address,
    calls::{Claimed, Push, Step, units},
    connection::{ANSWER_TIMEOUT, Server},
    error::garbled,
    lanes::{Lanes, in_time},
    scripts::{Call, Scripts},
    wakes::Wakes,
};

/// The most jobs in one push: the server does nothing else while it adds them, for about half a second.
const MOST_AT_ONCE: usize = 100_000;

/// How long a claim waits where it hears of nothing: a message may have got lost.
const POLL: Duration = Duration::from_secs(1);

/// How long a claim that waits leaves a server alone that can't be reached.
const PAUSE: Duration = Duration::from_millis(100);

/// What "never" is for a timer that can't be reckoned.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A [`Queue`] on a Redis server, version 7 or newer, or on Valkey, for any number of processes on any number of machines.
///
/// A job is about 360 bytes on the server until it's acknowledged; then nothing is left of it. Jobs, leases and what is known of owners
/// are in five keys that begin with `{PREFIX}:`; claimers hear of jobs on the channel `{PREFIX}:came`. Each process has two
/// connections. Its time is the server's clock: where that is set back, delays and leases last longer by as much.
///
/// Where the server can't be reached, calls fail with [`Unavailable`](livecode_core::ErrorKind::Unavailable): at once where nobody
/// listens, and within 3 s where there is no way to it or no answer. Connections are made again by themselves; a claim that
/// waits already goes on waiting meanwhile, and fails only where the server is still away when its wait is up. A change whose answer
/// got lost may have been made: every one may be repeated.
///
/// What the server forgets (a restart without persistence, the last second of an append-only file that is written every second, a failover)
/// isn't lost: a worker's sweep finds in the store what the queue doesn't know, and pushes it again, within 15 s of its acceptance
/// as [`Worker`](livecode_core::Worker) comes; workers notice that their leases are unknown and give back what they run.
///
/// It lives in the tokio runtime in which it was opened. Clones share its connections.
///
/// ```no_run
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use livecode_core::*;
/// use livecode_redis::RedisQueue;
/// use std::time::Duration;
///
/// let queue = RedisQueue::open("redis://localhost/?prefix=interviews").await.unwrap();
/// let id = ExecutionId::generate(SystemClock.now());
/// let job = Job { id, attempt: 1, owner: Owner::anonymous(), delay: Duration::ZERO, priority: 0 };
/// queue.push(&[job]).await.unwrap();
/// let leases = queue.claim(8, Duration::from_secs(1), Duration::from_secs(15)).await.unwrap();
/// assert_eq!(leases[0].id, id);
/// queue.ack(&leases).await.unwrap();
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct RedisQueue {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    pushes: Lanes<Push>,
    steps: Lanes<Step>,
    scripts: Arc<Scripts>,
    wakes: Wakes,
    most: u64,
}

impl RedisQueue {
    /// Opens the queue that `url` names:
    ///
    /// - `redis://USER:PASSWORD@HOST:PORT/DATABASE`, of which all but the host may be left out: user and password where the server wants
    ///   them, port 6379, database 0.
    /// - `redis+cluster://HOST:PORT,HOST:PORT`: some nodes of a Redis Cluster. All of a queue is on one of its nodes.
    /// - `redis+sentinel://HOST:PORT,HOST:PORT/DATABASE?service=NAME`: the master that these Sentinels have under that name. User and
    ///   password are for the master, `sentinel_username` and `sentinel_password` for the Sentinels.
    /// - `rediss://`, `rediss+cluster://` and `rediss+sentinel://`: the same with TLS, by the certificate authorities that the system trusts,
    ///   or by those in a PEM file: `?ca=FILE`. With `cert=FILE` and `key=FILE` for servers that ask who we are.
    ///
    /// What means something in a URL is written as `%3F` and so on, in a user's name and a password as well, and in the query also the plus
    /// sign. And further in the query, joined by `&`: `prefix=NAME`, which queue it is, where a server has several (default: `livecode`);
    /// `max_jobs=NUMBER`, the most jobs that there may be, leased ones included, beyond which pushes of more are refused with
    /// [`QueueFull`](livecode_core::ErrorKind::QueueFull) (default: as many as there's memory for); `eviction=warn`, to go on where the
    /// server may throw jobs away.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](livecode_core::ErrorKind::InvalidArgument) for another URL;
    /// [`Unsupported`](livecode_core::ErrorKind::Unsupported) for a server before 7.0, and for a `maxmemory-policy` other than
    /// `noeviction`; [`Unavailable`](livecode_core::ErrorKind::Unavailable) where the server can't be reached or doesn't let us in.
    /// None of them repeats the URL, which may hold a password.
    pub async fn open(url: &str) -> Result<Self> {
        let Address { servers, prefix, most, may_evict } = Address::parse(url)?;
        let scripts = Arc::new(Scripts::new(Server::new(servers), &prefix));
        // In a box: the driver's futures are deeper than the compiler looks.
        let checked: BoxFuture<'_, Result<()>> = Box::pin(in_time(scripts.check(may_evict)));
        checked.await?;
        Ok(Self {
            parts: Arc::new(Parts {
                pushes: Lanes::start(&scripts, 2),
                steps: Lanes::start(&scripts, 2),
                wakes: Wakes::new(&scripts),
                scripts,
                most,
            }),
        })
    }

    async fn look(&self, max: usize, lease: Duration) -> Result<Claimed> {
        self.parts.steps.ask(|caller| Step::Claim { max, lease, caller }).await
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn push(&self, jobs: &[Job]) -> Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        if jobs.len() > MOST_AT_ONCE {
            return Err(Error::invalid(format!(
                "a push has at most {MOST_AT_ONCE} jobs, this one has {}: push them in parts",
                jobs.len()
            )));
        }
        let most = self.parts.most;
        self.parts.pushes.ask(|caller| Push { jobs: jobs.to_vec(), most, caller }).await
    }

    async fn claim(&self, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>> {
        let begun = Instant::now();
        let deadline = begun.checked_add(wait).unwrap_or_else(|| begun + NEVER);
        // An answer may take its time, but not longer than the caller has.
        let patience = deadline.max(begun + ANSWER_TIMEOUT);
        let mut claimed = self.look(max, lease).await?;
        if !claimed.leases.is_empty() || max == 0 || wait.is_zero() {
            return Ok(claimed.leases);
        }
        // What came before this would wake nobody: look once more.
        let mut wakes = self.parts.wakes.subscribe();
        let mut failed = None;
        claimed.next = Some(Duration::ZERO);
        loop {
            let now = Instant::now();
            let pause = if failed.is_some() { PAUSE } else { claimed.next.unwrap_or(POLL).min(POLL) };
            // Woken or not, the next look decides.
            timeout_at((now + pause).min(deadline), wakes.changed()).await.ok();
            if Instant::now() >= deadline {
                return failed.map_or(Ok(Vec::new()), Err);
            }
            // Where the wait is up before this is answered, what it takes is given back.
            match timeout_at(patience, self.look(max, lease)).await {
                Ok(Ok(looked)) if !looked.leases.is_empty() => return Ok(looked.leases),
                Ok(Ok(looked)) => (claimed, failed) = (looked, None),
                Ok(Err(error)) if !error.is_temporary() => return Err(error),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => return failed.map_or(Ok(Vec::new()), Err),
            }
        }
    }

    async fn extend(&self, leases: &[Lease], by: Duration) -> Result<Vec<Lease>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.parts.steps.ask(|caller| Step::Extend { leases: leases.to_vec(), by, caller }).await
    }

    async fn ack(&self, leases: &[Lease]) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        self.parts.steps.ask(|caller| Step::Ack { leases: leases.to_vec(), caller }).await
    }

    async fn stats(&self) -> Result<QueueStats> {
        let Value::Array(counts) = in_time(self.parts.scripts.call(Call::Stats, |_| {})).await? else {
            return Err(garbled());
        };
        let count = |value: &Value| if let Value::Int(count) = value { Some(*count) } else { None };
        let counts: Vec<i64> = counts.iter().filter_map(count).collect();
        let [waiting, delayed, leased, oldest] = counts[..] else { return Err(garbled()) };
        Ok(QueueStats {
            waiting: waiting.max(0).unsigned_abs(),
            delayed: delayed.max(0).unsigned_abs(),
            leased: leased.max(0).unsigned_abs(),
            oldest_waiting: units(oldest),
        })
    }
}
