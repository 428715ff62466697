//! The state machine: pure, total, without a clock.
//!
//! ```text
//! QUEUED ──▶ RUNNING ──▶ COMPLETED   exit status 0
//!    │          ├──────▶ FAILED      compile error, non-zero exit, signal, a limit hit, or our failure after the last attempt
//!    │          ├──────▶ TIMEOUT     wall or CPU time used up
//!    │          ├──────▶ CANCELLED   asked for while running
//!    │          └──────▶ QUEUED      our failure or a lost worker, attempts left (attempt + 1)
//!    └─────────────────▶ CANCELLED   asked for while queued
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, spec::shown};

/// Where an execution stands. The six names are fixed on the wire.
///
/// ```
/// use livecode_core::{State, Transition};
///
/// let running = State::Queued.apply(Transition::Start).unwrap();
/// assert_eq!(running, State::Running);
/// assert!(State::Completed.apply(Transition::Start).is_err());
/// assert_eq!(State::TimedOut.to_string(), "TIMEOUT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum State {
    /// Accepted and stored, not begun. A worker moves it on when it claims the job. If the queue loses the job, the
    /// sweep pushes it again; if the worker dies before it starts, the lease lapses and the job is claimed again.
    Queued,
    /// A worker has started this attempt. That worker moves it on. If it dies, its lease lapses, and whoever claims the
    /// job next puts the execution back to [`State::Queued`] as a new attempt, or ends it where none is left.
    Running,
    /// The program exited with status 0. Final.
    Completed,
    /// The program didn't compile, exited otherwise, was killed by a signal or met a limit; or we failed and no attempt
    /// was left. Final.
    Failed,
    /// The program used up its wall or CPU time. Final.
    TimedOut,
    /// Somebody asked for it before the end. Final.
    Cancelled,
}

/// What can happen to an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// A worker begins an attempt.
    Start,
    /// The program exited with status 0.
    Complete,
    /// The program failed, or we did and no attempt is left.
    Fail,
    /// The program used up its time.
    TimeOut,
    /// Somebody asked for the end.
    Cancel,
    /// We failed, the worker was lost or is shutting down: again, as a new attempt.
    Requeue,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::TimedOut, Self::Cancelled];

    /// The state after `transition`, or [`Conflict`](crate::ErrorKind::Conflict) where the machine has no such arrow.
    pub fn apply(self, transition: Transition) -> Result<Self> {
        match (self, transition) {
            (Self::Queued, Transition::Start) => Ok(Self::Running),
            (Self::Running, Transition::Complete) => Ok(Self::Completed),
            (Self::Running, Transition::Fail) => Ok(Self::Failed),
            (Self::Running, Transition::TimeOut) => Ok(Self::TimedOut),
            (Self::Queued | Self::Running, Transition::Cancel) => Ok(Self::Cancelled),
            (Self::Running, Transition::Requeue) => Ok(Self::Queued),
            (
                Self::Queued,
                Transition::Complete | Transition::Fail | Transition::TimeOut | Transition::Requeue,
            )
            | (Self::Running, Transition::Start)
            | (
                Self::Completed | Self::Failed | Self::TimedOut | Self::Cancelled,
                Transition::Start
                | Transition::Complete
                | Transition::Fail
                | Transition::TimeOut
                | Transition::Cancel
                | Transition::Requeue,
            ) => Err(Error::conflict(format!("an execution that is {self} can't {transition}"))),
        }
    }

    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::TimedOut | Self::Cancelled => true,
        }
    }

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMEOUT",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl Transition {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Complete, Self::Fail, Self::TimeOut, Self::Cancel, Self::Requeue];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::invalid(format!("'{}' is not a state", shown(text))))
    }
}

impl TryFrom<String> for State {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<State> for String {
    fn from(state: State) -> Self {
        state.as_str().into()
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::TimeOut => "time out",
            Self::Cancel => "be cancelled",
            Self::Requeue => "be queued again",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{State, Transition};

    #[test]
    fn every_pair_of_state_and_transition_is_decided() {
        use State::*;
        use Transition::*;
        let table = [
            (Queued, [Some(Running), None, None, None, Some(Cancelled), None]),
            (Running, [None, Some(Completed), Some(Failed), Some(TimedOut), Some(Cancelled), Some(Queued)]),
            (Completed, [None; 6]),
            (Failed, [None; 6]),
            (TimedOut, [None; 6]),
            (Cancelled, [None; 6]),
        ];
        assert_eq!(Transition::ALL, [Start, Complete, Fail, TimeOut, Cancel, Requeue]);
        assert_eq!(table.map(|(state, _)| state), State::ALL);
        for (state, row) in table {
            for (transition, expected) in Transition::ALL.into_iter().zip(row) {
                assert_eq!(state.apply(transition).ok(), expected, "{state} {transition:?}");
            }
        }
    }

    #[test]
    fn names_on_the_wire_are_fixed() {
        let names = State::ALL.map(State::as_str);
        assert_eq!(names, ["QUEUED", "RUNNING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"]);
        for state in State::ALL {
            assert_eq!(state.as_str().parse::<State>().unwrap(), state);
        }
    }
}
