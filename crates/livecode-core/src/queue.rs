//! How work reaches workers. A hint: the store knows better.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{ExecutionId, Owner, Result};

/// A wish that an attempt be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Of which execution.
    pub id: ExecutionId,
    /// Which attempt.
    pub attempt: u32,
    /// Whose it is: among jobs of one priority the owners take turns.
    pub owner: Owner,
    /// Not before this has passed.
    pub delay: Duration,
    /// Higher is served first, whosever it is.
    pub priority: i16,
}

/// The right to make an attempt, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Of which execution.
    pub id: ExecutionId,
    /// Which attempt was asked for.
    pub attempt: u32,
    /// Tells this claim from every other one of the same job.
    pub token: Uuid,
}

/// How much is in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Jobs that could be claimed now, those with a lapsed lease included.
    pub waiting: u64,
    /// Jobs whose delay hasn't passed.
    pub delayed: u64,
    /// Jobs under a lease.
    pub leased: u64,
    /// How long the job that has waited longest could have been claimed.
    pub oldest_waiting: Option<Duration>,
}

/// How jobs reach workers: at least once, each under a lease.
///
/// There is at most one job per execution. Time is the queue's own and monotonic as far as its medium allows. Methods
/// don't retry and don't sleep but for `wait` in [`Queue::claim`]. Every method may fail with
/// [`Unavailable`](crate::ErrorKind::Unavailable), and may be repeated then. A queue may lose jobs when its medium loses
/// its memory; the worker's sweep pushes them again.
///
/// **Fairness.** The highest priority is served first, and within a priority the owners take turns: however much one of them
/// has queued, another's only job is served after a claim or two. A job is given its *turn*, a number, when it begins to
/// wait: when it's pushed, or when its delay has passed. The number is one more than the highest of its owner's other
/// waiting jobs of its priority, but no less than the lowest that anybody has there (0 where none waits), so that nobody
/// saves turns up. Jobs are served by turn, and by arrival where that is the same. So a claim is a read off the head of one
/// index, and nothing is kept of what was served. Jobs of one push begin to wait one after the other. Pushes at the same time
/// needn't know of each other and may give equal turns, and that a delay or a lease is over may be noticed only by the next
/// claim.
///
/// The suite in `conformance::queue` (feature `conformance`) holds every clause; run it on a queue of your own.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Adds jobs, all or none. Of an execution that the queue has a job for, waiting or leased: a higher attempt replaces
    /// it and takes a new turn, leases of it are void then; the same or a lower attempt changes nothing. So pushing twice is
    /// harmless.
    async fn push(&self, jobs: &[Job]) -> Result<()>;

    /// Takes up to `max` jobs whose delay has passed, by priority, turn and arrival, each for `lease`. Where there are none,
    /// waits for one, at most `wait`, and gives back none when that is up. A job whose lease lapses waits again, with the
    /// turn and the arrival that it had. No job is lost where this future is dropped: at worst it comes back when a lease
    /// lapses.
    async fn claim(&self, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>>;

    /// Lets each lease end `by` from now, and gives back those that can't: they lapsed and were claimed by somebody else,
    /// were replaced, or are unknown. Their holders stop at once.
    async fn extend(&self, leases: &[Lease], by: Duration) -> Result<Vec<Lease>>;

    /// Removes the jobs of these leases. A lease that is no longer held changes nothing.
    async fn ack(&self, leases: &[Lease]) -> Result<()>;

    /// How much is in it, cheap enough to be asked every second.
    async fn stats(&self) -> Result<QueueStats>;
}
