//! Records as rows and back.

use std::{fmt, str::FromStr};

use livecode_core::{
    Error, Execution, ExecutionSpec, Output, Owner, Result, Revision, RevisionHead, Seq, Session,
    SessionRevision, Source, Stdio, Timestamp,
};
use serde::Serialize;
use sqlx::{Decode, Row, Sqlite, Type, sqlite::SqliteRow};
use uuid::Uuid;

use crate::error::from_sqlx;

pub(super) fn execution(row: &SqliteRow) -> Result<Execution> {
    let outcome: Option<&str> = column(row, "outcome")?;
    Ok(Execution {
        id: column::<Uuid>(row, "id")?.into(),
        owner: Owner::new(column::<String>(row, "owner")?).map_err(damaged)?,
        session_id: column::<Option<Uuid>>(row, "session_id")?.map(Into::into),
        revision: column::<Option<i64>>(row, "revision")?.map(unsigned).transpose()?.map(Revision),
        idempotency_key: column(row, "idempotency_key")?,
        language: column(row, "language")?,
        priority: column(row, "priority")?,
        state: parsed(row, "state")?,
        attempt: column(row, "attempt")?,
        failures: column(row, "failures")?,
        version: unsigned(column(row, "version")?)?,
        run_after: required_moment(row, "run_after")?,
        created_at: required_moment(row, "created_at")?,
        started_at: moment(row, "started_at")?,
        completed_at: moment(row, "completed_at")?,
        cancel_requested_at: moment(row, "cancel_requested_at")?,
        outcome: outcome.map(serde_json::from_str).transpose().map_err(damaged)?,
        failure: column(row, "failure")?,
    })
}

pub(super) fn spec(row: &SqliteRow) -> Result<ExecutionSpec> {
    serde_json::from_str(column(row, "spec")?).map_err(damaged)
}

pub(super) fn session(row: &SqliteRow) -> Result<Session> {
    Ok(Session {
        id: column::<Uuid>(row, "id")?.into(),
        owner: Owner::new(column::<String>(row, "owner")?).map_err(damaged)?,
        status: parsed(row, "status")?,
        revision: Revision(unsigned(column(row, "revision")?)?),
        source: source(row)?,
        version: unsigned(column(row, "version")?)?,
        created_at: required_moment(row, "created_at")?,
        updated_at: required_moment(row, "updated_at")?,
    })
}

pub(super) fn revision_head(row: &SqliteRow) -> Result<RevisionHead> {
    Ok(RevisionHead {
        revision: Revision(unsigned(column(row, "revision")?)?),
        language: column(row, "language")?,
        saved_at: required_moment(row, "saved_at")?,
    })
}

pub(super) fn revision(row: &SqliteRow) -> Result<SessionRevision> {
    Ok(SessionRevision {
        revision: Revision(unsigned(column(row, "revision")?)?),
        source: source(row)?,
        saved_at: required_moment(row, "saved_at")?,
    })
}

/// A chunk, where the row has one: an outer join may have none.
pub(super) fn output(row: &SqliteRow) -> Result<Option<Output>> {
    let stdio = match column::<Option<i64>>(row, "stdio")? {
        None => return Ok(None),
        Some(1) => Stdio::Stdout,
        Some(2) => Stdio::Stderr,
        Some(other) => return Err(damaged(format!("{other} is no output stream"))),
    };
    Ok(Some(Output::new(stdio, column::<Vec<u8>>(row, "bytes")?)))
}

/// The program's own number of its stream.
pub(super) fn descriptor(stdio: Stdio) -> i64 {
    match stdio {
        Stdio::Stdout => 1,
        Stdio::Stderr => 2,
    }
}

fn source(row: &SqliteRow) -> Result<Source> {
    serde_json::from_str(column(row, "source")?).map_err(damaged)
}

pub(super) fn seq(row: &SqliteRow, name: &'static str) -> Result<Seq> {
    Ok(Seq(unsigned(column(row, name)?)?))
}

pub(super) fn column<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(
    row: &'r SqliteRow,
    name: &'static str,
) -> Result<T> {
    row.try_get(name).map_err(from_sqlx)
}

pub(super) fn parsed<T: FromStr<Err = Error>>(row: &SqliteRow, name: &'static str) -> Result<T> {
    column::<&str>(row, name)?.parse().map_err(damaged)
}

pub(super) fn moment(row: &SqliteRow, name: &'static str) -> Result<Option<Timestamp>> {
    column::<Option<i64>>(row, name)?.map(Timestamp::from_millis).transpose().map_err(damaged)
}

pub(super) fn required_moment(row: &SqliteRow, name: &'static str) -> Result<Timestamp> {
    Timestamp::from_millis(column(row, name)?).map_err(damaged)
}

pub(super) fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(damaged)
}

/// SQLite's integers have a sign. No count of ours gets that far by counting.
pub(super) fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| {
        Error::invalid(format!("{number} is more than the database can count")).with_source(error)
    })
}

/// As JSON text, which never has a NUL in it.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a record can't be written as JSON").with_source(error))
}

pub(super) fn check_version(what: fmt::Arguments<'_>, stored: i64, new: i64) -> Result<()> {
    if new == stored.saturating_add(1) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "{what} was changed meanwhile: version {new} doesn't follow on {stored}; read it again"
    )))
}

/// A unique index has an entry for this already.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// An id within JSON, for `unhex`.
pub(super) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal("the database holds a record that can't be read: was it changed by another program?")
        .with_source(error)
}
