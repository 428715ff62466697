//! Which executions are old, and their end.

use livecode_core::{ExecutionId, PruneQuery, Result, Timestamp};
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::{
    rows::{column, hex, required_moment},
    writer::Failure,
};
use crate::{
    error::from_sqlx,
    value::{at_most, json},
};

/// What was looked at.
pub(super) struct Page {
    /// What isn't kept.
    pub(super) old: Vec<ExecutionId>,
    /// The last one, where there may be more after it.
    pub(super) last: Option<(Timestamp, ExecutionId)>,
}

/// Looks without the write lock: what has ended never changes, and what isn't among the newest of its session never will be.
pub(super) async fn page(readers: &SqlitePool, query: &PruneQuery) -> Result<Page> {
    let (after, after_id) = match query.after {
        Some((at, id)) => (at.as_millis(), id.as_uuid()),
        None => (i64::MIN, Uuid::nil()),
    };
    let rows = sqlx::query(
        "SELECT id, completed_at, session_id IS NOT NULL AND (SELECT count(*) FROM
             (SELECT 1 FROM execution WHERE session_id = old.session_id AND id > old.id LIMIT ?1)) < ?1 AS is_kept
         FROM execution AS old
         WHERE completed_at < ?2 AND (completed_at, id) > (?3, ?4) ORDER BY completed_at, id LIMIT ?5",
    )
    .bind(at_most(query.keep_per_session as u64))
    .bind(query.ended_before.as_millis())
    .bind(after)
    .bind(after_id)
    .bind(at_most(query.limit as u64))
    .fetch_all(readers)
    .await
    .map_err(from_sqlx)?;
    let (mut old, mut last) = (Vec::new(), None);
    for row in &rows {
        let id = column::<Uuid>(row, "id")?.into();
        last = Some((required_moment(row, "completed_at")?, id));
        if !column::<bool>(row, "is_kept")? {
            old.push(id);
        }
    }
    Ok(Page { old, last: last.filter(|_| rows.len() == query.limit) })
}

/// Deletes executions and, by the schema, all that belongs to them; gives back how many were there.
pub(super) async fn delete(
    connection: &mut SqliteConnection,
    old: Vec<ExecutionId>,
) -> Result<usize, Failure> {
    let ids: Vec<_> = old.iter().map(|id| hex(id.as_uuid())).collect();
    let deleted = sqlx::query("DELETE FROM execution WHERE id IN (SELECT unhex(value) FROM json_each(?1))")
        .bind(json(&ids)?)
        .execute(connection)
        .await?;
    Ok(usize::try_from(deleted.rows_affected()).unwrap_or(usize::MAX))
}
