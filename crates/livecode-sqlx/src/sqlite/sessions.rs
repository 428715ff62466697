//! Changes to sessions, within a transaction.

use livecode_core::{Error, Revision, Session, SessionId};
use sqlx::SqliteConnection;

use super::{rows::column, writer::Failure};
use crate::{
    error::is_taken,
    value::{check_version, signed},
};

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    session: Session,
    source: String,
) -> Result<(), Failure> {
    let (revision, version) = (signed(session.revision.0)?, signed(session.version)?);
    let inserted = sqlx::query(
        "INSERT INTO session (id, owner, status, revision, version, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, ?, ?);
         INSERT INTO session_revision (session_id, revision, language, saved_at, source) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(session.id.as_uuid())
    .bind(session.owner.as_str())
    .bind(session.status.as_str())
    .bind(revision)
    .bind(version)
    .bind(session.created_at.as_millis())
    .bind(session.updated_at.as_millis())
    .bind(session.id.as_uuid())
    .bind(revision)
    .bind(&session.source.language)
    .bind(session.updated_at.as_millis())
    .bind(source)
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if is_taken(&error) => {
            Err(Error::conflict(format!("session {} is there already", session.id)).into())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn update(
    connection: &mut SqliteConnection,
    session: Session,
    source: String,
) -> Result<(), Failure> {
    let stored = sqlx::query("SELECT revision, version FROM session WHERE id = ?")
        .bind(session.id.as_uuid())
        .fetch_optional(&mut *connection)
        .await?
        .ok_or_else(|| unknown(session.id))?;
    let (revision, version) = (signed(session.revision.0)?, signed(session.version)?);
    check_version(format_args!("session {}", session.id), column(&stored, "version")?, version)?;
    let saved = revision > column(&stored, "revision")?;
    sqlx::query(
        "UPDATE session SET status = ?, revision = ?, version = ?, updated_at = ? WHERE id = ?;
         INSERT INTO session_revision (session_id, revision, language, saved_at, source) SELECT ?, ?, ?, ?, ? WHERE ?",
    )
    .bind(session.status.as_str())
    .bind(revision)
    .bind(version)
    .bind(session.updated_at.as_millis())
    .bind(session.id.as_uuid())
    .bind(session.id.as_uuid())
    .bind(revision)
    .bind(&session.source.language)
    .bind(session.updated_at.as_millis())
    .bind(source)
    .bind(saved)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) fn unknown_revision(id: SessionId, revision: Revision) -> Error {
    Error::not_found(format_args!("revision {revision} of session {id}"))
}

pub(super) fn unknown(id: SessionId) -> Error {
    Error::not_found(format_args!("session {id}"))
}
