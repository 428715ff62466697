//! Changes to executions and their logs, within a transaction.
//!
//! Each is one or two calls of the driver, with several statements in the latter where it takes several: a call is a trip to
//! the connection's thread and back, which costs as much as a statement does. The parameters are those of all the
//! statements, one after the other.

use livecode_core::{
    Error, Execution, ExecutionId, Inserted, Output, Owner, Result, Seq, SessionId, State, Timestamp,
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    queue::millis,
    rows::{self, column},
    writer::{Failure, Transaction},
};
use crate::{
    error::{from_sqlx, is_taken},
    value::{check_version, descriptor, json, signed, unsigned},
};

pub(super) async fn get(connection: &mut SqliteConnection, id: ExecutionId) -> Result<Execution> {
    rows::execution(&row(connection, id).await?)
}

pub(super) async fn row(connection: &mut SqliteConnection, id: ExecutionId) -> Result<SqliteRow> {
    let row = sqlx::query("SELECT * FROM execution WHERE id = ?")
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await
        .map_err(from_sqlx)?;
    row.ok_or_else(|| unknown(id))
}

/// The row that has this idempotency key.
pub(super) async fn by_key(
    connection: &mut SqliteConnection,
    owner: &Owner,
    session: Option<SessionId>,
    key: &str,
) -> Result<Option<SqliteRow>, sqlx::Error> {
    sqlx::query(
        "SELECT * FROM execution
         WHERE owner = ? AND ifnull(session_id, x'') = ifnull(?, x'') AND idempotency_key = ?",
    )
    .bind(owner.as_str())
    .bind(session.map(SessionId::as_uuid))
    .bind(key)
    .fetch_optional(connection)
    .await
}

/// The statements that add an execution, and others.
macro_rules! insert {
    ($more:literal) => {
        concat!(
            "INSERT INTO execution (id, owner, session_id, revision, idempotency_key, language, priority, state, attempt, failures,
             version, run_after, created_at, started_at, completed_at, cancel_requested_at, outcome, failure, last_seq)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1);
         INSERT INTO spec (execution_id, spec) VALUES (?, ?);
         INSERT INTO event (execution_id, seq, state, attempt, cancel_requested) VALUES (?, 1, ?, ?, ?);
         INSERT INTO job (execution_id, attempt, owner, priority, state, due_at)
         SELECT ?, ?, ?, ?, ?, now + ? FROM clock WHERE ? ON CONFLICT DO NOTHING",
            $more
        )
    };
}

/// Adds an execution; `spec` is its specification as JSON, `takes_input` says that input may be sent to it, `callback_url` who is
/// told of its end, `is_queue` that its job belongs into this file's queue.
pub(super) async fn insert(
    transaction: Transaction<'_>,
    execution: Execution,
    spec: String,
    takes_input: bool,
    callback_url: Option<String>,
    is_queue: bool,
) -> Result<Inserted, Failure> {
    if let Some(key) = &execution.idempotency_key {
        let existing = by_key(transaction.connection, &execution.owner, execution.session_id, key).await?;
        if let Some(existing) = existing {
            return Ok(Inserted::Existing(Box::new(rows::execution(&existing)?)));
        }
    }
    let id = execution.id.as_uuid();
    let delay = millis(execution.run_after.duration_since(execution.created_at));
    let statements = match (takes_input, &callback_url) {
        (false, None) => insert!(""),
        (true, None) => insert!("; INSERT INTO stdin (execution_id) VALUES (?)"),
        (false, Some(_)) => insert!("; INSERT INTO delivery (execution_id, url) VALUES (?, ?)"),
        (true, Some(_)) => insert!(
            "; INSERT INTO stdin (execution_id) VALUES (?); INSERT INTO delivery (execution_id, url) VALUES (?, ?)"
        ),
    };
    let inserted = sqlx::query(transaction.only(statements))
        .bind(id)
        .bind(execution.owner.as_str())
        .bind(execution.session_id.map(SessionId::as_uuid))
        .bind(execution.revision.map(|revision| signed(revision.0)).transpose()?)
        .bind(&execution.idempotency_key)
        .bind(&execution.language)
        .bind(execution.priority)
        .bind(execution.state.as_str())
        .bind(execution.attempt)
        .bind(execution.failures)
        .bind(signed(execution.version)?)
        .bind(execution.run_after.as_millis())
        .bind(execution.created_at.as_millis())
        .bind(execution.started_at.map(Timestamp::as_millis))
        .bind(execution.completed_at.map(Timestamp::as_millis))
        .bind(execution.cancel_requested_at.map(Timestamp::as_millis))
        .bind(execution.outcome.as_ref().map(json).transpose()?)
        .bind(&execution.failure)
        // The specification.
        .bind(id)
        .bind(spec)
        // The first event.
        .bind(id)
        .bind(execution.state.as_str())
        .bind(execution.attempt)
        .bind(execution.cancel_requested_at.is_some())
        // The job.
        .bind(id)
        .bind(execution.attempt)
        .bind(execution.owner.as_str())
        .bind(execution.priority)
        .bind(if delay > 0 { "DELAYED" } else { "WAITING" })
        .bind(delay)
        .bind(is_queue);
    // That input may be sent to it.
    let inserted = if takes_input { inserted.bind(id) } else { inserted };
    // Who is told of its end.
    let inserted = match callback_url {
        Some(url) => inserted.bind(id).bind(url),
        None => inserted,
    };
    let inserted = inserted.execute(transaction.connection).await;
    match inserted {
        Ok(_) => Ok(Inserted::New),
        Err(error) if is_taken(&error) => {
            Err(Error::conflict(format!("execution {} is there already", execution.id)).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Replaces an execution and adds to its log; gives back how far that reaches.
pub(super) async fn update(
    transaction: Transaction<'_>,
    execution: Execution,
    output: Vec<Output>,
    is_queue: bool,
) -> Result<Seq, Failure> {
    let id = execution.id;
    let version = signed(execution.version)?;
    let before = version - 1;
    let has_ended = execution.state.is_terminal();
    let is_cancel_requested = execution.cancel_requested_at.is_some();
    let (places, bytes) = chunks(&output)?;
    let added = signed(output.len() as u64)?;
    // Each statement by itself sees to it that the record is the one that was changed. The last gives it its new state.
    let updated = sqlx::query(transaction.only(
        "INSERT INTO output (execution_id, seq, attempt, stdio, bytes)
         SELECT execution.id, last_seq + 1 + key, ?, value ->> 0, ifnull(substr(?, value ->> 1, value ->> 2), x'')
         FROM execution, json_each(?) WHERE execution.id = ? AND version = ? AND state IN ('QUEUED', 'RUNNING');
         INSERT INTO event (execution_id, seq, state, attempt, cancel_requested)
         SELECT id, last_seq + ? + 1, ?, ?, ? FROM execution
         WHERE ? AND (state, attempt, cancel_requested_at IS NOT NULL) <> (?, ?, ?)
             AND id = ? AND version = ? AND state IN ('QUEUED', 'RUNNING');
         DELETE FROM job WHERE ? AND execution_id IN
             (SELECT id FROM execution WHERE id = ? AND version = ? AND state IN ('QUEUED', 'RUNNING'))
             AND (state <> 'LEASED' OR due_at <= (SELECT now FROM clock));
         UPDATE execution SET state = ?, attempt = ?, failures = ?, version = ?, run_after = ?, started_at = ?,
             completed_at = ?, cancel_requested_at = ?, outcome = ?, failure = ?,
             last_seq = last_seq + ? + ((state, attempt, cancel_requested_at IS NOT NULL) <> (?, ?, ?))
         WHERE id = ? AND version = ? AND state IN ('QUEUED', 'RUNNING') RETURNING last_seq",
    ))
    // The output.
    .bind(execution.attempt)
    .bind(bytes)
    .bind(places)
    .bind(id.as_uuid())
    .bind(before)
    // The status, unless this is the end: that is the record itself.
    .bind(added)
    .bind(execution.state.as_str())
    .bind(execution.attempt)
    .bind(is_cancel_requested)
    .bind(!has_ended)
    .bind(execution.state.as_str())
    .bind(execution.attempt)
    .bind(is_cancel_requested)
    .bind(id.as_uuid())
    .bind(before)
    // The job that nobody holds; who holds one acknowledges it.
    .bind(is_queue && has_ended)
    .bind(id.as_uuid())
    .bind(before)
    // The record.
    .bind(execution.state.as_str())
    .bind(execution.attempt)
    .bind(execution.failures)
    .bind(version)
    .bind(execution.run_after.as_millis())
    .bind(execution.started_at.map(Timestamp::as_millis))
    .bind(execution.completed_at.map(Timestamp::as_millis))
    .bind(execution.cancel_requested_at.map(Timestamp::as_millis))
    .bind(execution.outcome.as_ref().map(json).transpose()?)
    .bind(&execution.failure)
    .bind(added)
    .bind(execution.state.as_str())
    .bind(execution.attempt)
    .bind(is_cancel_requested)
    .bind(id.as_uuid())
    .bind(before)
    .fetch_all(&mut *transaction.connection)
    .await?;
    match updated.first() {
        Some(updated) => Ok(Seq(unsigned(updated.try_get("last_seq")?)?)),
        None => Err(refused(transaction.connection, id, version).await),
    }
}

/// Why an execution isn't changed.
async fn refused(connection: &mut SqliteConnection, id: ExecutionId, version: i64) -> Failure {
    let stored = sqlx::query("SELECT state, version FROM execution WHERE id = ?")
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await;
    let checked = match stored {
        Err(error) => return error.into(),
        Ok(None) => Err(unknown(id)),
        Ok(Some(stored)) => column(&stored, "version")
            .and_then(|stored| check_version(format_args!("execution {id}"), stored, version))
            .and_then(|()| rows::parsed::<State>(&stored, "state")),
    };
    match checked {
        Ok(state) => {
            Error::conflict(format!("execution {id} has ended: it is {state} and never changes")).into()
        }
        Err(error) => error.into(),
    }
}

/// Adds to the log of an execution that is running this attempt; gives back how far it reaches.
pub(super) async fn append(
    transaction: Transaction<'_>,
    id: ExecutionId,
    attempt: u32,
    output: Vec<Output>,
) -> Result<Seq, Failure> {
    let (places, bytes) = chunks(&output)?;
    let grown = sqlx::query(transaction.only(
        "INSERT INTO output (execution_id, seq, attempt, stdio, bytes)
         SELECT execution.id, last_seq + 1 + key, attempt, value ->> 0, ifnull(substr(?, value ->> 1, value ->> 2), x'')
         FROM execution, json_each(?) WHERE execution.id = ? AND state = 'RUNNING' AND attempt = ?;
         UPDATE execution SET last_seq = last_seq + ? WHERE id = ? AND state = 'RUNNING' AND attempt = ?
         RETURNING last_seq",
    ))
    .bind(bytes)
    .bind(places)
    .bind(id.as_uuid())
    .bind(attempt)
    .bind(signed(output.len() as u64)?)
    .bind(id.as_uuid())
    .bind(attempt)
    .fetch_all(&mut *transaction.connection)
    .await?;
    let Some(grown) = grown.first() else {
        let stored = get(transaction.connection, id).await?;
        let message = format!(
            "execution {id} isn't running its attempt {attempt}: it is {} with attempt {}",
            stored.state, stored.attempt
        );
        return Err(Error::conflict(message).into());
    };
    Ok(Seq(unsigned(grown.try_get("last_seq")?)?))
}

/// Chunks as two parameters, however many they are: `[stream, first byte from 1, length]` of each as JSON, and all bytes.
/// (Of no bytes at all SQLite's `substr` makes NULL.)
fn chunks(output: &[Output]) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(output.iter().map(|chunk| chunk.bytes.len()).sum());
    let mut places = Vec::with_capacity(output.len());
    for chunk in output {
        places.push((descriptor(chunk.stdio), bytes.len() + 1, chunk.bytes.len()));
        bytes.extend_from_slice(&chunk.bytes);
    }
    Ok((json(&places)?, bytes))
}

pub(super) fn unknown(id: ExecutionId) -> Error {
    Error::not_found(format_args!("execution {id}"))
}
