//! Finds what is open in the store and unknown to the queue, and pushes it again.

use tokio::time::sleep;

use super::{Worker, attempt::job, backoff::Outage};
use crate::{ErrorKind, Execution, ExecutionId, Job, ListQuery, PageStart, Result, State};

/// How many executions one look is at.
const PAGE: usize = 1_000;

impl Worker {
    /// Looks at one page every now and then; never returns.
    ///
    /// It begins at once, so that what was queued when the last process of a host died isn't kept waiting. The page moves
    /// on with each look. Within a long backlog the pauses are a tenth: short enough that no worker waits for it, long
    /// enough that a backlog which the queue knows costs the two of them little.
    pub(super) async fn sweep_forever(&self) {
        let mut outage = Outage::of("sweep");
        let mut after = None;
        loop {
            let pause = match self.sweep_page(after).await {
                Ok(last) => {
                    outage.succeeded();
                    after = last;
                    if after.is_some() { self.sweep_every / 10 } else { self.sweep_every }
                }
                Err(error) => {
                    outage.failed(&error);
                    self.sweep_every
                }
            };
            // Not all workers at the same moment.
            sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
        }
    }

    /// Looks at the page after `after`; gives back its last id, none where it was the last page.
    async fn sweep_page(&self, after: Option<ExecutionId>) -> Result<Option<ExecutionId>> {
        let now = self.clock.now();
        let query = ListQuery {
            open_since_before: Some(now.saturating_sub(self.sweep_older_than)),
            page: PageStart::After(after),
            limit: PAGE,
            ..ListQuery::default()
        };
        let page = self.store.list(&query).await?;
        // Where the queue knows a job, pushing it changes nothing.
        let jobs: Vec<Job> = page
            .iter()
            .filter(|execution| self.may_be_unknown(execution))
            .map(|execution| job(execution, now))
            .collect();
        self.push_what_fits(&jobs).await?;
        Ok(page.last().filter(|_| page.len() == PAGE).map(|execution| execution.id))
    }

    /// Pushes as many of them, from the first on, as a queue that may be full has room for. The others are found again.
    async fn push_what_fits(&self, mut jobs: &[Job]) -> Result<()> {
        let mut most = jobs.len();
        while !jobs.is_empty() {
            let (part, rest) = jobs.split_at(most.min(jobs.len()));
            match self.queue.push(part).await {
                Ok(()) => jobs = rest,
                Err(error) if error.kind() == ErrorKind::QueueFull && part.len() > 1 => most = part.len() / 2,
                Err(error) if error.kind() == ErrorKind::QueueFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What began within the last two leases is left alone: where the queue lost its memory, a worker that is alive
    /// notices, and gives back what it runs.
    fn may_be_unknown(&self, execution: &Execution) -> bool {
        match execution.state {
            State::Queued => true,
            State::Running => execution.started_at.is_none_or(|started| {
                self.clock.now().duration_since(started) > self.lease.saturating_mul(2)
            }),
            State::Completed | State::Failed | State::TimedOut | State::Cancelled => false,
        }
    }
}
