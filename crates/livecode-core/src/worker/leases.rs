//! Which leases a worker holds, and the heartbeat that keeps them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::backoff::Outage;
use crate::{Error, Job, Lease, Queue, Result};

/// All leases that a worker holds, by token.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<BTreeMap<Uuid, Entry>>,
    /// Held from the look at what is to be extended until the queue has answered.
    heartbeat: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    /// Until when it surely is ours.
    until: Instant,
    stop: CancellationToken,
}

/// A lease that the heartbeat keeps for as long as this lives.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// Fires when the attempt isn't ours any more, or shall be given back.
    pub(super) stop: CancellationToken,
    leases: Arc<Leases>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leases.lock().remove(&self.lease.token);
    }
}

/// How an attempt parts with its lease.
#[derive(Debug)]
pub(super) enum Parting {
    /// Acknowledges it: the execution has ended.
    Done,
    /// Pushes the job of a higher attempt, which replaces it.
    Again(Job),
    /// Lets it end now: nothing was begun, and somebody else shall have it at once.
    Release,
    /// Leaves it: somebody else has the job, or it comes back when the lease has lapsed.
    Lapse,
}

impl Leases {
    /// Keeps a lease that was just given for `duration`; `stop` fires when it's lost.
    pub(super) fn hold(self: &Arc<Self>, lease: Lease, duration: Duration, stop: CancellationToken) -> Held {
        let entry = Entry { lease: lease.clone(), until: Instant::now() + duration, stop: stop.clone() };
        let mut held = self.lock();
        // Whoever is given a job anew has lost the lease that they had of it.
        held.extract_if(.., |_, other| other.lease.id == lease.id).for_each(|(_, other)| other.lose());
        held.insert(lease.token, entry);
        drop(held);
        Held { lease, stop, leases: self.clone() }
    }

    /// Extends all leases again and again, in one batch; never returns. What can't be extended is lost, and so is what
    /// couldn't be for as long as a lease lasts, because somebody else may have it by then: noticed at most a third of a
    /// lease later.
    pub(super) async fn keep(&self, queue: &dyn Queue, duration: Duration) {
        let mut outage = Outage::of("extend leases");
        let mut pause = duration / 3;
        loop {
            sleep(pause).await;
            let heartbeat = self.heartbeat.lock().await;
            let leases: Vec<Lease> = self.lock().values().map(|entry| entry.lease.clone()).collect();
            if leases.is_empty() {
                pause = duration / 3;
                continue;
            }
            let sent = Instant::now();
            let extended = timeout(duration / 4, queue.extend(&leases, duration))
                .await
                .unwrap_or_else(|_| Err(Error::unavailable("the queue doesn't answer")));
            drop(heartbeat);
            match extended {
                Ok(lost) => {
                    outage.succeeded();
                    self.extended(&leases, &lost, sent + duration);
                    pause = duration / 3;
                }
                Err(error) => {
                    outage.failed(&error);
                    self.lose_lapsed();
                    pause = duration / 12;
                }
            }
        }
    }

    /// Ends a lease that isn't kept any more: not while a heartbeat is under way, which might extend it afterwards, for
    /// nobody.
    pub(super) async fn release(&self, queue: &dyn Queue, lease: Lease) -> Result<()> {
        let _heartbeat = self.heartbeat.lock().await;
        queue.extend(&[lease], Duration::ZERO).await.map(drop)
    }

    fn extended(&self, leases: &[Lease], lost: &[Lease], until: Instant) {
        let mut held = self.lock();
        for lease in lost {
            // Where it isn't there any more, its attempt came to an end meanwhile.
            if let Some(entry) = held.remove(&lease.token) {
                entry.lose();
            }
        }
        for lease in leases {
            if let Some(entry) = held.get_mut(&lease.token) {
                entry.until = until;
            }
        }
    }

    fn lose_lapsed(&self) {
        let now = Instant::now();
        self.lock().extract_if(.., |_, entry| entry.until <= now).for_each(|(_, entry)| entry.lose());
    }

    /// Nothing can panic halfway through a change of the map.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Entry>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn lose(&self) {
        tracing::info!(execution = %self.lease.id, attempt = self.lease.attempt, "a lease is lost, its program is stopped");
        self.stop.cancel();
    }
}
