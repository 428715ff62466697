//! Changes to jobs: each of them one statement, however many of its kind it makes.

use std::{collections::HashSet, time::Duration};

use livecode_core::{Job, Lease, Result};
use sqlx::{Connection, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use super::lanes::Call;
use crate::value::{NEVER, at_most};

/// The end of a statement that adds jobs: those in `jobs (id, attempt, owner, priority, delay, place)`, in the order of
/// their places. Each that can be claimed takes its turn: the first of an owner's and priority's after those of theirs that
/// wait, or with the first of anybody's, each one after it one later.
macro_rules! add_jobs {
    () => {
        "turns AS MATERIALIZED (
             SELECT owner, priority, greatest(0,
                 (SELECT turn FROM job WHERE state = 'WAITING' AND job.priority = new.priority
                      AND execution_id <> ALL(ARRAY(SELECT id FROM jobs)) ORDER BY turn LIMIT 1),
                 (SELECT turn + 1 FROM job WHERE state = 'WAITING' AND job.owner = new.owner AND job.priority = new.priority
                      AND execution_id <> ALL(ARRAY(SELECT id FROM jobs)) ORDER BY turn DESC LIMIT 1)) AS turn
             FROM (SELECT DISTINCT owner, priority FROM jobs WHERE delay = 0) AS new
         ), added AS (
             INSERT INTO job (execution_id, attempt, owner, priority, turn, state, due_at)
             SELECT id, attempt, owner, priority,
                 CASE WHEN delay = 0
                     THEN turns.turn - 1 + row_number() OVER (PARTITION BY owner, priority, delay = 0 ORDER BY place) ELSE 0 END,
                 CASE WHEN delay = 0 THEN 'WAITING' ELSE 'DELAYED' END,
                 statement_timestamp() + delay * interval '1 microsecond'
             FROM jobs LEFT JOIN turns USING (owner, priority) ORDER BY place
             ON CONFLICT (execution_id) DO UPDATE SET attempt = excluded.attempt, owner = excluded.owner,
                 priority = excluded.priority, turn = excluded.turn, arrival = excluded.arrival, state = excluded.state,
                 due_at = excluded.due_at, token = NULL
             WHERE excluded.attempt > job.attempt
         )"
    };
}
pub(super) use add_jobs;

/// Adds jobs, all at once and in their order.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) jobs: Vec<Job>,
}

impl Call for Push {
    type Made = ();

    fn joins(&self, others: &[Self]) -> bool {
        others.iter().map(|other| other.jobs.len()).sum::<usize>() < 1_000
    }

    async fn make(pushes: &[Self], connection: &mut PgConnection) -> Result<Vec<Result<()>>, sqlx::Error> {
        let jobs: Vec<&Job> = pushes.iter().flat_map(|push| &push.jobs).collect();
        match runs(&jobs).as_slice() {
            [run] => push(connection, run).await?,
            runs => {
                let mut transaction = connection.begin().await?;
                for run in runs {
                    push(&mut transaction, run).await?;
                }
                transaction.commit().await?;
            }
        }
        Ok(pushes.iter().map(|_| Ok(())).collect())
    }
}

/// Jobs in runs that one statement can add. One that may replace another changes what those after it find, so it's a run by
/// itself; and no statement can add and replace the same job.
fn runs<'j>(jobs: &'j [&'j Job]) -> Vec<&'j [&'j Job]> {
    let mut ids = HashSet::new();
    let mut may_replace = false;
    let mut runs = Vec::new();
    let mut start = 0;
    for (place, job) in jobs.iter().enumerate() {
        if place > start && (may_replace || job.attempt > 1 || ids.contains(&job.id)) {
            runs.push(&jobs[start..place]);
            start = place;
            ids.clear();
        }
        ids.insert(job.id);
        may_replace = job.attempt > 1;
    }
    runs.push(&jobs[start..]);
    runs
}

async fn push(connection: &mut PgConnection, jobs: &[&Job]) -> Result<(), sqlx::Error> {
    sqlx::query(concat!(
        "WITH jobs AS MATERIALIZED (
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::smallint[], $5::bigint[]) WITH ORDINALITY
                 AS asked (id, attempt, owner, priority, delay, place)
             WHERE NOT EXISTS (SELECT FROM job WHERE execution_id = id AND job.attempt >= asked.attempt)
         ), ",
        add_jobs!(),
        " SELECT"
    ))
    .bind(jobs.iter().map(|job| job.id.as_uuid()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| i64::from(job.attempt)).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.owner.as_str()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.priority).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| micros(job.delay)).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes jobs.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) max: usize,
    pub(super) lease: Duration,
}

/// What a claim takes.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) leases: Vec<Lease>,
    /// How long until a delay or a lease is over, as it stood before; none where there is none.
    pub(super) next: Option<Duration>,
}

impl Call for Claim {
    type Made = Claimed;

    fn joins(&self, others: &[Self]) -> bool {
        others.iter().all(|other| other.lease == self.lease)
    }

    async fn make(
        claims: &[Self],
        connection: &mut PgConnection,
    ) -> Result<Vec<Result<Claimed>>, sqlx::Error> {
        let max = claims.iter().fold(0_usize, |max, claim| max.saturating_add(claim.max));
        let lease = claims.first().map_or(Duration::ZERO, |claim| claim.lease);
        let (mut leases, mut next) = claim(connection, max, lease, false).await?;
        if next == Some(Duration::ZERO) {
            let_wait(connection).await?;
            (leases, next) = claim(connection, max, lease, true).await?;
        }
        let mut leases = leases.into_iter();
        let take = |claim: &Self| Ok(Claimed { leases: leases.by_ref().take(claim.max).collect(), next });
        Ok(claims.iter().map(take).collect())
    }
}

/// Takes up to `max` jobs, none where some delay or lease is over, unless `whatever`; and tells how long until the next is.
async fn claim(
    connection: &mut PgConnection,
    max: usize,
    lease: Duration,
    whatever: bool,
) -> Result<(Vec<Lease>, Option<Duration>), sqlx::Error> {
    let rows = sqlx::query(
        "WITH due AS MATERIALIZED (
             SELECT (extract(epoch FROM min(due_at) - statement_timestamp()) * 1000000)::bigint AS micros
             FROM job WHERE state <> 'WAITING'
         ), head AS MATERIALIZED (
             SELECT execution_id FROM job WHERE state = 'WAITING' AND ($3 OR (SELECT micros > 0 OR micros IS NULL FROM due))
             ORDER BY priority DESC, turn, arrival LIMIT $1 FOR UPDATE SKIP LOCKED
         ), claimed AS (
             UPDATE job SET state = 'LEASED', due_at = statement_timestamp() + $2 * interval '1 microsecond',
                 token = gen_random_uuid()
             WHERE execution_id = ANY(ARRAY(SELECT execution_id FROM head))
             RETURNING execution_id, attempt, token, priority, turn, arrival
         )
         SELECT micros, execution_id, attempt, token FROM due LEFT JOIN claimed ON true
         ORDER BY priority DESC, turn, arrival",
    )
    .bind(at_most(max as u64))
    .bind(micros(lease))
    .bind(whatever)
    .fetch_all(connection)
    .await?;
    let next: Option<i64> = rows.first().map_or(Ok(None), |row| row.try_get("micros"))?;
    let leases = rows.iter().filter_map(|row| lease_of(row).transpose()).collect::<Result<_, _>>()?;
    Ok((leases, next.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs()))))
}

fn lease_of(row: &PgRow) -> Result<Option<Lease>, sqlx::Error> {
    let Some(id) = row.try_get::<Option<Uuid>, _>("execution_id")? else { return Ok(None) };
    let attempt = u32::try_from(row.try_get::<i64, _>("attempt")?)
        .map_err(|error| sqlx::Error::ColumnDecode { index: "attempt".into(), source: error.into() })?;
    Ok(Some(Lease { id: id.into(), attempt, token: row.try_get("token")? }))
}

/// Lets those be claimed whose delay or lease is over, but for those that another process is at. Who was delayed takes a
/// turn now.
async fn let_wait(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH due AS MATERIALIZED (
             SELECT execution_id, owner, priority, state = 'DELAYED' AS was_delayed, due_at
             FROM job WHERE state <> 'WAITING' AND due_at <= statement_timestamp()
             ORDER BY due_at LIMIT 1000 FOR UPDATE SKIP LOCKED
         ), turns AS MATERIALIZED (
             SELECT owner, priority, greatest(0,
                 (SELECT turn FROM job WHERE state = 'WAITING' AND job.priority = new.priority ORDER BY turn LIMIT 1),
                 (SELECT turn + 1 FROM job WHERE state = 'WAITING' AND job.owner = new.owner AND job.priority = new.priority
                  ORDER BY turn DESC LIMIT 1)) AS turn
             FROM (SELECT DISTINCT owner, priority FROM due WHERE was_delayed) AS new
         ), given AS MATERIALIZED (
             SELECT execution_id, CASE WHEN was_delayed THEN turns.turn - 1
                 + row_number() OVER (PARTITION BY owner, priority, was_delayed ORDER BY due_at, execution_id) END AS turn
             FROM due LEFT JOIN turns USING (owner, priority)
         )
         UPDATE job SET state = 'WAITING', turn = coalesce(given.turn, job.turn) FROM given
         WHERE job.execution_id = given.execution_id AND job.execution_id = ANY(ARRAY(SELECT execution_id FROM due))",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets leases end later; makes those that can't.
#[derive(Debug)]
pub(super) struct Extend {
    pub(super) leases: Vec<Lease>,
    pub(super) by: Duration,
}

impl Call for Extend {
    type Made = Vec<Lease>;

    fn joins(&self, others: &[Self]) -> bool {
        others.iter().all(|other| other.by == self.by)
    }

    async fn make(
        extends: &[Self],
        connection: &mut PgConnection,
    ) -> Result<Vec<Result<Vec<Lease>>>, sqlx::Error> {
        let by = extends.first().map_or(Duration::ZERO, |extend| extend.by);
        let (ids, tokens) = columns(extends.iter().flat_map(|extend| &extend.leases));
        let held: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "UPDATE job SET state = 'LEASED', due_at = statement_timestamp() + $3 * interval '1 microsecond'
             FROM unnest($1::uuid[], $2::uuid[]) AS asked (id, token)
             WHERE execution_id = id AND job.token = asked.token AND execution_id = ANY($1)
             RETURNING execution_id, job.token",
        )
        .bind(ids)
        .bind(tokens)
        .bind(micros(by))
        .fetch_all(connection)
        .await?;
        let held: HashSet<_> = held.into_iter().collect();
        let is_lost = |lease: &&Lease| !held.contains(&(lease.id.as_uuid(), lease.token));
        Ok(extends.iter().map(|extend| Ok(extend.leases.iter().filter(is_lost).cloned().collect())).collect())
    }
}

/// Removes the jobs of leases.
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) leases: Vec<Lease>,
}

impl Call for Ack {
    type Made = ();

    fn joins(&self, _others: &[Self]) -> bool {
        true
    }

    async fn make(acks: &[Self], connection: &mut PgConnection) -> Result<Vec<Result<()>>, sqlx::Error> {
        let (ids, tokens) = columns(acks.iter().flat_map(|ack| &ack.leases));
        sqlx::query(
            "DELETE FROM job USING unnest($1::uuid[], $2::uuid[]) AS asked (id, token)
             WHERE execution_id = id AND job.token = asked.token AND execution_id = ANY($1)",
        )
        .bind(ids)
        .bind(tokens)
        .execute(connection)
        .await?;
        Ok(acks.iter().map(|_| Ok(())).collect())
    }
}

/// In the order of ids, in which then every plan locks them: or statements of two connections could wait for each other.
fn columns<'l>(leases: impl Iterator<Item = &'l Lease>) -> (Vec<Uuid>, Vec<Uuid>) {
    let mut columns: Vec<_> = leases.map(|lease| (lease.id.as_uuid(), lease.token)).collect();
    columns.sort_unstable();
    columns.into_iter().unzip()
}

/// Whole microseconds that are over no sooner than `duration` is.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.min(NEVER).as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX)
}
