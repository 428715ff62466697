//! The event log of an execution: what is there, then what comes.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use livecode_core::{Event, EventKind, ExecutionId, Follow, Result, Seq, State};
use sqlx::SqliteConnection;
use tokio::sync::watch;

use super::{
    Database, executions,
    rows::{self, column},
    waiters::Reach,
};
use crate::{error::from_sqlx, value::signed};

/// How much of a log a follower reads at once and holds: so many events, or so many bytes and one chunk more.
const PAGE_EVENTS: usize = 256;
const PAGE_BYTES: usize = 256 * 1024;

pub(super) fn events(
    database: Arc<Database>,
    id: ExecutionId,
    after: Seq,
    follow: Follow,
) -> BoxStream<'static, Result<Event>> {
    // Who waits for the end has seen that it isn't there.
    let grown = (follow == Follow::End).then(|| database.waiters.log(id));
    let follower = Follower { database, id, follow, seen: after, page: VecDeque::new(), ended: false, grown };
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
    grown: Option<watch::Receiver<Reach>>,
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
                    Some(grown) => {
                        let concerns = |reach: &Reach| self.follow != Follow::End || reach.may_have_ended;
                        grown.changed().await.unwrap_or(());
                        while !concerns(&grown.borrow()) {
                            grown.changed().await.unwrap_or(());
                        }
                    }
                }
            }
        }
    }

    /// Reads what there is, a page at most.
    async fn read(&mut self) -> Result<()> {
        let mut reader = self.database.readers.acquire().await.map_err(from_sqlx)?;
        // With the record, which is told where this is the end of it.
        let log = executions::row(&mut reader, self.id).await?;
        let has_ended = rows::parsed::<State>(&log, "state")?.is_terminal();
        let last = rows::seq(&log, "last_seq")?;
        if self.seen < last {
            // A log only grows: all up to `last` can be read, whatever comes meanwhile.
            match self.follow {
                Follow::End => self.seen = last,
                Follow::Everything | Follow::Status => self.read_page(&mut reader, last).await?,
            }
            if has_ended && self.seen == last {
                let kind = EventKind::End(Box::new(rows::execution(&log)?));
                self.page.push_back(Event { seq: last, kind });
            }
        }
        self.ended = has_ended && self.seen >= last;
        Ok(())
    }

    async fn read_page(&mut self, reader: &mut SqliteConnection, last: Seq) -> Result<()> {
        let mut rows = sqlx::query(
            "SELECT seq, attempt, state, cancel_requested, NULL AS stdio, NULL AS bytes FROM event
             WHERE execution_id = ?1 AND seq > ?2 AND seq <= ?3
             UNION ALL
             SELECT seq, attempt, NULL, NULL, stdio, bytes FROM output
             WHERE execution_id = ?1 AND seq > ?2 AND seq <= ?3 AND ?4
             ORDER BY seq",
        )
        .bind(self.id.as_uuid())
        .bind(signed(self.seen.0)?)
        .bind(signed(last.0)?)
        .bind(self.follow == Follow::Everything)
        .fetch(reader);
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await.map_err(from_sqlx)? {
            let seq = rows::seq(&row, "seq")?;
            let attempt = column(&row, "attempt")?;
            let kind = match rows::output(&row)? {
                Some(output) => {
                    bytes += output.bytes.len();
                    EventKind::Output { attempt, output }
                }
                None => EventKind::Status {
                    state: rows::parsed(&row, "state")?,
                    attempt,
                    cancel_requested: column(&row, "cancel_requested")?,
                },
            };
            self.page.push_back(Event { seq, kind });
            self.seen = seq;
            if self.page.len() >= PAGE_EVENTS || bytes >= PAGE_BYTES {
                return Ok(());
            }
        }
        self.seen = last;
        Ok(())
    }
}
