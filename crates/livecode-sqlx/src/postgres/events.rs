//! The event log of an execution.

use std::sync::Arc;

use livecode_core::{Event, EventKind, Execution, ExecutionId, Result, Seq};
use tokio::sync::watch;

use super::{
    Database, executions,
    rows::{self, column},
};
use crate::{
    error::from_sqlx,
    follower::{self, Page, Reach},
    value::{at_most, signed},
};

pub(super) struct Log {
    pub(super) database: Arc<Database>,
    pub(super) id: ExecutionId,
}

impl follower::Log for Log {
    fn grown(&self) -> watch::Receiver<Reach> {
        self.database.waiters.log(self.id)
    }

    async fn head(&self) -> Result<(Execution, Seq)> {
        let row = executions::row(&self.database.connections, self.id).await?;
        Ok((rows::execution(&row)?, rows::seq(&row, "last_seq")?))
    }

    async fn page(&self, after: Seq, last: Seq, output: bool) -> Result<Page> {
        let select = sqlx::query(
            "SELECT seq, attempt, state, cancel_requested, stdio, bytes FROM (
                 SELECT *, sum(octet_length(bytes)) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                 FROM (SELECT seq, attempt, state, cancel_requested, NULL::smallint AS stdio, NULL::bytea AS bytes FROM event
                       WHERE execution_id = $1 AND seq > $2 AND seq <= $3
                       UNION ALL
                       SELECT seq, attempt, NULL, NULL, stdio, bytes FROM output
                       WHERE execution_id = $1 AND seq > $2 AND seq <= $3 AND $4
                       ORDER BY seq LIMIT $5) AS log) AS page
             WHERE coalesce(before, 0) < $6 ORDER BY seq",
        )
        .bind(self.id.as_uuid())
        .bind(signed(after.0)?)
        .bind(signed(last.0)?)
        .bind(output)
        .bind(at_most(Page::EVENTS as u64))
        .bind(at_most(Page::BYTES as u64));
        let mut page = Page::default();
        for row in &self.database.connections.rows(select).await.map_err(from_sqlx)? {
            let attempt = rows::count(row, "attempt")?;
            let kind = match rows::output(row)? {
                Some(output) => EventKind::Output { attempt, output },
                None => EventKind::Status {
                    state: rows::parsed(row, "state")?,
                    attempt,
                    cancel_requested: column(row, "cancel_requested")?,
                },
            };
            page.push(Event { seq: rows::seq(row, "seq")?, kind });
        }
        Ok(page)
    }
}
