//! What is sent to an execution while it's there.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{Error, Execution, ExecutionSpec, Input, Result, Seq};

/// The pieces of one execution; the one at index `i` has the number `i + 1`.
pub(super) struct Inputs {
    is_open: bool,
    /// None is the end.
    pieces: Vec<Option<Bytes>>,
    /// What they count together.
    size: usize,
    grown: Arc<Notify>,
}

/// What there is after a place.
pub(super) enum Look {
    Next(Input),
    /// Nothing, and nothing will be.
    Over,
    /// Nothing yet: the future is ready when more has come.
    Wait(OwnedNotified),
}

impl Inputs {
    pub(super) fn of(spec: &ExecutionSpec) -> Self {
        Self { is_open: spec.stdin_open, pieces: Vec::new(), size: 0, grown: Arc::default() }
    }

    pub(super) fn add(&mut self, execution: &Execution, bytes: Option<Bytes>) -> Result<Seq> {
        let id = execution.id;
        if !self.is_open {
            return Err(Error::conflict(format!(
                "execution {id} takes no input while it runs: it was accepted without stdin_open"
            )));
        }
        if execution.state.is_terminal() {
            return Err(Error::conflict(format!(
                "execution {id} has ended: nobody reads its input any more"
            )));
        }
        if self.has_ended() {
            return Err(Error::conflict(format!(
                "the input of execution {id} was ended before: send no more"
            )));
        }
        if bytes.as_ref().is_some_and(Bytes::is_empty) {
            return Err(Error::invalid("a piece of input is empty: send none"));
        }
        let counts = bytes.as_ref().map_or(0, |bytes| bytes.len().max(ExecutionSpec::MIN_INPUT_BYTES));
        if self.size + counts > ExecutionSpec::MAX_INPUT_BYTES {
            return Err(Error::invalid(format!(
                "the input of execution {id} would be more than {} bytes: end it",
                ExecutionSpec::MAX_INPUT_BYTES
            )));
        }
        self.size += counts;
        // A copy: the few bytes of a line may be part of a large buffer, which they would keep.
        self.pieces.push(bytes.map(|bytes| Bytes::copy_from_slice(&bytes)));
        self.grown.notify_waiters();
        Ok(Seq(self.pieces.len() as u64))
    }

    /// Made while nothing can be added, so that who waits hears of everything that comes after this.
    pub(super) fn look(&self, after: Seq) -> Look {
        match usize::try_from(after.0).ok().and_then(|index| self.pieces.get(index)) {
            Some(bytes) => Look::Next(Input { seq: after.next(), bytes: bytes.clone() }),
            None if !self.is_open || self.has_ended() => Look::Over,
            None => Look::Wait(self.grown.clone().notified_owned()),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.pieces.last(), Some(None))
    }
}

/// What there is and what comes after `after`, by looking.
pub(super) fn follow(
    look: impl Fn(Seq) -> Result<Look> + Send + Sync + 'static,
    after: Seq,
) -> BoxStream<'static, Result<Input>> {
    stream::try_unfold((look, after), async |(look, after)| {
        loop {
            match look(after)? {
                Look::Next(input) => {
                    let seq = input.seq;
                    return Ok(Some((input, (look, seq))));
                }
                Look::Over => return Ok(None),
                Look::Wait(grown) => grown.await,
            }
        }
    })
    .boxed()
}
