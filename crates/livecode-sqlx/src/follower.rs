//! Who follows the event log of an execution: what is there, then what comes.

use std::{collections::VecDeque, future::Future};

use futures_util::{StreamExt, stream, stream::BoxStream};
use livecode_core::{Event, EventKind, Execution, Follow, Result, Seq};
use tokio::sync::watch;

/// How far a log reaches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) last: Seq,
    /// False where it goes on: who has written the last of it says so.
    pub(crate) may_have_ended: bool,
}

impl Reach {
    /// Takes note that it reaches to `last`; says whether that is news.
    pub(crate) fn grow(&mut self, last: Seq, may_have_ended: bool) -> bool {
        let grown = last > self.last;
        if grown {
            *self = Self { last, may_have_ended };
        }
        grown
    }
}

/// A log in a database.
pub(crate) trait Log: Send + 'static {
    /// Hears of everything that is added to it from now on, and perhaps more often.
    fn grown(&self) -> watch::Receiver<Reach>;

    /// Whose log it is, and how far it reaches.
    fn head(&self) -> impl Future<Output = Result<(Execution, Seq)>> + Send;

    /// The first page of what comes after `after`, up to `last`; output only where it's wanted.
    fn page(&self, after: Seq, last: Seq, output: bool) -> impl Future<Output = Result<Page>> + Send;
}

/// Some of a log, in order: what a follower reads at once and holds.
#[derive(Debug, Default)]
pub(crate) struct Page {
    events: VecDeque<Event>,
    bytes: usize,
}

impl Page {
    /// It is full with so many events, or with so many bytes of output and what its last chunk has more.
    pub(crate) const EVENTS: usize = 256;
    pub(crate) const BYTES: usize = 256 * 1024;

    pub(crate) fn push(&mut self, event: Event) {
        if let EventKind::Output { output, .. } = &event.kind {
            self.bytes += output.bytes.len();
        }
        self.events.push_back(event);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.events.len() >= Self::EVENTS || self.bytes >= Self::BYTES
    }
}

pub(crate) fn events(log: impl Log + Sync, after: Seq, follow: Follow) -> BoxStream<'static, Result<Event>> {
    // Who waits for the end has seen that it isn't there.
    let grown = (follow == Follow::End).then(|| log.grown());
    let follower = Follower { log, follow, seen: after, events: VecDeque::new(), ended: false, grown };
    stream::try_unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Ok(event.map(|event| (event, follower)))
    })
    .boxed()
}

struct Follower<L> {
    log: L,
    follow: Follow,
    /// Everything up to here is in `events` or was given out.
    seen: Seq,
    events: VecDeque<Event>,
    /// Whether no more come than these.
    ended: bool,
    /// While there is something to wait for; a log that has ended is just read.
    grown: Option<watch::Receiver<Reach>>,
}

impl<L: Log> Follower<L> {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            if let Some(grown) = &mut self.grown {
                grown.mark_unchanged();
            }
            self.read().await?;
            if self.events.is_empty() && !self.ended {
                match &mut self.grown {
                    // What came before the subscription wouldn't end the wait: look once more.
                    None => self.grown = Some(self.log.grown()),
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
        let (execution, last) = self.log.head().await?;
        let has_ended = execution.state.is_terminal();
        if self.seen < last {
            // A log only grows: all up to `last` can be read, whatever comes meanwhile.
            let page = match self.follow {
                Follow::End => Page::default(),
                Follow::Everything | Follow::Status => {
                    self.log.page(self.seen, last, self.follow == Follow::Everything).await?
                }
            };
            let reached = page.events.back().filter(|_| page.is_full()).map_or(last, |event| event.seq);
            (self.seen, self.events) = (reached, page.events);
            if has_ended && self.seen == last {
                self.events.push_back(Event { seq: last, kind: EventKind::End(Box::new(execution)) });
            }
        }
        self.ended = has_ended && self.seen >= last;
        Ok(())
    }
}
