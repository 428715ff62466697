//! Records as rows and back.

use std::str::FromStr;

use livecode_core::{
    Error, Execution, ExecutionSpec, Output, Owner, Result, Revision, RevisionHead, Seq, Session,
    SessionRevision, Source, Timestamp,
};
use sqlx::{Decode, Row, Sqlite, Type, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    error::from_sqlx,
    value::{damaged, stdio, unsigned},
};

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
    match column(row, "stdio")? {
        None => Ok(None),
        Some(descriptor) => Ok(Some(Output::new(stdio(descriptor)?, column::<Vec<u8>>(row, "bytes")?))),
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

/// An id within JSON, for `unhex`.
pub(super) fn hex(id: Uuid) -> String {
    id.simple().to_string()
}
