//! Changes to executions and their logs: each of them one statement, however many of its kind it makes.
//!
//! Whatever plan the server has kept since a table was small, `id = ANY` lets it read no more than was asked for.

use std::collections::HashMap;

use livecode_core::{
    Error, Execution, ExecutionId, ExecutionSpec, Inserted, Output, Owner, Result, Seq, SessionId, State,
    Timestamp,
};
use sqlx::{
    PgConnection, Postgres,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use uuid::Uuid;

use super::{
    connections::Connections,
    jobs::{add_jobs, micros},
    lanes::Call,
    rows::{self, column},
};
use crate::{
    error::from_sqlx,
    value::{check_version, descriptor, json, signed},
};

pub(super) async fn row(connections: &Connections, id: ExecutionId) -> Result<PgRow> {
    let select = sqlx::query("SELECT * FROM execution WHERE id = $1").bind(id.as_uuid());
    let row = connections.row(select).await.map_err(from_sqlx)?;
    row.ok_or_else(|| unknown(id))
}

/// Asks for the row that has this idempotency key.
pub(super) fn by_key<'q>(
    owner: &'q Owner,
    session: Option<SessionId>,
    key: &str,
) -> Result<Query<'q, Postgres, PgArguments>> {
    // `IS NOT DISTINCT FROM` would use the index without its last column.
    let select = match session {
        Some(_) => "SELECT * FROM execution WHERE owner = $1 AND idempotency_key = $2 AND session_id = $3",
        None => "SELECT * FROM execution WHERE owner = $1 AND idempotency_key = $2 AND session_id IS NULL",
    };
    let select = sqlx::query(select).bind(owner.as_str()).bind(json(key)?);
    Ok(match session {
        Some(session) => select.bind(session.as_uuid()),
        None => select,
    })
}

/// Adds an execution.
#[derive(Debug)]
pub(super) struct Insert {
    execution: Execution,
    /// As JSON.
    spec: String,
    /// Whether input may be sent to it.
    takes_input: bool,
    /// Who is told of its end, as JSON.
    callback_url: Option<String>,
    /// What of it is JSON or wider than it was, made ahead: a value that can't be kept is its caller's alone.
    columns: Columns,
    revision: Option<i64>,
    language: String,
    idempotency_key: Option<String>,
    /// Whether its job belongs into this database's queue.
    is_queue: bool,
}

/// The columns that an update changes too.
#[derive(Debug)]
struct Columns {
    version: i64,
    outcome: Option<String>,
    failure: Option<String>,
}

impl Columns {
    fn of(execution: &Execution) -> Result<Self> {
        Ok(Self {
            version: signed(execution.version)?,
            outcome: execution.outcome.as_ref().map(json).transpose()?,
            failure: execution.failure.as_ref().map(json).transpose()?,
        })
    }
}

impl Insert {
    pub(super) fn new(execution: Execution, spec: &ExecutionSpec, is_queue: bool) -> Result<Self> {
        Ok(Self {
            takes_input: spec.stdin_open,
            callback_url: spec.callback_url.as_ref().map(json).transpose()?,
            spec: json(spec)?,
            columns: Columns::of(&execution)?,
            revision: execution.revision.map(|revision| signed(revision.0)).transpose()?,
            language: json(&execution.language)?,
            idempotency_key: execution.idempotency_key.as_ref().map(json).transpose()?,
            execution,
            is_queue,
        })
    }

    /// What became of one that wasn't inserted.
    async fn existing(&self, connection: &mut PgConnection) -> Result<Inserted> {
        let Execution { id, owner, session_id, idempotency_key, .. } = &self.execution;
        if let Some(key) = idempotency_key
            && let Some(existing) =
                by_key(owner, *session_id, key)?.fetch_optional(connection).await.map_err(from_sqlx)?
        {
            return Ok(Inserted::Existing(Box::new(rows::execution(&existing)?)));
        }
        Err(Error::conflict(format!("execution {id} is there already")))
    }
}

impl Call for Insert {
    type Made = Inserted;

    fn joins(&self, others: &[Self]) -> bool {
        others.iter().all(|other| other.execution.id != self.execution.id)
    }

    fn bytes(&self) -> usize {
        self.spec.len()
    }

    async fn make(
        inserts: &[Self],
        connection: &mut PgConnection,
    ) -> Result<Vec<Result<Inserted>>, sqlx::Error> {
        let executions = || inserts.iter().map(|insert| &insert.execution);
        // In the order of their keys: of two statements with the same keys one waits for the other, never both.
        let inserted: Vec<Uuid> = sqlx::query_scalar(concat!(
            "WITH asked AS MATERIALIZED (
                 SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::smallint[],
                     $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
                     $15::bigint[], $16::bigint[], $17::text[], $18::text[], $19::text[], $20::boolean[], $21::bigint[], $22::boolean[],
                     $23::text[])
                 WITH ORDINALITY
                 AS asked (id, owner, session_id, revision, idempotency_key, language, priority, state, attempt, failures,
                     version, run_after, created_at, started_at, completed_at, cancel_requested_at, outcome, failure, spec,
                     is_queue, delay, takes_input, callback_url, place)
             ), inserted AS (
                 INSERT INTO execution (id, owner, session_id, revision, idempotency_key, language, priority, state, attempt,
                     failures, version, run_after, created_at, started_at, completed_at, cancel_requested_at, outcome, failure,
                     last_seq)
                 SELECT id, owner, session_id, revision, idempotency_key, language, priority, state, attempt, failures, version,
                     run_after, created_at, started_at, completed_at, cancel_requested_at, outcome, failure, 1
                 FROM asked ORDER BY owner, idempotency_key, session_id, id
                 ON CONFLICT DO NOTHING
                 RETURNING id, state, attempt, cancel_requested_at IS NOT NULL AS cancel_requested
             ), asks AS (
                 INSERT INTO spec (execution_id, spec) SELECT id, spec FROM inserted JOIN asked USING (id)
             ), logged AS (
                 INSERT INTO event (execution_id, seq, state, attempt, cancel_requested)
                 SELECT id, 1, state, attempt, cancel_requested FROM inserted
             ), opened AS (
                 INSERT INTO stdin (execution_id) SELECT id FROM inserted JOIN asked USING (id) WHERE takes_input
             ), told AS (
                 INSERT INTO delivery (execution_id, url)
                 SELECT id, callback_url FROM inserted JOIN asked USING (id) WHERE callback_url IS NOT NULL
             ), jobs AS MATERIALIZED (
                 SELECT id, attempt, owner, priority, delay, place FROM asked JOIN inserted USING (id, attempt) WHERE is_queue
             ), ",
            add_jobs!(),
            "
             SELECT id FROM inserted"
        ))
        .bind(ids(executions()))
        .bind(executions().map(|execution| execution.owner.as_str()).collect::<Vec<_>>())
        .bind(executions().map(|execution| execution.session_id.map(SessionId::as_uuid)).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.revision).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.idempotency_key.as_deref()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.language.as_str()).collect::<Vec<_>>())
        .bind(executions().map(|execution| execution.priority).collect::<Vec<_>>())
        .bind(executions().map(|execution| execution.state.as_str()).collect::<Vec<_>>())
        .bind(executions().map(|execution| i64::from(execution.attempt)).collect::<Vec<_>>())
        .bind(executions().map(|execution| i64::from(execution.failures)).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.columns.version).collect::<Vec<_>>())
        .bind(executions().map(|execution| execution.run_after.as_millis()).collect::<Vec<_>>())
        .bind(executions().map(|execution| execution.created_at.as_millis()).collect::<Vec<_>>())
        .bind(moments(executions(), |execution| execution.started_at))
        .bind(moments(executions(), |execution| execution.completed_at))
        .bind(moments(executions(), |execution| execution.cancel_requested_at))
        .bind(inserts.iter().map(|insert| insert.columns.outcome.as_deref()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.columns.failure.as_deref()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.spec.as_str()).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.is_queue).collect::<Vec<_>>())
        .bind(executions().map(delay).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.takes_input).collect::<Vec<_>>())
        .bind(inserts.iter().map(|insert| insert.callback_url.as_deref()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
        let mut made = Vec::with_capacity(inserts.len());
        for insert in inserts {
            made.push(if inserted.contains(&insert.execution.id.as_uuid()) {
                Ok(Inserted::New)
            } else {
                insert.existing(connection).await
            });
        }
        Ok(made)
    }
}

/// Replaces an execution and adds to its log; makes how far that reaches.
#[derive(Debug)]
pub(super) struct Update {
    execution: Execution,
    columns: Columns,
    output: Vec<Output>,
    is_queue: bool,
}

impl Update {
    pub(super) fn new(execution: Execution, output: Vec<Output>, is_queue: bool) -> Result<Self> {
        Ok(Self { columns: Columns::of(&execution)?, execution, output, is_queue })
    }
}

impl Call for Update {
    type Made = Seq;

    fn joins(&self, others: &[Self]) -> bool {
        others.iter().all(|other| other.execution.id != self.execution.id)
    }

    fn bytes(&self) -> usize {
        self.output.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    async fn make(updates: &[Self], connection: &mut PgConnection) -> Result<Vec<Result<Seq>>, sqlx::Error> {
        let executions = || updates.iter().map(|update| &update.execution);
        let chunks = Chunks::of(updates.iter().map(|update| (update.execution.id, update.output.as_slice())));
        // All rows are locked first and in order: of two statements one waits for the other, never both. What the lock gives
        // is the latest of each, with which the rest works.
        let rows = sqlx::query(
            "WITH asked AS MATERIALIZED (
                 SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                     $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::bigint[], $13::boolean[])
                 AS asked (id, state, attempt, failures, version, run_after, started_at, completed_at, cancel_requested_at,
                     outcome, failure, added, is_queue)
             ), stored AS MATERIALIZED (
                 SELECT id, state, attempt, cancel_requested_at IS NOT NULL AS cancel_requested, version, completed_at, last_seq
                 FROM execution WHERE id = ANY($1) ORDER BY id FOR UPDATE
             ), changed AS MATERIALIZED (
                 SELECT asked.*, last_seq, (stored.state, stored.attempt, cancel_requested)
                     <> (asked.state, asked.attempt, cancel_requested_at IS NOT NULL) AS differs
                 FROM asked JOIN stored USING (id) WHERE stored.version = asked.version - 1 AND stored.completed_at IS NULL
             ), updated AS (
                 UPDATE execution SET state = changed.state, attempt = changed.attempt, failures = changed.failures,
                     version = changed.version, run_after = changed.run_after, started_at = changed.started_at,
                     completed_at = changed.completed_at, cancel_requested_at = changed.cancel_requested_at,
                     outcome = changed.outcome, failure = changed.failure, last_seq = changed.last_seq + added + differs::int
                 FROM changed WHERE execution.id = changed.id AND execution.id = ANY($1)
             ), written AS (
                 INSERT INTO output (execution_id, seq, attempt, stdio, bytes)
                 SELECT id, last_seq + place, attempt, stdio, bytes
                 FROM unnest($14::uuid[], $15::bigint[], $16::smallint[], $17::bytea[]) AS chunk (id, place, stdio, bytes)
                 JOIN changed USING (id)
             ), logged AS (
                 INSERT INTO event (execution_id, seq, state, attempt, cancel_requested)
                 SELECT id, last_seq + added + 1, state, attempt, cancel_requested_at IS NOT NULL FROM changed
                 WHERE differs AND completed_at IS NULL
             ), told AS (
                 UPDATE delivery SET due_at = changed.completed_at, version = delivery.version + 1
                 FROM changed WHERE execution_id = changed.id
                     AND execution_id = ANY(ARRAY(SELECT id FROM changed WHERE completed_at IS NOT NULL))
             ), removed AS (
                 -- The job that nobody holds; who holds one acknowledges it.
                 DELETE FROM job
                 WHERE execution_id = ANY(ARRAY(SELECT id FROM changed WHERE is_queue AND completed_at IS NOT NULL))
                     AND (state <> 'LEASED' OR due_at <= statement_timestamp())
             )
             SELECT id, stored.state, stored.version, changed.last_seq + added + differs::int AS last_seq
             FROM stored LEFT JOIN changed USING (id)",
        )
        .bind(ids(executions()))
        .bind(executions().map(|execution| execution.state.as_str()).collect::<Vec<_>>())
        .bind(executions().map(|execution| i64::from(execution.attempt)).collect::<Vec<_>>())
        .bind(executions().map(|execution| i64::from(execution.failures)).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.columns.version).collect::<Vec<_>>())
        .bind(executions().map(|execution| execution.run_after.as_millis()).collect::<Vec<_>>())
        .bind(moments(executions(), |execution| execution.started_at))
        .bind(moments(executions(), |execution| execution.completed_at))
        .bind(moments(executions(), |execution| execution.cancel_requested_at))
        .bind(updates.iter().map(|update| update.columns.outcome.as_deref()).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.columns.failure.as_deref()).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| length(&update.output)).collect::<Vec<_>>())
        .bind(updates.iter().map(|update| update.is_queue).collect::<Vec<_>>())
        .bind(chunks.ids)
        .bind(chunks.places)
        .bind(chunks.stdios)
        .bind(chunks.bytes)
        .fetch_all(connection)
        .await?;
        let stored = by_id(&rows);
        Ok(updates.iter().map(|update| update.made(stored.get(&update.execution.id).copied())).collect())
    }
}

impl Update {
    fn made(&self, stored: Option<&PgRow>) -> Result<Seq> {
        let id = self.execution.id;
        let stored = stored.ok_or_else(|| unknown(id))?;
        if column::<Option<i64>>(stored, "last_seq")?.is_some() {
            return rows::seq(stored, "last_seq");
        }
        check_version(format_args!("execution {id}"), column(stored, "version")?, self.columns.version)?;
        let state: State = rows::parsed(stored, "state")?;
        Err(Error::conflict(format!("execution {id} has ended: it is {state} and never changes")))
    }
}

/// Adds to the log of an execution that is running an attempt; makes how far it reaches.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) id: ExecutionId,
    pub(super) attempt: u32,
    pub(super) output: Vec<Output>,
}

impl Call for Append {
    type Made = Seq;

    fn joins(&self, others: &[Self]) -> bool {
        others.iter().all(|other| other.id != self.id)
    }

    fn bytes(&self) -> usize {
        self.output.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    async fn make(appends: &[Self], connection: &mut PgConnection) -> Result<Vec<Result<Seq>>, sqlx::Error> {
        let chunks = Chunks::of(appends.iter().map(|append| (append.id, append.output.as_slice())));
        let rows = sqlx::query(
            "WITH asked AS MATERIALIZED (
                 SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS asked (id, attempt, added)
             ), stored AS MATERIALIZED (
                 SELECT id, state, attempt, last_seq FROM execution WHERE id = ANY($1) ORDER BY id FOR UPDATE
             ), changed AS MATERIALIZED (
                 SELECT asked.*, last_seq FROM asked JOIN stored USING (id, attempt) WHERE state = 'RUNNING'
             ), updated AS (
                 UPDATE execution SET last_seq = changed.last_seq + added
                 FROM changed WHERE execution.id = changed.id AND execution.id = ANY($1)
             ), written AS (
                 INSERT INTO output (execution_id, seq, attempt, stdio, bytes)
                 SELECT id, last_seq + place, attempt, stdio, bytes
                 FROM unnest($4::uuid[], $5::bigint[], $6::smallint[], $7::bytea[]) AS chunk (id, place, stdio, bytes)
                 JOIN changed USING (id)
             )
             SELECT id, state, stored.attempt, changed.last_seq + added AS last_seq FROM stored LEFT JOIN changed USING (id)",
        )
        .bind(appends.iter().map(|append| append.id.as_uuid()).collect::<Vec<_>>())
        .bind(appends.iter().map(|append| i64::from(append.attempt)).collect::<Vec<_>>())
        .bind(appends.iter().map(|append| length(&append.output)).collect::<Vec<_>>())
        .bind(chunks.ids)
        .bind(chunks.places)
        .bind(chunks.stdios)
        .bind(chunks.bytes)
        .fetch_all(connection)
        .await?;
        let stored = by_id(&rows);
        Ok(appends.iter().map(|append| append.made(stored.get(&append.id).copied())).collect())
    }
}

impl Append {
    fn made(&self, stored: Option<&PgRow>) -> Result<Seq> {
        let (id, attempt) = (self.id, self.attempt);
        let stored = stored.ok_or_else(|| unknown(id))?;
        if column::<Option<i64>>(stored, "last_seq")?.is_some() {
            return rows::seq(stored, "last_seq");
        }
        let state: State = rows::parsed(stored, "state")?;
        let current = rows::count(stored, "attempt")?;
        Err(Error::conflict(format!(
            "execution {id} isn't running its attempt {attempt}: it is {state} with attempt {current}"
        )))
    }
}

/// Chunks of several executions, column by column; the place of each within its execution's is from 1.
#[derive(Default)]
struct Chunks<'o> {
    ids: Vec<Uuid>,
    places: Vec<i64>,
    stdios: Vec<i16>,
    bytes: Vec<&'o [u8]>,
}

impl<'o> Chunks<'o> {
    fn of(outputs: impl Iterator<Item = (ExecutionId, &'o [Output])>) -> Self {
        let mut chunks = Self::default();
        for (id, output) in outputs {
            for (place, chunk) in (1..).zip(output) {
                chunks.ids.push(id.as_uuid());
                chunks.places.push(place);
                chunks.stdios.push(descriptor(chunk.stdio));
                chunks.bytes.push(&chunk.bytes);
            }
        }
        chunks
    }
}

fn ids<'e>(executions: impl Iterator<Item = &'e Execution>) -> Vec<Uuid> {
    executions.map(|execution| execution.id.as_uuid()).collect()
}

fn moments<'e>(
    executions: impl Iterator<Item = &'e Execution>,
    moment: impl Fn(&Execution) -> Option<Timestamp>,
) -> Vec<Option<i64>> {
    executions.map(|execution| moment(execution).map(Timestamp::as_millis)).collect()
}

/// How long it isn't to be started, in microseconds.
fn delay(execution: &Execution) -> i64 {
    micros(execution.run_after.duration_since(execution.created_at))
}

fn length(output: &[Output]) -> i64 {
    i64::try_from(output.len()).unwrap_or(i64::MAX)
}

fn by_id(rows: &[PgRow]) -> HashMap<ExecutionId, &PgRow> {
    rows.iter().filter_map(|row| Some((column::<Uuid>(row, "id").ok()?.into(), row))).collect()
}

pub(super) fn unknown(id: ExecutionId) -> Error {
    Error::not_found(format_args!("execution {id}"))
}
