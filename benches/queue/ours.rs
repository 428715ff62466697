//! What of ours is beside a job of theirs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use livecode::{Clock, Error, ExecutionId, Job, Lease, Owner, Queue, SystemClock, redis::RedisQueue};
use tokio::{join, sync::mpsc::unbounded_channel, time::sleep};

use crate::{
    Result, SLICE,
    compare::{Measure, Task},
    figures::milliseconds,
    server::Server,
};

/// Jobs that are added in one call.
const BULK: usize = 1_000;

/// Longer than anything here takes.
const LEASE: Duration = Duration::from_secs(60);

/// Not measured: connections are opened, scripts are loaded.
const WARM_UP: Duration = Duration::from_millis(500);

/// At low load one is added this long after the one before has been claimed.
const PICK_UP_EVERY: Duration = Duration::from_millis(10);

/// What is done again and again.
#[derive(Clone, Copy)]
enum Work {
    Push(usize),
    /// Claims one, acknowledges it, and claims the next meanwhile, as a worker does.
    Process,
    /// The same, and adds one for each that has ended.
    PushAndProcess,
}

/// A queue, and whose the jobs in it are.
pub(crate) struct Ours {
    queue: RedisQueue,
    owners: Vec<Owner>,
}

impl Ours {
    pub(crate) async fn open(server: &Server, prefix: &str) -> Result<Arc<Self>> {
        let url = format!("{}?prefix={prefix}", server.url());
        let queue = RedisQueue::open(&url).await?;
        let owners = (0..10).map(|n| Owner::new(format!("owner-{n}"))).collect::<livecode::Result<_>>()?;
        Ok(Arc::new(Self { queue, owners }))
    }

    pub(crate) async fn measure(self: &Arc<Self>, task: &Task) -> Result<Vec<f64>> {
        let figure = match task.measure {
            Measure::Add => self.rate(Work::Push(1), task.in_flight).await?,
            Measure::Bulk => self.rate(Work::Push(BULK), task.in_flight).await? * BULK as f64,
            Measure::Fill => self.fill(task.ours).await?,
            Measure::Processed => {
                self.fill(task.ours).await?;
                self.rate(Work::Process, task.in_flight).await?
            }
            Measure::Flow => self.rate(Work::PushAndProcess, task.in_flight).await?,
            Measure::Counted => {
                self.times(Work::Push(1), task.in_flight, task.ours).await?;
                self.times(Work::Process, task.in_flight, task.ours).await?
            }
            Measure::PickUp => return self.pick_up().await,
        };
        Ok(vec![figure])
    }

    async fn fill(&self, jobs: usize) -> Result<f64> {
        for first in (0..jobs).step_by(BULK) {
            self.push(BULK.min(jobs - first)).await?;
        }
        Ok(jobs as f64)
    }

    pub(crate) async fn push(&self, jobs: usize) -> livecode::Result<()> {
        let job = |_| {
            let id = ExecutionId::generate(SystemClock.now());
            let owner = self.owners[fastrand::usize(..self.owners.len())].clone();
            Job { id, attempt: 1, owner, delay: Duration::ZERO, priority: 0 }
        };
        self.queue.push(&(0..jobs).map(job).collect::<Vec<_>>()).await
    }

    /// One job. There has to be one.
    pub(crate) async fn claim(&self) -> livecode::Result<Vec<Lease>> {
        let leases = self.queue.claim(1, LEASE, LEASE).await?;
        if leases.is_empty() { Err(Error::unavailable("the queue ran out of jobs")) } else { Ok(leases) }
    }

    pub(crate) async fn ack(&self, leases: &[Lease]) -> livecode::Result<()> {
        self.queue.ack(leases).await
    }

    /// Does it again and again as long as `goes_on`, which is told how often it was done; says how often.
    async fn work(&self, work: Work, goes_on: impl Fn(usize) -> bool) -> livecode::Result<usize> {
        let mut done = 0;
        if let Work::Push(jobs) = work {
            while goes_on(done) {
                self.push(jobs).await?;
                done += 1;
            }
            return Ok(done);
        }
        let next = || async {
            if let Work::PushAndProcess = work {
                self.push(1).await?;
            }
            self.claim().await
        };
        let mut leases = next().await?;
        while goes_on(done + 1) {
            let (acknowledged, next) = join!(self.ack(&leases), next());
            acknowledged?;
            leases = next?;
            done += 1;
        }
        self.ack(&leases).await?;
        Ok(done + 1)
    }

    /// How many times a second, by so many callers.
    async fn rate(self: &Arc<Self>, work: Work, callers: usize) -> Result<f64> {
        self.until(work, callers, Instant::now() + WARM_UP).await?;
        let began = Instant::now();
        let done = self.until(work, callers, began + SLICE).await?;
        Ok(done as f64 / began.elapsed().as_secs_f64())
    }

    async fn until(self: &Arc<Self>, work: Work, callers: usize, end: Instant) -> Result<usize> {
        self.all(callers, move |ours| async move { ours.work(work, |_| Instant::now() < end).await }).await
    }

    /// So many times in all.
    async fn times(self: &Arc<Self>, work: Work, callers: usize, times: usize) -> Result<f64> {
        let each = times / callers;
        let done = self.all(callers, move |ours| async move { ours.work(work, |done| done < each).await });
        Ok(done.await? as f64)
    }

    /// What the callers have done together.
    async fn all<F>(self: &Arc<Self>, callers: usize, caller: impl Fn(Arc<Self>) -> F) -> Result<usize>
    where
        F: Future<Output = livecode::Result<usize>> + Send + 'static,
    {
        let callers = (0..callers).map(|_| tokio::spawn(caller(self.clone())));
        Ok(try_join_all(callers).await?.into_iter().sum::<livecode::Result<_>>()?)
    }

    /// Milliseconds from before one is added until it's claimed, where nothing else is to be done: the median and the 99th
    /// percentile.
    async fn pick_up(self: &Arc<Self>) -> Result<Vec<f64>> {
        let (claimed, mut claims) = unbounded_channel();
        let ours = self.clone();
        let claimer = tokio::spawn(async move {
            loop {
                let leases = ours.claim().await?;
                if claimed.send(Instant::now()).is_err() {
                    break Ok::<_, Error>(());
                }
                ours.ack(&leases).await?;
            }
        });
        let measured_from = Instant::now() + WARM_UP;
        let mut times = Vec::new();
        while measured_from.elapsed() < SLICE {
            let began = Instant::now();
            self.push(1).await?;
            let Some(claimed) = claims.recv().await else {
                return Err(format!("nothing is claimed any more: {:?}", claimer.await).into());
            };
            if began > measured_from {
                times.push(milliseconds(claimed - began));
            }
            sleep(PICK_UP_EVERY).await;
        }
        claimer.abort();
        times.sort_by(f64::total_cmp);
        Ok([50, 99].map(|percent| times[(times.len() - 1) * percent / 100]).to_vec())
    }
}
