//! Jobs in memory.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
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
use crate::{ExecutionId, Job, Lease, Owner, Queue, QueueStats, Result};

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
/// let job = Job { id, attempt: 1, owner: Owner::anonymous(), delay: Duration::ZERO, priority: 0 };
/// queue.push(&[job]).await.unwrap();
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
    waiting: BTreeMap<(Reverse<i16>, Turn, u64), ExecutionId>,
    /// The waiting ones again: each owner's of each priority, by turn and arrival.
    turns: BTreeSet<(Owner, i16, Turn, u64)>,
    /// And by the moment since when.
    ages: BTreeSet<(Instant, ExecutionId)>,
    delayed: BTreeSet<(Instant, ExecutionId)>,
    leased: BTreeSet<(Instant, ExecutionId)>,
    arrivals: u64,
    claims: u64,
}

/// When a job is served among those of its priority, see [`Queue`].
type Turn = u64;

struct Entry {
    attempt: u32,
    owner: Owner,
    priority: i16,
    /// Given when it begins to wait.
    turn: Turn,
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
            && let Some(entry) = self.remove(id)
        {
            match entry.place {
                Place::Delayed { .. } => self.begin_to_wait(id, entry, since),
                Place::Leased { .. } | Place::Waiting { .. } => {
                    self.insert(id, Entry { place: Place::Waiting { since }, ..entry });
                }
            }
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
        let entry = Entry {
            attempt: job.attempt,
            owner: job.owner.clone(),
            priority: job.priority,
            turn: 0,
            arrival: self.arrivals,
            token: None,
            place: Place::Delayed { until: later(now, job.delay) },
        };
        if job.delay.is_zero() {
            self.begin_to_wait(job.id, entry, now);
        } else {
            self.insert(job.id, entry);
        }
    }

    fn begin_to_wait(&mut self, id: ExecutionId, entry: Entry, since: Instant) {
        let turn = self.next_turn(&entry.owner, entry.priority);
        self.insert(id, Entry { turn, place: Place::Waiting { since }, ..entry });
    }

    /// One more than the highest of the owner's waiting jobs, but no less than the lowest of anybody's.
    fn next_turn(&self, owner: &Owner, priority: i16) -> Turn {
        let lowest = self.waiting.range((Reverse(priority), 0, 0)..).next();
        let lowest = lowest.filter(|((Reverse(of), ..), _)| *of == priority);
        let highest = self.turns.range(..=(owner.clone(), priority, Turn::MAX, u64::MAX)).next_back();
        let highest = highest.filter(|(by, of, ..)| (by, *of) == (owner, priority));
        let after_own = highest.map_or(0, |(_, _, turn, _)| turn + 1);
        lowest.map_or(0, |((_, turn, _), _)| *turn).max(after_own)
    }

    fn claim(&mut self, max: usize, now: Instant, lease: Duration) -> Vec<Lease> {
        let until = later(now, lease);
        let mut leases = Vec::new();
        while leases.len() < max
            && let Some((_, &id)) = self.waiting.first_key_value()
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
                self.waiting.insert((Reverse(entry.priority), entry.turn, entry.arrival), id);
                self.turns.insert((entry.owner.clone(), entry.priority, entry.turn, entry.arrival));
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
                self.waiting.remove(&(Reverse(entry.priority), entry.turn, entry.arrival));
                self.turns.remove(&(entry.owner.clone(), entry.priority, entry.turn, entry.arrival));
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
