//! What a follower of an execution sees.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Execution, State};

/// The place of an event in the log of one execution: counts up by one from 1, without gaps.
///
/// It's the `Last-Event-ID` of the event stream. `Seq::START` comes before all events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the program's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdio {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Some bytes that a program wrote, in the order in which we read them.
///
/// From a [`Runner`](crate::Runner) a chunk never ends within a UTF-8 character, unless the program's output does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where it was written.
    pub stdio: Stdio,
    /// What was written, as it was; any bytes, NUL included.
    pub bytes: Bytes,
}

impl Output {
    /// A chunk of `stdio`.
    pub fn new(stdio: Stdio, bytes: impl Into<Bytes>) -> Self {
        Self { stdio, bytes: bytes.into() }
    }
}

/// A piece of what was sent to a program's standard input, or its end. Its place is in a log of its own: the pieces of one
/// execution count up by one from 1, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its place.
    pub seq: Seq,
    /// What was sent, never empty; none: the end, after which nothing comes.
    pub bytes: Option<Bytes>,
}

/// One entry of an execution's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its place in the log.
    pub seq: Seq,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] says.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The execution's state, attempt or wish to be cancelled changed, to one that isn't terminal.
    Status {
        /// The state since then.
        state: State,
        /// The attempt it belongs to.
        attempt: u32,
        /// Whether somebody has asked for its end.
        cancel_requested: bool,
    },
    /// The program wrote something.
    Output {
        /// The attempt that wrote it. Where it's higher than before, the output of earlier attempts is void.
        attempt: u32,
        /// What it wrote.
        output: Output,
    },
    /// The execution reached its terminal state. The last event of every log.
    End(Box<Execution>),
}
