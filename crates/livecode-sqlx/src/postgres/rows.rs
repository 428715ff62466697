//! Records as rows and back.

use std::str::FromStr;

use livecode_core::{
    Error, Execution, ExecutionSpec, Output, Owner, Result, Revision, RevisionHead, Seq, Session,
    SessionRevision, Source, Timestamp,
};
use serde::de::DeserializeOwned;
use sqlx::{Decode, Postgres, Row, Type, postgres::PgRow};
use uuid::Uuid;

use crate::{
    error::from_sqlx,
    value::{damaged, stdio, unsigned},
};

pub(super) fn execution(row: &PgRow) -> Result<Execution> {
    Ok(Execution {
        id: column::<Uuid>(row, "id")?.into(),
        owner: Owner::new(column::<String>(row, "owner")?).map_err(damaged)?,
        session_id: column::<Option<Uuid>>(row, "session_id")?.map(Into::into),
        revision: column::<Option<i64>>(row, "revision")?.map(unsigned).transpose()?.map(Revision),
        idempotency_key: optional_from_json(row, "idempotency_key")?,
        language: from_json(row, "language")?,
        priority: column(row, "priority")?,
        state: parsed(row, "state")?,
        attempt: count(row, "attempt")?,
        failures: count(row, "failures")?,
        version: unsigned(column(row, "version")?)?,
        run_after: required_moment(row, "run_after")?,
        created_at: required_moment(row, "created_at")?,
        started_at: moment(row, "started_at")?,
        completed_at: moment(row, "completed_at")?,
        cancel_requested_at: moment(row, "cancel_requested_at")?,
        outcome: optional_from_json(row, "outcome")?,
        failure: optional_from_json(row, "failure")?,
    })
}

pub(super) fn spec(row: &PgRow) -> Result<ExecutionSpec> {
    from_json(row, "spec")
}

pub(super) fn session(row: &PgRow) -> Result<Session> {
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

pub(super) fn revision_head(row: &PgRow) -> Result<RevisionHead> {
    Ok(RevisionHead {
        revision: Revision(unsigned(column(row, "revision")?)?),
        language: from_json(row, "language")?,
        saved_at: required_moment(row, "saved_at")?,
    })
}

pub(super) fn revision(row: &PgRow) -> Result<SessionRevision> {
    Ok(SessionRevision {
        revision: Revision(unsigned(column(row, "revision")?)?),
        source: source(row)?,
        saved_at: required_moment(row, "saved_at")?,
    })
}

/// A chunk, where the row has one: an outer join may have none.
pub(super) fn output(row: &PgRow) -> Result<Option<Output>> {
    match column(row, "stdio")? {
        None => Ok(None),
        Some(descriptor) => Ok(Some(Output::new(stdio(descriptor)?, column::<Vec<u8>>(row, "bytes")?))),
    }
}

fn source(row: &PgRow) -> Result<Source> {
    from_json(row, "source")
}

pub(super) fn seq(row: &PgRow, name: &'static str) -> Result<Seq> {
    Ok(Seq(unsigned(column(row, name)?)?))
}

/// An unsigned number of 32 bits, for which the database has no type.
pub(super) fn count(row: &PgRow, name: &'static str) -> Result<u32> {
    u32::try_from(column::<i64>(row, name)?).map_err(damaged)
}

pub(super) fn column<'r, T: Decode<'r, Postgres> + Type<Postgres>>(
    row: &'r PgRow,
    name: &'static str,
) -> Result<T> {
    row.try_get(name).map_err(from_sqlx)
}

pub(super) fn parsed<T: FromStr<Err = Error>>(row: &PgRow, name: &'static str) -> Result<T> {
    column::<&str>(row, name)?.parse().map_err(damaged)
}

pub(super) fn from_json<T: DeserializeOwned>(row: &PgRow, name: &'static str) -> Result<T> {
    serde_json::from_str(column(row, name)?).map_err(damaged)
}

pub(super) fn optional_from_json<T: DeserializeOwned>(row: &PgRow, name: &'static str) -> Result<Option<T>> {
    column::<Option<&str>>(row, name)?.map(serde_json::from_str).transpose().map_err(damaged)
}

pub(super) fn moment(row: &PgRow, name: &'static str) -> Result<Option<Timestamp>> {
    column::<Option<i64>>(row, name)?.map(Timestamp::from_millis).transpose().map_err(damaged)
}

pub(super) fn required_moment(row: &PgRow, name: &'static str) -> Result<Timestamp> {
    Timestamp::from_millis(column(row, name)?).map_err(damaged)
}
