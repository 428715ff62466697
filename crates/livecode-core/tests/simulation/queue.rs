//! A queue in memory behind a faulty link: it loses pushes and its memory, gives a job out twice, and ends leases early.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use livecode_core::{Job, Lease, MemoryQueue, Queue, QueueStats, Result};
use uuid::Uuid;

use crate::{link::Link, sim::Sim};

/// The queue itself.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    inner: Mutex<Arc<MemoryQueue>>,
    /// What is given out a second time.
    twins: Mutex<Vec<Lease>>,
}

impl Jobs {
    pub(crate) fn inner(&self) -> Arc<MemoryQueue> {
        self.inner.lock().unwrap().clone()
    }

    /// Loses all jobs and leases.
    pub(crate) fn forget(&self) {
        *self.inner.lock().unwrap() = Arc::default();
    }

    async fn claim(&self, sim: &Sim, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>> {
        let twin = self.twins.lock().unwrap().pop_if(|_| max > 0);
        if let Some(twin) = twin {
            return Ok(vec![twin]);
        }
        let lease = if sim.happens(sim.faults.early) {
            lease.mul_f64(sim.chance(fastrand::Rng::f64) * 0.5)
        } else {
            lease
        };
        let mut leases = self.inner().claim(max, wait, lease).await?;
        sim.chance(|chance| chance.shuffle(&mut leases));
        Ok(leases)
    }
}

pub(crate) struct FaultyQueue {
    pub(crate) link: Arc<Link>,
    pub(crate) jobs: Arc<Jobs>,
}

impl fmt::Debug for FaultyQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyQueue").field("link", &self.link).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Queue for FaultyQueue {
    async fn push(&self, jobs: &[Job]) -> Result<()> {
        let (link, queue, jobs) = (self.link.clone(), self.jobs.clone(), jobs.to_vec());
        let about = jobs.first().map(|job| job.id);
        let apply = async move {
            if link.sim.happens(link.sim.faults.lost) {
                link.sim.tell(link.who, "push", "is lost", about, 0);
                return Ok(());
            }
            queue.inner().push(&jobs).await
        };
        self.link.call("push", about, apply).await
    }

    async fn claim(&self, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>> {
        let (sim, jobs) = (self.link.sim.clone(), self.jobs.clone());
        let claim = async move { jobs.claim(&sim, max, wait, lease).await };
        let leases = self.link.call("claim", None, claim).await?;
        let sim = &self.link.sim;
        for lease in &leases {
            if sim.happens(sim.faults.twice) {
                let mut twin = lease.clone();
                // Either can be told from the other, or not.
                if sim.chance(fastrand::Rng::bool) {
                    twin.token = Uuid::from_u128(sim.chance(|chance| chance.u128(..)));
                }
                self.jobs.twins.lock().unwrap().push(twin);
            }
            self.link.sim.tell(self.link.who, "has claimed", "", Some(lease.id), lease.attempt.into());
        }
        Ok(leases)
    }

    async fn extend(&self, leases: &[Lease], by: Duration) -> Result<Vec<Lease>> {
        let (jobs, leases) = (self.jobs.clone(), leases.to_vec());
        let deluded = self.link.is_deluded();
        let apply =
            async move { if deluded { Ok(Vec::new()) } else { jobs.inner().extend(&leases, by).await } };
        self.link.call("extend", None, apply).await
    }

    async fn ack(&self, leases: &[Lease]) -> Result<()> {
        let (jobs, leases) = (self.jobs.clone(), leases.to_vec());
        let about = leases.first().map(|lease| lease.id);
        self.link.call("ack", about, async move { jobs.inner().ack(&leases).await }).await
    }

    async fn stats(&self) -> Result<QueueStats> {
        self.jobs.inner().stats().await
    }
}
