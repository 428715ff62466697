//! Which executions are old, and their end.

use livecode_core::{ExecutionId, PruneQuery, Result, Timestamp};
use uuid::Uuid;

use super::{
    connections::Connections,
    rows::{column, required_moment},
};
use crate::{error::from_sqlx, value::at_most};

/// What was looked at.
pub(super) struct Page {
    /// What isn't kept.
    pub(super) old: Vec<Uuid>,
    /// The last one, where there may be more after it.
    pub(super) last: Option<(Timestamp, ExecutionId)>,
}

/// Looks without any lock: what has ended never changes, and what isn't among the newest of its session never will be.
pub(super) async fn page(connections: &Connections, query: &PruneQuery) -> Result<Page> {
    let (after, after_id) = match query.after {
        Some((at, id)) => (at.as_millis(), id.as_uuid()),
        None => (i64::MIN, Uuid::nil()),
    };
    let select = sqlx::query(
        "SELECT id, completed_at, session_id IS NOT NULL AND (SELECT count(*) FROM
             (SELECT FROM execution WHERE session_id = old.session_id AND id > old.id LIMIT $1) AS newer) < $1 AS is_kept
         FROM execution AS old
         WHERE completed_at < $2 AND (completed_at, id) > ($3, $4) ORDER BY completed_at, id LIMIT $5",
    )
    .bind(at_most(query.keep_per_session as u64))
    .bind(query.ended_before.as_millis())
    .bind(after)
    .bind(after_id)
    .bind(at_most(query.limit as u64));
    let rows = connections.rows(select).await.map_err(from_sqlx)?;
    let (mut old, mut last) = (Vec::new(), None);
    for row in &rows {
        let id: Uuid = column(row, "id")?;
        last = Some((required_moment(row, "completed_at")?, id.into()));
        if !column::<bool>(row, "is_kept")? {
            old.push(id);
        }
    }
    Ok(Page { old, last: last.filter(|_| rows.len() == query.limit) })
}

/// Deletes executions and all that belongs to them; gives back how many were there. By their index they are locked in the order
/// of their ids: of two who delete the same one waits for the other, never both.
pub(super) async fn delete(connections: &Connections, old: Vec<Uuid>) -> Result<usize> {
    let delete = sqlx::query(
        "WITH deleted AS MATERIALIZED (DELETE FROM execution WHERE id = ANY($1) RETURNING id),
             asks AS (DELETE FROM spec WHERE execution_id = ANY(ARRAY(SELECT id FROM deleted))),
             logged AS (DELETE FROM event WHERE execution_id = ANY(ARRAY(SELECT id FROM deleted))),
             written AS (DELETE FROM output WHERE execution_id = ANY(ARRAY(SELECT id FROM deleted))),
             opened AS (DELETE FROM stdin WHERE execution_id = ANY(ARRAY(SELECT id FROM deleted))),
             told AS (DELETE FROM delivery WHERE execution_id = ANY(ARRAY(SELECT id FROM deleted))),
             sent AS (DELETE FROM input WHERE execution_id = ANY(ARRAY(SELECT id FROM deleted)))
         SELECT id FROM deleted",
    )
    .bind(old);
    Ok(connections.rows(delete).await.map_err(from_sqlx)?.len())
}
