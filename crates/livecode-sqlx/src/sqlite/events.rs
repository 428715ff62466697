//! The event log of an execution.

use std::sync::Arc;

use futures_util::TryStreamExt;
use livecode_core::{Event, EventKind, Execution, ExecutionId, Result, Seq};
use tokio::sync::watch;

use super::{
    Database, executions,
    rows::{self, column},
};
use crate::{
    error::from_sqlx,
    follower::{self, Page, Reach},
    value::signed,
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
        let mut reader = self.database.readers.acquire().await.map_err(from_sqlx)?;
        let row = executions::row(&mut reader, self.id).await?;
        Ok((rows::execution(&row)?, rows::seq(&row, "last_seq")?))
    }

    async fn page(&self, after: Seq, last: Seq, output: bool) -> Result<Page> {
        let mut reader = self.database.readers.acquire().await.map_err(from_sqlx)?;
        let mut rows = sqlx::query(
            "SELECT seq, attempt, state, cancel_requested, NULL AS stdio, NULL AS bytes FROM event
             WHERE execution_id = ?1 AND seq > ?2 AND seq <= ?3
             UNION ALL
             SELECT seq, attempt, NULL, NULL, stdio, bytes FROM output
             WHERE execution_id = ?1 AND seq > ?2 AND seq <= ?3 AND ?4
             ORDER BY seq",
        )
        .bind(self.id.as_uuid())
        .bind(signed(after.0)?)
        .bind(signed(last.0)?)
        .bind(output)
        .fetch(&mut *reader);
        let mut page = Page::default();
        while !page.is_full()
            && let Some(row) = rows.try_next().await.map_err(from_sqlx)?
        {
            let attempt = column(&row, "attempt")?;
            let kind = match rows::output(&row)? {
                Some(output) => EventKind::Output { attempt, output },
                None => EventKind::Status {
                    state: rows::parsed(&row, "state")?,
                    attempt,
                    cancel_requested: column(&row, "cancel_requested")?,
                },
            };
            page.push(Event { seq: rows::seq(&row, "seq")?, kind });
        }
        Ok(page)
    }
}
