//! Jobs in PostgreSQL.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use livecode_core::{Job, Lease, Queue, QueueStats, Result};
use tokio::time::{Instant, sleep_until};

use super::{
    Database,
    jobs::{Ack, Claim, Extend, Push},
    rows::column,
};
use crate::{
    error::from_sqlx,
    value::{NEVER, damaged, unsigned},
};

/// How long to wait where a job is due and another process is about to let it be claimed.
const SOON: Duration = Duration::from_millis(5);

/// A [`Queue`] in a PostgreSQL database, from [`Postgres::store_and_queue`](crate::Postgres::store_and_queue).
///
/// Its time is the server's clock, in microseconds: where that is set back, delays and leases last longer by as much. What
/// other processes push it's told of within a few milliseconds; where a notification is lost, it looks within a second.
#[derive(Clone, Debug)]
pub struct PostgresQueue {
    database: Arc<Database>,
}

impl PostgresQueue {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }
}

#[async_trait]
impl Queue for PostgresQueue {
    async fn push(&self, jobs: &[Job]) -> Result<()> {
        if jobs.is_empty() {
            return Ok(());
        }
        self.database.pushes.make(Push { jobs: jobs.to_vec() }).await?;
        self.database.waiters.jobs_came();
        Ok(())
    }

    async fn claim(&self, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>> {
        let deadline = later(Instant::now(), wait);
        let mut arrivals = None;
        loop {
            let claimed = self.database.claims.make(Claim { max, lease }).await?;
            let now = Instant::now();
            if !claimed.leases.is_empty() || max == 0 || now >= deadline {
                self.database.vacuum.passed(claimed.leases.len());
                return Ok(claimed.leases);
            }
            match &mut arrivals {
                // What came before the subscription wouldn't end the wait: look once more.
                None => arrivals = Some(self.database.waiters.jobs()),
                Some(arrivals) => {
                    let until =
                        claimed.next.map_or(deadline, |next| later(now, next.max(SOON)).min(deadline));
                    tokio::select! {
                        // Woken or not, the next look decides.
                        _ = arrivals.changed() => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    async fn extend(&self, leases: &[Lease], by: Duration) -> Result<Vec<Lease>> {
        let lost = self.database.extensions.make(Extend { leases: leases.to_vec(), by }).await?;
        // Where an end has come nearer, claimers wait for the wrong moment.
        self.database.waiters.jobs_came();
        Ok(lost)
    }

    async fn ack(&self, leases: &[Lease]) -> Result<()> {
        self.database.acks.make(Ack { leases: leases.to_vec() }).await
    }

    async fn stats(&self) -> Result<QueueStats> {
        let select = sqlx::query(
            "SELECT waiting + due AS waiting, delayed, leased,
                 (extract(epoch FROM statement_timestamp() - least(oldest, oldest_due)) * 1000000)::bigint AS oldest
             FROM (SELECT count(*) AS waiting, min(due_at) AS oldest FROM job WHERE state = 'WAITING') AS waiting,
                 (SELECT count(*) FILTER (WHERE due_at <= statement_timestamp()) AS due,
                      min(due_at) FILTER (WHERE due_at <= statement_timestamp()) AS oldest_due,
                      count(*) FILTER (WHERE due_at > statement_timestamp() AND state = 'DELAYED') AS delayed,
                      count(*) FILTER (WHERE due_at > statement_timestamp() AND state = 'LEASED') AS leased
                  FROM job WHERE state <> 'WAITING') AS other",
        );
        let row = self.database.connections.row(select).await.map_err(from_sqlx)?;
        let row = row.ok_or_else(|| damaged("no counts"))?;
        let count = |name| unsigned(column(&row, name)?);
        let oldest: Option<i64> = column(&row, "oldest")?;
        Ok(QueueStats {
            waiting: count("waiting")?,
            delayed: count("delayed")?,
            leased: count("leased")?,
            // A clock that was set back would say that it waits since later than now.
            oldest_waiting: oldest.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())),
        })
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or_else(|| now + NEVER)
}
