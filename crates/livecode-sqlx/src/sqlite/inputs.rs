//! What is sent to an execution while it's there.

use std::sync::Arc;

use bytes::Bytes;
use livecode_core::{ExecutionId, Input, Result, Seq, State};
use sqlx::Row;
use tokio::sync::watch;

use super::{
    Database, executions,
    rows::{self, column},
    writer::{Failure, Transaction},
};
use crate::{
    error::from_sqlx,
    inputs::{self, MOST, PAGE, Page, refused},
    value::{at_most, unsigned},
};

/// Adds a piece, which counts so much, or the end; gives back its place.
pub(super) async fn add(
    transaction: Transaction<'_>,
    id: ExecutionId,
    bytes: Option<Bytes>,
    counts: i64,
) -> Result<Seq, Failure> {
    let is_end = bytes.is_none();
    let added = sqlx::query(transaction.only(
        "INSERT INTO input (execution_id, seq, bytes) SELECT execution_id, stdin.last_seq + 1, ?
         FROM stdin JOIN execution ON id = execution_id
         WHERE execution_id = ? AND NOT ended AND size + ? <= ? AND state IN ('QUEUED', 'RUNNING');
         UPDATE stdin SET last_seq = last_seq + 1, size = size + ?, ended = ?
         WHERE execution_id = ? AND NOT ended AND size + ? <= ?
             AND (SELECT state IN ('QUEUED', 'RUNNING') FROM execution WHERE id = execution_id) RETURNING last_seq",
    ))
    .bind(bytes.as_deref())
    .bind(id.as_uuid())
    .bind(counts)
    .bind(MOST)
    .bind(counts)
    .bind(is_end)
    .bind(id.as_uuid())
    .bind(counts)
    .bind(MOST)
    .fetch_all(&mut *transaction.connection)
    .await?;
    if let Some(added) = added.first() {
        return Ok(Seq(unsigned(added.try_get("last_seq")?)?));
    }
    let stored =
        sqlx::query("SELECT state, ended FROM execution LEFT JOIN stdin ON execution_id = id WHERE id = ?")
            .bind(id.as_uuid())
            .fetch_optional(transaction.connection)
            .await?
            .ok_or_else(|| executions::unknown(id))?;
    let state: State = rows::parsed(&stored, "state")?;
    Err(refused(id, state, column(&stored, "ended")?).into())
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
        let rows = sqlx::query(
            "SELECT seq, bytes, ended IS NOT NULL AS is_open, ended AND stdin.last_seq <= ?2 AS is_over
             FROM execution LEFT JOIN stdin ON stdin.execution_id = id
             LEFT JOIN input ON input.execution_id = stdin.execution_id AND seq > ?2
             WHERE id = ?1 ORDER BY seq LIMIT ?3",
        )
        .bind(self.id.as_uuid())
        .bind(at_most(after.0))
        .bind(PAGE)
        .fetch_all(&self.database.readers)
        .await
        .map_err(from_sqlx)?;
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
