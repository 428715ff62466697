//! What is sent to a program while it's there: what a piece counts, why one is refused, and who follows them.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use livecode_core::{Error, ExecutionId, ExecutionSpec, Input, Result, Seq, State};
use tokio::sync::watch;

/// The most that all pieces of an execution count.
pub(crate) const MOST: i64 = ExecutionSpec::MAX_INPUT_BYTES as i64;

/// How many pieces are read at once. They have less than [`MOST`] bytes together.
pub(crate) const PAGE: i64 = 64;

/// What a piece counts; the end nothing.
pub(crate) fn counts(bytes: Option<&Bytes>) -> Result<i64> {
    match bytes {
        None => Ok(0),
        Some(bytes) if bytes.is_empty() => Err(Error::invalid("a piece of input is empty: send none")),
        // One that is too large to be counted is too large.
        Some(bytes) => Ok(i64::try_from(bytes.len().max(ExecutionSpec::MIN_INPUT_BYTES))
            .unwrap_or(MOST + 1)
            .min(MOST + 1)),
    }
}

/// Why a piece isn't added to an execution in that state, whose input is open or was ended, or neither.
pub(crate) fn refused(id: ExecutionId, state: State, has_ended: Option<bool>) -> Error {
    match has_ended {
        None => Error::conflict(format!(
            "execution {id} takes no input while it runs: it was accepted without stdin_open"
        )),
        Some(_) if state.is_terminal() => {
            Error::conflict(format!("execution {id} has ended: nobody reads its input any more"))
        }
        Some(true) => Error::conflict(format!("the input of execution {id} was ended before: send no more")),
        Some(false) => {
            Error::invalid(format!("the input of execution {id} would be more than {MOST} bytes: end it"))
        }
    }
}

/// What was sent to one execution, in a database.
pub(crate) trait Inputs: Send + 'static {
    /// Hears of every piece that is added from now on, and perhaps more often.
    fn grown(&self) -> watch::Receiver<Seq>;

    /// The first page of what comes after `after`.
    fn page(&self, after: Seq) -> impl Future<Output = Result<Page>> + Send;
}

/// Some of the pieces, in order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) pieces: VecDeque<Input>,
    /// Whether more may come when these are read.
    pub(crate) goes_on: bool,
}

pub(crate) fn inputs(inputs: impl Inputs + Sync, after: Seq) -> BoxStream<'static, Result<Input>> {
    let follower =
        Follower { inputs, seen: after, page: Page { goes_on: true, ..Page::default() }, grown: None };
    stream::try_unfold(follower, async |mut follower| {
        let input = follower.next().await?;
        Ok(input.map(|input| (input, follower)))
    })
    .boxed()
}

struct Follower<I> {
    inputs: I,
    seen: Seq,
    page: Page,
    /// While there is something to wait for.
    grown: Option<watch::Receiver<Seq>>,
}

impl<I: Inputs> Follower<I> {
    async fn next(&mut self) -> Result<Option<Input>> {
        loop {
            if let Some(input) = self.page.pieces.pop_front() {
                self.seen = input.seq;
                self.page.goes_on &= input.bytes.is_some();
                return Ok(Some(input));
            }
            if !self.page.goes_on {
                return Ok(None);
            }
            if let Some(grown) = &mut self.grown {
                grown.mark_unchanged();
            }
            self.page = self.inputs.page(self.seen).await?;
            if self.page.pieces.is_empty() && self.page.goes_on {
                match &mut self.grown {
                    // What came before the subscription wouldn't end the wait: look once more.
                    None => self.grown = Some(self.inputs.grown()),
                    // The sender outlives its receivers, so this ends by a change only.
                    Some(grown) => grown.changed().await.unwrap_or(()),
                }
            }
        }
    }
}
