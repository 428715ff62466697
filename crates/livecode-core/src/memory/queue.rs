//! Jobs in memory.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::lock;
use crate::{ExecutionId, Job, Lease, Queue, QueueStats, Result};

/// What "never" is for a timer that can't be reckoned: longer than any process lives.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A [`Queue`] in memory, for workers in the same process.
///
/// Its time is tokio's, so a test may pause and advance it. No operation takes longer than the logarithm of its size.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use livecode_core::*;
/// use std::time::Duration;
///
/// let queue = MemoryQueue::new();
/// let id = ExecutionId::generate(SystemClock.now());
/// queue.push(&[Job { id, attempt: 1, delay: Duration::ZERO, priority: 0 }]).await.unwrap();
/// let leases = queue.claim(8, Duration::from_secs(1), Duration::from_secs(15)).await.unwrap();
/// assert_eq!(leases[0].id, id);
/// queue.ack(&leases).await.unwrap();
/// # });
/// ```
#[derive(Default)]
pub struct MemoryQueue {
    jobs: Mutex<Jobs>,
    /// There is something to claim, or the moment when there will be has come nearer.
    changed: Notify,
}

#[derive(Default)]
struct Jobs {
    by_id: HashMap<ExecutionId, Entry>,
    /// Where the entry of each job stands: exactly one of `waiting`, `delayed` and `leased`.
    waiting: BTreeSet<(Reverse<i16>, u64, ExecutionId)>,
    /// The waiting ones again, by the moment since when.
    ages: BTreeSet<(Instant, ExecutionId)>,
    delayed: BTreeSet<(Instant, ExecutionId)>,
    leased: BTreeSet<(Instant, ExecutionId)>,
    arrivals: u64,
    claims: u64,
}

struct Entry {
    attempt: u32,
    priority: i16,
    arrival: u64,
    /// Of the latest claim. It outlives the lease: until the next claim its holder may extend or acknowledge.
    token: Option<Uuid>,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Waiting { since: Instant },
    Delayed { until: Instant },
    Leased { until: Instant },
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `change` on the jobs as they stand now, and wakes claimers where it gave them something to do.
    fn change<T>(&self, change: impl FnOnce(&mut Jobs, Instant) -> T) -> T {
        let mut jobs = lock(&self.jobs);
        let now = Instant::now();
        let expected = jobs.next_change();
        jobs.advance(now);
        let done = change(&mut jobs, now);
        let sooner = jobs.next_change().is_some_and(|next| expected.is_none_or(|expected| next < expected));
        if sooner || !jobs.waiting.is_empty() {
            self.changed.notify_waiters();
        }
        done
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("jobs", &lock(&self.jobs).by_id.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn push(&self, jobs: &[Job]) -> Result<()> {
        self.change(|queue, now| jobs.iter().for_each(|job| queue.push(job, now)));
        Ok(())
    }

    async fn claim(&self, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>> {
        let deadline = later(Instant::now(), wait);
        loop {
            // Made before the look, so it hears of everything that comes after it.
            let changed = self.changed.notified();
            let (leases, next, now) =
                self.change(|queue, now| (queue.claim(max, now, lease), queue.next_change(), now));
            if !leases.is_empty() || max == 0 || now >= deadline {
                return Ok(leases);
            }
            let until = next.map_or(deadline, |(next, _)| next.min(deadline));
            // Woken or not, the next look decides.
            timeout_at(until, changed).await.ok();
        }
    }

    async fn extend(&self, leases: &[Lease], by: Duration) -> Result<Vec<Lease>> {
        Ok(self.change(|queue, now| {
            let (held, lost): (Vec<Lease>, Vec<Lease>) =
                leases.iter().cloned().partition(|lease| queue.is_held(lease));
            let until = later(now, by);
            held.iter().for_each(|lease| queue.place(lease.id, Place::Leased { until }));
            lost
        }))
    }

    async fn ack(&self, leases: &[Lease]) -> Result<()> {
        self.change(|queue, _| {
            for lease in leases {
                if queue.is_held(lease) {
                    queue.remove(lease.id);
                }
            }
        });
        Ok(())
    }

    async fn stats(&self) -> Result<QueueStats> {
        Ok(self.change(|queue, now| QueueStats {
            waiting: queue.waiting.len() as u64,
            delayed: queue.delayed.len() as u64,
            leased: queue.leased.len() as u64,
            oldest_waiting: queue.ages.first().map(|(since, _)| now.duration_since(*since)),
        }))
    }
}

impl Jobs {
    /// Makes what is due at `now` claimable.
    fn advance(&mut self, now: Instant) {
        while let Some((since, id)) = self.next_change()
            && since <= now
        {
            self.place(id, Place::Waiting { since });
        }
    }

    /// The next end of a delay or a lease.
    fn next_change(&self) -> Option<(Instant, ExecutionId)> {
        self.delayed.first().into_iter().chain(self.leased.first()).min().copied()
    }

    fn push(&mut self, job: &Job, now: Instant) {
        if self.by_id.get(&job.id).is_some_and(|entry| entry.attempt >= job.attempt) {
            return;
        }
        self.remove(job.id);
        self.arrivals += 1;
        let place = if job.delay.is_zero() {
            Place::Waiting { since: now }
        } else {
            Place::Delayed { until: later(now, job.delay) }
        };
        self.insert(
            job.id,
            Entry {
                attempt: job.attempt,
                priority: job.priority,
                arrival: self.arrivals,
                token: None,
                place,
            },
        );
    }

    fn claim(&mut self, max: usize, now: Instant, lease: Duration) -> Vec<Lease> {
        let until = later(now, lease);
        let mut leases = Vec::new();
        while leases.len() < max
            && let Some(&(_, _, id)) = self.waiting.first()
            && let Some(mut entry) = self.remove(id)
        {
            self.claims += 1;
            let token = Uuid::from_u64_pair(0, self.claims);
            leases.push(Lease { id, attempt: entry.attempt, token });
            entry.token = Some(token);
            entry.place = Place::Leased { until };
            self.insert(id, entry);
        }
        leases
    }

    fn is_held(&self, lease: &Lease) -> bool {
        self.by_id.get(&lease.id).is_some_and(|entry| entry.token == Some(lease.token))
    }

    fn place(&mut self, id: ExecutionId, place: Place) {
        if let Some(entry) = self.remove(id) {
            self.insert(id, Entry { place, ..entry });
        }
    }

    fn insert(&mut self, id: ExecutionId, entry: Entry) {
        match entry.place {
            Place::Waiting { since } => {
                self.waiting.insert((Reverse(entry.priority), entry.arrival, id));
                self.ages.insert((since, id));
            }
            Place::Delayed { until } => {
                self.delayed.insert((until, id));
            }
            Place::Leased { until } => {
                self.leased.insert((until, id));
            }
        }
        self.by_id.insert(id, entry);
    }

    fn remove(&mut self, id: ExecutionId) -> Option<Entry> {
        let entry = self.by_id.remove(&id)?;
        match entry.place {
            Place::Waiting { since } => {
                self.waiting.remove(&(Reverse(entry.priority), entry.arrival, id));
                self.ages.remove(&(since, id));
            }
            Place::Delayed { until } => {
                self.delayed.remove(&(until, id));
            }
            Place::Leased { until } => {
                self.leased.remove(&(until, id));
            }
        }
        Some(entry)
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or_else(|| now + NEVER)
}
