//! Who waits for what in this process, and the one poll that tells them of what other processes change.
//!
//! A waiting party subscribes first and looks second, so a change is either in what it sees or wakes it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use livecode_core::{ExecutionId, Result, Seq};
use sqlx::{SqlitePool, pool::PoolConnection};
use tokio::{runtime::Handle, sync::watch};
use uuid::Uuid;

use super::rows::{column, hex, seq};
use crate::{error::from_sqlx, follower::Reach, value::json};

/// How often the file is asked whether another process has changed it: that takes microseconds and reads no page.
const EVERY: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub(super) struct Waiters {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    readers: SqlitePool,
    /// Where the poll runs: a caller's runtime may end before ours.
    runtime: Handle,
    /// Some job may be claimable that wasn't; whether one was added by this process.
    jobs: watch::Sender<bool>,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// How far each log reaches that somebody follows, as far as they have been told.
    logs: HashMap<ExecutionId, watch::Sender<Reach>>,
    /// The same of what is sent to executions.
    inputs: HashMap<ExecutionId, watch::Sender<Seq>>,
    /// Whether the poll is running.
    polled: bool,
}

impl Waiters {
    pub(super) fn new(readers: SqlitePool) -> Self {
        Self {
            shared: Arc::new(Shared {
                readers,
                runtime: Handle::current(),
                jobs: watch::Sender::default(),
                followed: Mutex::default(),
            }),
        }
    }

    /// Tells the followers of a log that it reaches to `last` now.
    pub(super) fn log_grew(&self, id: ExecutionId, last: Seq, may_have_ended: bool) {
        if let Some(log) = self.followed().logs.get(&id) {
            log.send_if_modified(|known| known.grow(last, may_have_ended));
        }
    }

    /// Tells the followers of what is sent to an execution that it reaches to `last` now.
    pub(super) fn input_grew(&self, id: ExecutionId, last: Seq) {
        if let Some(input) = self.followed().inputs.get(&id) {
            input.send_if_modified(|known| std::mem::replace(known, last.max(*known)) < last);
        }
    }

    /// Tells claimers that there is a job.
    pub(super) fn jobs_came(&self) {
        self.shared.jobs.send_replace(true);
    }

    /// Tells claimers to look.
    pub(super) fn jobs_may_have_come(&self) {
        self.shared.jobs.send_replace(false);
    }

    /// Hears of everything added to a log from now on, and perhaps more often.
    pub(super) fn log(&self, id: ExecutionId) -> watch::Receiver<Reach> {
        let mut followed = self.followed();
        let log = followed.logs.entry(id).or_default().subscribe();
        self.poll(&mut followed);
        log
    }

    /// Hears of everything sent to an execution from now on, and perhaps more often.
    pub(super) fn input(&self, id: ExecutionId) -> watch::Receiver<Seq> {
        let mut followed = self.followed();
        let input = followed.inputs.entry(id).or_default().subscribe();
        self.poll(&mut followed);
        input
    }

    /// Hears of every job from now on, and perhaps more often.
    pub(super) fn jobs(&self) -> watch::Receiver<bool> {
        let mut followed = self.followed();
        let jobs = self.shared.jobs.subscribe();
        self.poll(&mut followed);
        jobs
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        // No section under this lock stops halfway through a change.
        self.shared.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the poll where it isn't running.
    fn poll(&self, followed: &mut Followed) {
        if !followed.polled {
            followed.polled = true;
            self.shared.runtime.spawn(self.clone().run());
        }
    }

    async fn run(self) {
        let mut watched = None;
        while self.is_awaited() {
            watched = match self.look(watched).await {
                Ok(watched) => Some(watched),
                // Everybody looks for themselves, and whoever meets the same error reports it.
                Err(_) => {
                    self.wake_all();
                    None
                }
            };
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Whether anybody waits; where nobody does, the next who will starts the poll anew. Forgets those who have gone.
    fn is_awaited(&self) -> bool {
        let mut followed = self.followed();
        followed.logs.retain(|_, log| log.receiver_count() > 0);
        followed.inputs.retain(|_, input| input.receiver_count() > 0);
        let is_followed = !followed.logs.is_empty() || !followed.inputs.is_empty();
        followed.polled = is_followed || self.shared.jobs.receiver_count() > 0;
        followed.polled
    }

    /// Looks whether the file has changed since the last look through the same connection, and tells whom it concerns.
    /// The first look can't know, and tells everybody.
    async fn look(&self, watched: Option<Watched>) -> Result<Watched> {
        let (mut connection, before) = match watched {
            Some(Watched { connection, version }) => (connection, Some(version)),
            None => (self.shared.readers.acquire().await.map_err(from_sqlx)?, None),
        };
        let version =
            sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut *connection).await.map_err(from_sqlx)?;
        if before != Some(version) {
            self.jobs_may_have_come();
            let ids: Vec<String> = self.followed().logs.keys().map(|id| hex(id.as_uuid())).collect();
            let logs = sqlx::query(
                "SELECT id, last_seq FROM execution WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
            )
            .bind(json(&ids)?)
            .fetch_all(&mut *connection)
            .await
            .map_err(from_sqlx)?;
            for log in &logs {
                self.log_grew(column::<Uuid>(log, "id")?.into(), seq(log, "last_seq")?, true);
            }
            let ids: Vec<String> = self.followed().inputs.keys().map(|id| hex(id.as_uuid())).collect();
            if !ids.is_empty() {
                let inputs = sqlx::query(
                    "SELECT execution_id, last_seq FROM stdin
                     WHERE execution_id IN (SELECT unhex(value) FROM json_each(?1))",
                )
                .bind(json(&ids)?)
                .fetch_all(&mut *connection)
                .await
                .map_err(from_sqlx)?;
                for input in &inputs {
                    self.input_grew(column::<Uuid>(input, "execution_id")?.into(), seq(input, "last_seq")?);
                }
            }
        }
        Ok(Watched { connection, version })
    }

    fn wake_all(&self) {
        self.jobs_may_have_come();
        let followed = self.followed();
        for log in followed.logs.values() {
            log.send_modify(|known| known.may_have_ended = true);
        }
        for input in followed.inputs.values() {
            input.send_modify(|_| {});
        }
    }
}

/// A connection to look through, and the version of the file that it saw last.
#[derive(Debug)]
struct Watched {
    connection: PoolConnection<sqlx::Sqlite>,
    version: i64,
}

#[cfg(test)]
mod tests {
    use livecode_core::{Clock, ExecutionId, SystemClock};

    use crate::Sqlite;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_poll_runs_only_while_somebody_waits() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/livecode.db", directory.path().display());
        let waiters = Sqlite::open(&url).await.unwrap().database.waiters.clone();
        assert!(!waiters.followed().polled);
        for _ in 0..3 {
            // Whoever subscribes while the poll runs hears of later changes only: the claimer has to be the first.
            let mut jobs = waiters.jobs();
            let log = waiters.log(ExecutionId::generate(SystemClock.now()));
            jobs.changed().await.unwrap();
            assert!(waiters.followed().polled);
            drop((log, jobs));
            while waiters.followed().polled {
                tokio::task::yield_now().await;
            }
            assert!(waiters.followed().logs.is_empty());
        }
    }
}
