//! Takes the dead out of the queue's table as soon as it's worth it: see `job` in the schema.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::connections::Connections;

/// How many jobs pass through the queue between two vacuums: as many rows as a claim can step over in well under a millisecond.
const JOBS: usize = 2_000;

/// How much longer than a vacuum takes it rests after one, where a long backlog makes it slow.
const REST: u32 = 19;

/// Where it takes longer, nobody is there any more.
const LONGEST: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Vacuum {
    passed: Arc<Passed>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Passed {
    jobs: AtomicUsize,
    enough: Notify,
}

impl Vacuum {
    /// Starts the task. It ends when this is dropped.
    pub(super) fn start(connections: &Arc<Connections>) -> Self {
        let passed = Arc::new(Passed::default());
        let task = tokio::spawn(run(connections.clone(), passed.clone())).abort_handle();
        Self { passed, task }
    }

    /// So many jobs more were claimed.
    pub(super) fn passed(&self, jobs: usize) {
        if self.passed.jobs.fetch_add(jobs, Ordering::Relaxed) + jobs >= JOBS {
            self.passed.enough.notify_one();
        }
    }
}

impl Drop for Vacuum {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(connections: Arc<Connections>, passed: Arc<Passed>) {
    loop {
        passed.enough.notified().await;
        passed.jobs.store(0, Ordering::Relaxed);
        let began = Instant::now();
        if let Err(error) = vacuum(&connections).await {
            tracing::debug!(%error, "the queue's table can't be vacuumed");
        }
        sleep(began.elapsed() * REST).await;
    }
}

/// Where another process is at it, that one does it for both.
async fn vacuum(connections: &Connections) -> Result<(), sqlx::Error> {
    let mut lent = connections.lend().await?;
    let vacuum = sqlx::raw_sql("VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON, TRUNCATE OFF) job");
    let done = timeout(LONGEST, vacuum.execute(&mut lent.connection)).await;
    let done = done.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
    connections.settle(lent, &done);
    done.map(drop)
}
