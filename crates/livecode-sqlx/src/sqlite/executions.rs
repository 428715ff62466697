//! Changes to executions and their logs, within a transaction.

use livecode_core::{
    Error, Execution, ExecutionId, Inserted, Job, Output, Result, Seq, SessionId, Timestamp,
};
use sqlx::SqliteConnection;

use super::{
    queue,
    rows::{self, check_version, column, is_taken, json, select_execution, signed},
};
use crate::error::from_sqlx;

pub(super) async fn get(connection: &mut SqliteConnection, id: ExecutionId) -> Result<Execution> {
    let row = sqlx::query(select_execution!("WHERE id = ?1"))
        .bind(id.as_uuid())
        .fetch_optional(connection)
        .await
        .map_err(from_sqlx)?;
    rows::execution(&row.ok_or_else(|| unknown(id))?)
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    execution: Execution,
    spec: String,
    is_queue: bool,
) -> Result<Inserted> {
    if let Some(key) = &execution.idempotency_key {
        let existing = sqlx::query(select_execution!(
            "WHERE owner = ?1 AND ifnull(session_id, x'') = ifnull(?2, x'') AND idempotency_key = ?3"
        ))
        .bind(execution.owner.as_str())
        .bind(execution.session_id.map(SessionId::as_uuid))
        .bind(key)
        .fetch_optional(&mut *connection)
        .await
        .map_err(from_sqlx)?;
        if let Some(existing) = existing {
            return Ok(Inserted::Existing(Box::new(rows::execution(&existing)?)));
        }
    }
    let first = Seq::START.next();
    let inserted = sqlx::query(
        "INSERT INTO execution (id, owner, session_id, revision, idempotency_key, priority, state, attempt, failures,
             version, run_after, created_at, started_at, completed_at, cancel_requested_at, outcome, failure, last_seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )
    .bind(execution.id.as_uuid())
    .bind(execution.owner.as_str())
    .bind(execution.session_id.map(SessionId::as_uuid))
    .bind(execution.revision.map(|revision| signed(revision.0)).transpose()?)
    .bind(&execution.idempotency_key)
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
    .bind(signed(first.0)?)
    .execute(&mut *connection)
    .await;
    match inserted {
        Ok(_) => {}
        Err(error) if is_taken(&error) => {
            return Err(Error::conflict(format!(
                "execution {} is there already",
                execution.id
            )));
        }
        Err(error) => return Err(from_sqlx(error)),
    }
    sqlx::query("INSERT INTO spec (execution_id, spec) VALUES (?1, ?2)")
        .bind(execution.id.as_uuid())
        .bind(spec)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    insert_event(connection, &execution, first).await?;
    if is_queue {
        let job = Job {
            id: execution.id,
            attempt: execution.attempt,
            delay: execution.run_after.duration_since(execution.created_at),
            priority: execution.priority,
        };
        queue::push(connection, &[job]).await?;
    }
    Ok(Inserted::New)
}

pub(super) async fn update(
    connection: &mut SqliteConnection,
    execution: Execution,
    output: Vec<Output>,
    is_queue: bool,
) -> Result<Seq> {
    let id = execution.id;
    let stored = sqlx::query(
        "SELECT state, attempt, cancel_requested_at, version, last_seq FROM execution WHERE id = ?1",
    )
    .bind(id.as_uuid())
    .fetch_optional(&mut *connection)
    .await
    .map_err(from_sqlx)?
    .ok_or_else(|| unknown(id))?;
    check_version(
        format_args!("execution {id}"),
        column(&stored, "version")?,
        execution.version,
    )?;
    let before = Execution {
        state: rows::parsed(&stored, "state")?,
        attempt: column(&stored, "attempt")?,
        cancel_requested_at: rows::moment(&stored, "cancel_requested_at")?,
        ..execution.clone()
    };
    if before.state.is_terminal() {
        return Err(Error::conflict(format!(
            "execution {id} has ended: it is {} and never changes",
            before.state
        )));
    }
    let after = rows::seq(&stored, "last_seq")?;
    let mut last = Seq(after.0.saturating_add(output.len() as u64));
    let differs = execution.status_differs(&before);
    if differs {
        last = last.next();
    }
    sqlx::query(
        "UPDATE execution SET state = ?2, attempt = ?3, failures = ?4, version = ?5, run_after = ?6, started_at = ?7,
             completed_at = ?8, cancel_requested_at = ?9, outcome = ?10, failure = ?11, last_seq = ?12 WHERE id = ?1",
    )
    .bind(id.as_uuid())
    .bind(execution.state.as_str())
    .bind(execution.attempt)
    .bind(execution.failures)
    .bind(signed(execution.version)?)
    .bind(execution.run_after.as_millis())
    .bind(execution.started_at.map(Timestamp::as_millis))
    .bind(execution.completed_at.map(Timestamp::as_millis))
    .bind(execution.cancel_requested_at.map(Timestamp::as_millis))
    .bind(execution.outcome.as_ref().map(json).transpose()?)
    .bind(&execution.failure)
    .bind(signed(last.0)?)
    .execute(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    insert_output(connection, id, execution.attempt, after, &output).await?;
    if execution.state.is_terminal() {
        if is_queue {
            queue::forget(connection, id).await?;
        }
    } else if differs {
        insert_event(connection, &execution, last).await?;
    }
    Ok(last)
}

pub(super) async fn append(
    connection: &mut SqliteConnection,
    id: ExecutionId,
    attempt: u32,
    output: Vec<Output>,
) -> Result<Seq> {
    let count = output.len() as u64;
    let grown = sqlx::query(
        "UPDATE execution SET last_seq = last_seq + ?3 WHERE id = ?1 AND state = 'RUNNING' AND attempt = ?2
         RETURNING last_seq",
    )
    .bind(id.as_uuid())
    .bind(attempt)
    .bind(signed(count)?)
    .fetch_optional(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    let Some(grown) = grown else {
        let stored = get(connection, id).await?;
        return Err(Error::conflict(format!(
            "execution {id} isn't running its attempt {attempt}: it is {} with attempt {}",
            stored.state, stored.attempt
        )));
    };
    let last = rows::seq(&grown, "last_seq")?;
    insert_output(
        connection,
        id,
        attempt,
        Seq(last.0.saturating_sub(count)),
        &output,
    )
    .await?;
    Ok(last)
}

/// Adds the status to the log. An end isn't added: it's the record itself.
async fn insert_event(connection: &mut SqliteConnection, execution: &Execution, seq: Seq) -> Result<()> {
    sqlx::query(
        "INSERT INTO event (execution_id, seq, state, attempt, cancel_requested) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(execution.id.as_uuid())
    .bind(signed(seq.0)?)
    .bind(execution.state.as_str())
    .bind(execution.attempt)
    .bind(execution.cancel_requested_at.is_some())
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

/// Adds chunks to the log behind `after`.
async fn insert_output(
    connection: &mut SqliteConnection,
    id: ExecutionId,
    attempt: u32,
    after: Seq,
    output: &[Output],
) -> Result<()> {
    for (seq, Output { stdio, bytes }) in (after.0..).skip(1).zip(output) {
        sqlx::query(
            "INSERT INTO output (execution_id, seq, attempt, stdio, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(id.as_uuid())
        .bind(signed(seq)?)
        .bind(attempt)
        .bind(rows::descriptor(*stdio))
        .bind(bytes.as_ref())
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    }
    Ok(())
}

pub(super) fn unknown(id: ExecutionId) -> Error {
    Error::not_found(format_args!("execution {id}"))
}
