//! Where programs run: claims, starts, runs, finishes and acknowledges, and sweeps. The only loop of livecode.
//!
//! ```text
//! claim ─▶ begin ─▶ run ─▶ settle ─▶ ack        attempt.rs: one attempt, from its lease to its record
//!            │       └ output in batches          output.rs
//!            └ whoever ran it before was lost: queued again, as a new attempt
//! company: an execution's last attempt is made alone                           company.rs
//! heartbeat: extends all leases, stops what is lost                            leases.rs
//! sweep:     pushes what is open in the store and unknown to the queue         sweep.rs
//! ```
//!
//! What keeps an execution from being run or ended twice is not the lease but the record: every change is a
//! compare-and-set, an attempt is started once, and whatever belongs to an earlier attempt is refused. A lease only makes
//! it rare that somebody starts anew what is still running elsewhere.

mod attempt;
mod backoff;
mod company;
mod leases;
mod output;
mod sweep;
mod tries;

use std::{fmt, num::NonZero, sync::Arc, thread, time::Duration};

use tokio::{
    pin, select,
    sync::{RwLock, Semaphore},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use self::{
    backoff::{Backoff, Outage},
    leases::Leases,
};
use crate::{Clock, Error, Lease, Queue, Runner, Store, SystemClock, Trace};

/// How long one claim waits for a job.
const CLAIM_WAIT: Duration = Duration::from_secs(5);

/// How long a claim that is under way at a shutdown is waited for: what it takes is given back at once, while what the
/// queue had given to a claim that nobody hears of would wait for the end of its lease.
const LAST_CLAIM: Duration = Duration::from_millis(100);

/// How long a shutdown waits, after its grace, for programs to be gone and given back.
const GIVING_BACK: Duration = Duration::from_millis(1_500);

/// The longest lease, and the longest pause between sweeps: no sum of times overflows.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes jobs from a [`Queue`], runs them, and records in the [`Store`] what became of them.
///
/// Cheap to clone. Any number of workers, in any number of processes, may share a store and a queue: each execution
/// reaches one end, once, whoever is killed meanwhile. Only failures of ours are tried again; a program that fails has
/// failed.
///
/// ```
/// use livecode_core::*;
/// use std::sync::Arc;
/// use tokio_util::sync::CancellationToken;
///
/// async fn serve(sandbox: impl Sandbox, shutdown: CancellationToken) {
///     let (store, queue) = (Arc::new(MemoryStore::new()), Arc::new(MemoryQueue::new()));
///     let engine = Engine::new(store.clone(), queue.clone());
///     // Hand `engine` to whatever takes requests.
///     Worker::new(store, queue, Runner::new(sandbox)).concurrency(4).run(shutdown).await;
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Worker {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    runner: Runner,
    clock: Arc<dyn Clock>,
    concurrency: usize,
    lease: Duration,
    max_attempts: u32,
    grace: Duration,
    sweep_every: Duration,
    sweep_older_than: Duration,
    join_traces: Option<JoinTraces>,
}

/// What a host does with the span of an attempt before it's entered.
type Join = dyn Fn(&Span, &Trace) + Send + Sync;

#[derive(Clone)]
struct JoinTraces(Arc<Join>);

impl fmt::Debug for JoinTraces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinTraces")
    }
}

impl Worker {
    /// With as many programs at a time as there are cores, leases of 15 s, 3 attempts, 8 s of grace, and a sweep every 5 s
    /// of what is older than 10 s.
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Queue>, runner: Runner) -> Self {
        Self {
            store,
            queue,
            runner,
            clock: Arc::new(SystemClock),
            concurrency: thread::available_parallelism().map_or(1, NonZero::get),
            lease: Duration::from_secs(15),
            max_attempts: 3,
            grace: Duration::from_secs(8),
            sweep_every: Duration::from_secs(5),
            sweep_older_than: Duration::from_secs(10),
            join_traces: None,
        }
    }

    /// The same with this clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same with so many programs at a time; at least 1.
    #[must_use]
    pub fn concurrency(mut self, programs: usize) -> Self {
        self.concurrency = programs.max(1);
        self
    }

    /// The same with leases this long; at least 100 ms, at most a day. What a worker that dies was running begins anew when its lease has
    /// lapsed. A lease is extended three times in its life, so a program may run for any time.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(Duration::from_millis(100), DAY);
        self
    }

    /// The same with so many attempts at an execution, where we fail or workers are lost; at least 1. Where it's more, what may be
    /// an execution's last one is made alone: it waits until all else that runs here has ended, and what comes meanwhile waits for it,
    /// so that a program which kills its workers is given up and nobody with it.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// The same with this time for running programs to end by themselves at a shutdown.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The same with a sweep this often (at least every 10 ms, and not in step with other workers'), of executions that
    /// were accepted longer ago than `older_than`: long enough that those who push have done so. Both are at most a day.
    #[must_use]
    pub fn sweep(mut self, every: Duration, older_than: Duration) -> Self {
        self.sweep_every = every.clamp(Duration::from_millis(10), DAY);
        self.sweep_older_than = older_than.min(DAY);
        self
    }

    /// The same, which hands the span of each attempt to `join` before it's entered, with where the execution comes from: for
    /// hosts whose tracer can put it under a span of another process. The span is called `attempt`; its fields are
    /// `execution`, `attempt`, `language` and `request_id`, and what the attempt logs is within it.
    ///
    /// ```
    /// # use livecode_core::Worker;
    /// fn traced(worker: Worker) -> Worker {
    ///     // With OpenTelemetry: `span.set_parent(context)` of tracing-opentelemetry.
    ///     worker.join_traces(|span, trace| println!("{span:?} belongs under {:?}", trace.traceparent))
    /// }
    /// ```
    #[must_use]
    pub fn join_traces(mut self, join: impl Fn(&Span, &Trace) + Send + Sync + 'static) -> Self {
        self.join_traces = Some(JoinTraces(Arc::new(join)));
        self
    }

    /// Works until `shutdown` fires: then claims nothing more, lets running programs end within the grace, stops the rest
    /// and gives it back, which doesn't count as a failed attempt, so that another worker takes it at once.
    ///
    /// When this returns, nothing it started is alive; the same soon after the future was dropped, but then what ran is
    /// taken up again only when its lease has lapsed.
    pub async fn run(&self, shutdown: CancellationToken) {
        let shift = Arc::new(Shift {
            worker: self.clone(),
            leases: Arc::default(),
            slots: Arc::new(Semaphore::new(self.concurrency)),
            company: RwLock::default(),
            shutdown,
            give_back: CancellationToken::new(),
        });
        let mut attempts = JoinSet::new();
        let work = async {
            select! {
                biased;
                () = shift.claim_until_shutdown(&mut attempts) => {}
                () = self.sweep_forever() => {}
            }
            shift.drain(&mut attempts).await;
        };
        select! {
            biased;
            () = work => {}
            () = shift.leases.keep(&*self.queue, self.lease) => {}
        }
    }
}

/// What the attempts of one [`Worker::run`] share.
#[derive(Debug)]
struct Shift {
    worker: Worker,
    leases: Arc<Leases>,
    /// One for each program that may run.
    slots: Arc<Semaphore>,
    /// Shared by attempts; an execution's last one has it alone.
    company: RwLock<()>,
    /// Nothing more is begun.
    shutdown: CancellationToken,
    /// What still runs is stopped and given back. The parent of every lease's token.
    give_back: CancellationToken,
}

impl Shift {
    async fn claim_until_shutdown(self: &Arc<Self>, attempts: &mut Attempts) {
        let mut outage = Outage::of("claim jobs");
        let mut backoff = Backoff::default();
        let mut sandbox = Health { outage: Outage::of("run programs"), backoff: Backoff::default() };
        while let Some(free) = self.free_slots(attempts, &mut sandbox).await {
            let claim = self.worker.queue.claim(free, CLAIM_WAIT, self.worker.lease);
            pin!(claim);
            let claimed = select! {
                biased;
                claimed = &mut claim => claimed,
                () = self.shutdown.cancelled() => match timeout(LAST_CLAIM, claim).await {
                    Ok(claimed) => claimed,
                    Err(_) => return,
                },
            };
            match claimed {
                Ok(leases) => {
                    outage.succeeded();
                    backoff.reset();
                    // At a shutdown these attempts begin nothing: they give their leases back.
                    leases.into_iter().for_each(|lease| self.take(lease, attempts));
                }
                Err(error) => {
                    outage.failed(&error);
                    backoff.pause(&self.shutdown).await;
                }
            }
        }
    }

    /// How many more programs may run, as soon as it's at least one; none at a shutdown. Where the sandbox fails, this
    /// pauses: else one broken machine would use up the attempts of all that is queued.
    async fn free_slots(&self, attempts: &mut Attempts, sandbox: &mut Health) -> Option<usize> {
        let mut failed = false;
        loop {
            while let Some(ended) = attempts.try_join_next() {
                failed |= sandbox.failed(ended);
            }
            if failed {
                failed = false;
                sandbox.backoff.pause(&self.shutdown).await;
            } else if self.slots.available_permits() == 0 {
                select! {
                    biased;
                    Some(ended) = attempts.join_next() => failed = sandbox.failed(ended),
                    // Of one that is yet to be acknowledged.
                    _ = self.slots.acquire() => {}
                    () = self.shutdown.cancelled() => return None,
                }
            } else {
                return (!self.shutdown.is_cancelled()).then(|| self.slots.available_permits());
            }
        }
    }

    fn take(self: &Arc<Self>, lease: Lease, attempts: &mut Attempts) {
        let held = self.leases.hold(lease, self.worker.lease, self.give_back.child_token());
        // Nobody else takes slots, so there is one.
        let slot = self.slots.clone().try_acquire_owned().ok();
        attempts.spawn(self.clone().attempt(held, slot));
    }

    async fn drain(&self, attempts: &mut Attempts) {
        tracing::debug!(running = attempts.len(), "draining");
        if timeout(self.worker.grace, all(attempts)).await.is_ok() {
            return;
        }
        tracing::info!(running = attempts.len(), "the grace is over: giving back what still runs");
        self.give_back.cancel();
        if timeout(GIVING_BACK, all(attempts)).await.is_err() {
            tracing::warn!(
                running = attempts.len(),
                "programs could not be given back in time, their leases lapse"
            );
            attempts.shutdown().await;
        }
    }
}

/// What runs, each with why the sandbox failed, where it did.
type Attempts = JoinSet<Option<Error>>;

/// How the sandbox does, by the attempts that have ended.
struct Health {
    outage: Outage,
    backoff: Backoff,
}

impl Health {
    fn failed(&mut self, ended: Result<Option<Error>, JoinError>) -> bool {
        let failed = report(ended);
        match &failed {
            Some(error) => self.outage.failed(error),
            None => {
                self.outage.succeeded();
                self.backoff.reset();
            }
        }
        failed.is_some()
    }
}

async fn all(attempts: &mut Attempts) {
    while let Some(ended) = attempts.join_next().await {
        report(ended);
    }
}

/// An attempt that panicked has let go of its lease: it lapses, and whoever claims the job next counts a failure.
fn report(ended: Result<Option<Error>, JoinError>) -> Option<Error> {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "an attempt panicked outside of the sandbox");
        None
    })
}
