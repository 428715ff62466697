//! The event log of an execution: what is there, then what comes.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt, stream, stream::BoxStream};
use livecode_core::{Event, EventKind, ExecutionId, Follow, Result, Seq, State};
use tokio::sync::watch;

use super::{
    Database, executions,
    rows::{self, column},
};
use crate::{
    error::from_sqlx,
    value::{at_most, signed},
};

/// How much of a log a follower reads at once and holds: so many events, or so many bytes and one chunk more.
const PAGE_EVENTS: i64 = 256;
const PAGE_BYTES: i64 = 256 * 1024;

pub(super) fn events(
    database: Arc<Database>,
    id: ExecutionId,
    after: Seq,
    follow: Follow,
) -> BoxStream<'static, Result<Event>> {
    let follower =
        Follower { database, id, follow, seen: after, page: VecDeque::new(), ended: false, grown: None };
    stream::try_unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Ok(event.map(|event| (event, follower)))
    })
    .boxed()
}

struct Follower {
    database: Arc<Database>,
    id: ExecutionId,
    follow: Follow,
    /// Everything up to here is in the page or was given out.
    seen: Seq,
    page: VecDeque<Event>,
    /// Whether the page is the last one.
    ended: bool,
    /// While there is something to wait for; a log that has ended is just read.
    grown: Option<watch::Receiver<Seq>>,
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            if let Some(grown) = &mut self.grown {
                grown.mark_unchanged();
            }
            self.read().await?;
            if self.page.is_empty() && !self.ended {
                match &mut self.grown {
                    // What came before the subscription wouldn't end the wait: look once more.
                    None => self.grown = Some(self.database.waiters.log(self.id)),
                    // The sender outlives its receivers, so this ends by a change only.
                    Some(grown) => grown.changed().await.unwrap_or(()),
                }
            }
        }
    }

    /// Reads what there is, a page at most.
    async fn read(&mut self) -> Result<()> {
        // With the record, which is told where this is the end of it.
        let log = executions::row(&self.database.connections, self.id).await?;
        let has_ended = rows::parsed::<State>(&log, "state")?.is_terminal();
        let last = rows::seq(&log, "last_seq")?;
        if self.seen < last {
            // A log only grows: all up to `last` can be read, whatever comes meanwhile.
            match self.follow {
                Follow::End => self.seen = last,
                Follow::Everything | Follow::Status => self.read_page(last).await?,
            }
            if has_ended && self.seen == last {
                let kind = EventKind::End(Box::new(rows::execution(&log)?));
                self.page.push_back(Event { seq: last, kind });
            }
        }
        self.ended = has_ended && self.seen >= last;
        Ok(())
    }

    async fn read_page(&mut self, last: Seq) -> Result<()> {
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
        .bind(signed(self.seen.0)?)
        .bind(signed(last.0)?)
        .bind(self.follow == Follow::Everything)
        .bind(PAGE_EVENTS)
        .bind(PAGE_BYTES);
        let rows = self.database.connections.rows(select).await.map_err(from_sqlx)?;
        let mut bytes = 0;
        for row in &rows {
            let seq = rows::seq(row, "seq")?;
            let attempt = rows::count(row, "attempt")?;
            let kind = match rows::output(row)? {
                Some(output) => {
                    bytes += at_most(output.bytes.len() as u64);
                    EventKind::Output { attempt, output }
                }
                None => EventKind::Status {
                    state: rows::parsed(row, "state")?,
                    attempt,
                    cancel_requested: column(row, "cancel_requested")?,
                },
            };
            self.page.push_back(Event { seq, kind });
            self.seen = seq;
        }
        let is_full = at_most(rows.len() as u64) >= PAGE_EVENTS || bytes >= PAGE_BYTES;
        if !is_full {
            self.seen = last;
        }
        Ok(())
    }
}
