//! What is sent to an execution while it's there.

use std::sync::Arc;

use bytes::Bytes;
use livecode_core::{ExecutionId, Input, Result, Seq, State};
use tokio::sync::watch;

use super::{
    Database, executions,
    rows::{self, column},
};
use crate::{
    error::from_sqlx,
    inputs::{self, MOST, PAGE, Page, refused},
    value::{at_most, unsigned},
};

/// Adds a piece, or the end; gives back its place.
pub(super) async fn add(database: &Database, id: ExecutionId, bytes: Option<Bytes>) -> Result<Seq> {
    let counts = inputs::counts(bytes.as_ref())?;
    // Whoever waits for the row's lock goes by the latest of it.
    let add = sqlx::query(
        "WITH grown AS (
             UPDATE stdin SET last_seq = last_seq + 1, size = size + $2, ended = $3
             WHERE execution_id = $1 AND NOT ended AND size + $2 <= $4
                 AND (SELECT completed_at IS NULL FROM execution WHERE id = $1)
             RETURNING execution_id, last_seq
         ), added AS (
             INSERT INTO input (execution_id, seq, bytes) SELECT execution_id, last_seq, $5 FROM grown
         )
         SELECT last_seq FROM grown",
    )
    .bind(id.as_uuid())
    .bind(counts)
    .bind(bytes.is_none())
    .bind(MOST)
    .bind(bytes.as_deref());
    if let Some(added) = database.connections.row(add).await.map_err(from_sqlx)? {
        return rows::seq(&added, "last_seq");
    }
    let select =
        sqlx::query("SELECT state, ended FROM execution LEFT JOIN stdin ON execution_id = id WHERE id = $1")
            .bind(id.as_uuid());
    let stored = database.connections.row(select).await.map_err(from_sqlx)?;
    let stored = stored.ok_or_else(|| executions::unknown(id))?;
    let state: State = rows::parsed(&stored, "state")?;
    Err(refused(id, state, column(&stored, "ended")?))
}

pub(super) struct Inputs {
    pub(super) database: Arc<Database>,
    pub(super) id: ExecutionId,
}

impl inputs::Inputs for Inputs {
    fn grown(&self) -> watch::Receiver<Seq> {
        self.database.waiters.input(self.id)
    }

    async fn page(&self, after: Seq) -> Result<Page> {
        // One row at least where there is such an execution.
        let select = sqlx::query(
            "SELECT seq, bytes, ended IS NOT NULL AS is_open, ended AND stdin.last_seq <= $2 AS is_over
             FROM execution LEFT JOIN stdin ON stdin.execution_id = id
             LEFT JOIN input ON input.execution_id = stdin.execution_id AND input.execution_id = $1 AND seq > $2
             WHERE id = $1 ORDER BY seq LIMIT $3",
        )
        .bind(self.id.as_uuid())
        .bind(at_most(after.0))
        .bind(PAGE);
        let rows = self.database.connections.rows(select).await.map_err(from_sqlx)?;
        let first = rows.first().ok_or_else(|| executions::unknown(self.id))?;
        let goes_on = column(first, "is_open")? && column::<Option<bool>>(first, "is_over")? != Some(true);
        let mut page = Page { goes_on, ..Page::default() };
        for row in &rows {
            if let Some(seq) = column::<Option<i64>>(row, "seq")? {
                let bytes = column::<Option<Vec<u8>>>(row, "bytes")?.map(Bytes::from);
                page.pieces.push_back(Input { seq: Seq(unsigned(seq)?), bytes });
            }
        }
        Ok(page)
    }
}
