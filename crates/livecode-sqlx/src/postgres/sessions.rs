//! Changes to sessions: each is one statement, and so a transaction.

use super::{connections::Connections, rows::column};
use crate::{
    error::{from_sqlx, is_taken},
    value::{check_version, json, signed},
};
use livecode_core::{Error, Result, Revision, Session, SessionId};

pub(super) async fn insert(connections: &Connections, session: &Session) -> Result<()> {
    let insert = sqlx::query(
        "WITH inserted AS (
             INSERT INTO session (id, owner, status, revision, version, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
         )
         INSERT INTO session_revision (session_id, revision, language, saved_at, source) VALUES ($1, $4, $8, $7, $9)",
    )
    .bind(session.id.as_uuid())
    .bind(session.owner.as_str())
    .bind(session.status.as_str())
    .bind(signed(session.revision.0)?)
    .bind(signed(session.version)?)
    .bind(session.created_at.as_millis())
    .bind(session.updated_at.as_millis())
    .bind(json(&session.source.language)?)
    .bind(json(&session.source)?);
    match connections.row(insert).await {
        Ok(_) => Ok(()),
        Err(error) if is_taken(&error) => {
            Err(Error::conflict(format!("session {} is there already", session.id)))
        }
        Err(error) => Err(from_sqlx(error)),
    }
}

pub(super) async fn update(connections: &Connections, session: &Session) -> Result<()> {
    let (revision, version) = (signed(session.revision.0)?, signed(session.version)?);
    let update = sqlx::query(
        "WITH stored AS MATERIALIZED (
             SELECT revision, version FROM session WHERE id = $1 FOR UPDATE
         ), updated AS (
             UPDATE session SET status = $2, revision = $3, version = $4, updated_at = $5
             FROM stored WHERE id = $1 AND stored.version = $4 - 1
         ), saved AS (
             INSERT INTO session_revision (session_id, revision, language, saved_at, source)
             SELECT $1, $3, $6, $5, $7 FROM stored WHERE version = $4 - 1 AND revision < $3
         )
         SELECT version FROM stored",
    )
    .bind(session.id.as_uuid())
    .bind(session.status.as_str())
    .bind(revision)
    .bind(version)
    .bind(session.updated_at.as_millis())
    .bind(json(&session.source.language)?)
    .bind(json(&session.source)?);
    let stored = connections.row(update).await.map_err(from_sqlx)?;
    let stored = stored.ok_or_else(|| unknown(session.id))?;
    check_version(format_args!("session {}", session.id), column(&stored, "version")?, version)
}

pub(super) fn unknown_revision(id: SessionId, revision: Revision) -> Error {
    Error::not_found(format_args!("revision {revision} of session {id}"))
}

pub(super) fn unknown(id: SessionId) -> Error {
    Error::not_found(format_args!("session {id}"))
}
