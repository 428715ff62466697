//! Changes to sessions, within a transaction.

use livecode_core::{Error, Result, Session, SessionId};
use sqlx::SqliteConnection;

use super::rows::{check_version, column, is_taken, signed};
use crate::error::from_sqlx;

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    session: Session,
    source: String,
) -> Result<()> {
    let inserted = sqlx::query(
        "INSERT INTO session (id, owner, status, revision, version, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(session.id.as_uuid())
    .bind(session.owner.as_str())
    .bind(session.status.as_str())
    .bind(signed(session.revision.0)?)
    .bind(signed(session.version)?)
    .bind(session.created_at.as_millis())
    .bind(session.updated_at.as_millis())
    .execute(&mut *connection)
    .await;
    match inserted {
        Ok(_) => insert_revision(connection, &session, source).await,
        Err(error) if is_taken(&error) => Err(Error::conflict(format!(
            "session {} is there already",
            session.id
        ))),
        Err(error) => Err(from_sqlx(error)),
    }
}

pub(super) async fn update(
    connection: &mut SqliteConnection,
    session: Session,
    source: String,
) -> Result<()> {
    let stored = sqlx::query("SELECT revision, version FROM session WHERE id = ?1")
        .bind(session.id.as_uuid())
        .fetch_optional(&mut *connection)
        .await
        .map_err(from_sqlx)?
        .ok_or_else(|| unknown(session.id))?;
    check_version(
        format_args!("session {}", session.id),
        column(&stored, "version")?,
        session.version,
    )?;
    if signed(session.revision.0)? > column(&stored, "revision")? {
        insert_revision(connection, &session, source).await?;
    }
    sqlx::query("UPDATE session SET status = ?2, revision = ?3, version = ?4, updated_at = ?5 WHERE id = ?1")
        .bind(session.id.as_uuid())
        .bind(session.status.as_str())
        .bind(signed(session.revision.0)?)
        .bind(signed(session.version)?)
        .bind(session.updated_at.as_millis())
        .execute(connection)
        .await
        .map_err(from_sqlx)?;
    Ok(())
}

async fn insert_revision(connection: &mut SqliteConnection, session: &Session, source: String) -> Result<()> {
    sqlx::query(
        "INSERT INTO session_revision (session_id, revision, source, saved_at) VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(session.id.as_uuid())
    .bind(signed(session.revision.0)?)
    .bind(source)
    .bind(session.updated_at.as_millis())
    .execute(connection)
    .await
    .map_err(from_sqlx)?;
    Ok(())
}

pub(super) fn unknown(id: SessionId) -> Error {
    Error::not_found(format_args!("session {id}"))
}
