//! Jobs in SQLite.

use std::{cmp::Reverse, collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use livecode_core::{Job, Lease, Queue, QueueStats, Result};
use sqlx::Row;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{
    Database,
    rows::{column, hex},
    writer::{Calls, Failure, Survives, Transaction},
};
use crate::{
    error::from_sqlx,
    value::{NEVER, json, unsigned},
};

/// A [`Queue`] in a SQLite file, from [`Sqlite::store_and_queue`](crate::Sqlite::store_and_queue).
///
/// Its time is the machine's clock as SQLite reads it, in milliseconds: where that is set back, delays and leases last
/// longer by as much. What other processes push it notices within some 20 ms.
#[derive(Clone, Debug)]
pub struct SqliteQueue {
    database: Arc<Database>,
}

impl SqliteQueue {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// How long until something can be claimed, as it stands now; none where nothing is in sight.
    ///
    /// Claiming takes the write lock, this doesn't.
    async fn next(&self) -> Result<Option<Duration>> {
        let row = sqlx::query(
            "SELECT iif(EXISTS (SELECT 1 FROM job WHERE state = 'WAITING'), 0,
                 max(0, min(due_at) - (SELECT now FROM clock))) AS millis
             FROM (SELECT min(due_at) AS due_at FROM job WHERE state = 'DELAYED'
                   UNION ALL SELECT min(due_at) FROM job WHERE state = 'LEASED')",
        )
        .fetch_one(&self.database.readers)
        .await
        .map_err(from_sqlx)?;
        let millis: Option<i64> = column(&row, "millis")?;
        millis.map(|millis| Ok(Duration::from_millis(unsigned(millis)?))).transpose()
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn push(&self, jobs: &[Job]) -> Result<()> {
        let jobs = jobs.to_vec();
        self.database
            .writer
            .write(Survives::Kill, Calls::One, move |transaction| push(transaction, jobs.clone()).boxed())
            .await?;
        self.database.waiters.jobs_came();
        Ok(())
    }

    async fn claim(&self, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>> {
        let deadline = later(Instant::now(), wait);
        let mut arrivals = None;
        // At first it's worth a try; from then on only where there is something.
        let mut next = Some(Duration::ZERO);
        loop {
            if next == Some(Duration::ZERO) {
                let leases = self
                    .database
                    .writer
                    .write(Survives::Kill, Calls::One, move |transaction| {
                        claim(transaction, max, lease).boxed()
                    })
                    .await?;
                if !leases.is_empty() {
                    return Ok(leases);
                }
            }
            let now = Instant::now();
            if max == 0 || now >= deadline {
                return Ok(Vec::new());
            }
            match &mut arrivals {
                // What came before the subscription wouldn't end the wait: look once more.
                None => arrivals = Some(self.database.waiters.jobs()),
                Some(arrivals) => {
                    let until = next.map_or(deadline, |next| later(now, next).min(deadline));
                    let has_come = tokio::select! {
                        _ = arrivals.changed() => *arrivals.borrow(),
                        () = sleep_until(until) => false,
                    };
                    if has_come {
                        next = Some(Duration::ZERO);
                        continue;
                    }
                }
            }
            // Woken or not, this look decides.
            next = self.next().await?;
        }
    }

    async fn extend(&self, leases: &[Lease], by: Duration) -> Result<Vec<Lease>> {
        let asked = leases.to_vec();
        let held = self
            .database
            .writer
            .write(Survives::Kill, Calls::One, move |transaction| {
                extend(transaction, asked.clone(), by).boxed()
            })
            .await?;
        // Where an end has come nearer, claimers wait for the wrong moment.
        self.database.waiters.jobs_may_have_come();
        Ok(leases
            .iter()
            .filter(|lease| !held.contains(&(lease.id.as_uuid(), lease.token)))
            .cloned()
            .collect())
    }

    async fn ack(&self, leases: &[Lease]) -> Result<()> {
        let leases = leases.to_vec();
        self.database
            .writer
            .write(Survives::Kill, Calls::One, move |transaction| ack(transaction, leases.clone()).boxed())
            .await
    }

    async fn stats(&self) -> Result<QueueStats> {
        let row = sqlx::query(
            "SELECT
                 (SELECT count(*) FROM job WHERE state = 'WAITING')
                     + (SELECT count(*) FROM job WHERE state IN ('DELAYED', 'LEASED') AND due_at <= now) AS waiting,
                 (SELECT count(*) FROM job WHERE state = 'DELAYED' AND due_at > now) AS delayed,
                 (SELECT count(*) FROM job WHERE state = 'LEASED' AND due_at > now) AS leased,
                 now - (SELECT min(due_at) FROM (
                     SELECT min(due_at) AS due_at FROM job WHERE state = 'WAITING'
                     UNION ALL SELECT min(due_at) FROM job WHERE state = 'DELAYED'
                     UNION ALL SELECT min(due_at) FROM job WHERE state = 'LEASED')) AS oldest
             FROM clock",
        )
        .fetch_one(&self.database.readers)
        .await
        .map_err(from_sqlx)?;
        let count = |name| unsigned(column(&row, name)?);
        let oldest: Option<i64> = column(&row, "oldest")?;
        let waiting = count("waiting")?;
        Ok(QueueStats {
            waiting,
            delayed: count("delayed")?,
            leased: count("leased")?,
            // A clock that was set back would say that it waits since later than now.
            oldest_waiting: oldest
                .filter(|_| waiting > 0)
                .map(|millis| Duration::from_millis(millis.max(0).unsigned_abs())),
        })
    }
}

/// Adds jobs, all at once and in their order. Those that can be claimed are given their turns by a trigger.
async fn push(transaction: Transaction<'_>, jobs: Vec<Job>) -> Result<(), Failure> {
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| (hex(job.id.as_uuid()), job.attempt, job.owner.as_str(), job.priority, millis(job.delay)))
        .collect();
    // "WHERE true" because after a SELECT, ON would be taken for a join's.
    sqlx::query(transaction.only(
        "INSERT INTO job (execution_id, attempt, owner, priority, state, due_at)
         SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3,
             iif(value ->> 4 > 0, 'DELAYED', 'WAITING'), now + (value ->> 4)
         FROM clock, json_each(?1) WHERE true ORDER BY key
         ON CONFLICT (execution_id) DO UPDATE SET
             arrival = excluded.arrival, attempt = excluded.attempt, owner = excluded.owner,
             priority = excluded.priority, turn = NULL, state = excluded.state, due_at = excluded.due_at, token = NULL
         WHERE excluded.attempt > job.attempt",
    ))
    .bind(json(&jobs)?)
    .execute(transaction.connection)
    .await?;
    Ok(())
}

async fn claim(transaction: Transaction<'_>, max: usize, lease: Duration) -> Result<Vec<Lease>, Failure> {
    // The planner would rather sort all that wait than read the first ones off their index.
    let rows = sqlx::query(transaction.only(
        "UPDATE job SET state = 'WAITING' WHERE state IN ('DELAYED', 'LEASED') AND due_at <= (SELECT now FROM clock);
         UPDATE job SET state = 'LEASED', due_at = (SELECT now FROM clock) + ?2, token = randomblob(16)
         WHERE arrival IN (SELECT arrival FROM job INDEXED BY job_waiting WHERE state = 'WAITING' AND turn IS NOT NULL
                           ORDER BY priority DESC, turn, arrival LIMIT ?1)
         RETURNING priority, turn, arrival, execution_id, attempt, token",
    ))
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .bind(millis(lease))
    .fetch_all(transaction.connection)
    .await?;
    // What RETURNING gives is in no particular order.
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = (
            Reverse(row.try_get::<i16, _>("priority")?),
            row.try_get::<i64, _>("turn")?,
            row.try_get::<i64, _>("arrival")?,
        );
        let lease = Lease {
            id: row.try_get::<Uuid, _>("execution_id")?.into(),
            attempt: row.try_get("attempt")?,
            token: row.try_get("token")?,
        };
        claimed.push((place, lease));
    }
    claimed.sort_unstable_by_key(|(place, _)| *place);
    Ok(claimed.into_iter().map(|(_, lease)| lease).collect())
}

/// Lets the leases end later; gives back the ids and tokens of those that can.
async fn extend(
    transaction: Transaction<'_>,
    leases: Vec<Lease>,
    by: Duration,
) -> Result<HashSet<(Uuid, Uuid)>, Failure> {
    let rows = sqlx::query(transaction.only(
        "UPDATE job SET state = 'LEASED', due_at = (SELECT now FROM clock) + ?2
         WHERE (execution_id, token) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?1))
         RETURNING execution_id, token",
    ))
    .bind(held(&leases)?)
    .bind(millis(by))
    .fetch_all(transaction.connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("execution_id")?, row.try_get("token")?))).collect()
}

async fn ack(transaction: Transaction<'_>, leases: Vec<Lease>) -> Result<(), Failure> {
    sqlx::query(transaction.only(
        "DELETE FROM job
         WHERE (execution_id, token) IN (SELECT unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?1))",
    ))
    .bind(held(&leases)?)
    .execute(transaction.connection)
    .await?;
    Ok(())
}

/// Leases as JSON: which job, and by which token.
fn held(leases: &[Lease]) -> Result<String> {
    let leases: Vec<_> = leases.iter().map(|lease| (hex(lease.id.as_uuid()), hex(lease.token))).collect();
    json(&leases)
}

/// Whole milliseconds that are over no sooner than `duration` is: the database's clock has begun its present one.
pub(super) fn millis(duration: Duration) -> i64 {
    let duration = duration.min(NEVER);
    let millis = duration.as_nanos().div_ceil(1_000_000);
    i64::try_from(millis).map_or(0, |millis| if millis == 0 { 0 } else { millis + 1 })
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or_else(|| now + NEVER)
}
