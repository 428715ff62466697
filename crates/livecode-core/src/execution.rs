//! The record of an execution. [`Execution::apply`] is its only mutator.

use serde::{Deserialize, Serialize};

use crate::{
    ErrorType, ExecutionId, Outcome, Owner, Result, Revision, SessionId, State, Timestamp, Transition,
};

/// One run of one program: an immutable snapshot of what was asked, and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Its name.
    pub id: ExecutionId,
    /// Whose it is.
    pub owner: Owner,
    /// The session whose source it runs, where it has one.
    pub session_id: Option<SessionId>,
    /// The revision of that session's source.
    pub revision: Option<Revision>,
    /// Unique per owner and session, where there is one.
    pub idempotency_key: Option<String>,
    /// The canonical name of its program's language. What else was asked can be large and stands apart:
    /// [`Store::spec`](crate::Store::spec).
    pub language: String,
    /// Higher is served first.
    pub priority: i16,
    /// Where it stands.
    pub state: State,
    /// Counts the starts, from 1; while queued, the number of the next one. Fences off everything of earlier attempts.
    pub attempt: u32,
    /// How many attempts ended by our failure or with a lost worker. Attempts that a shutdown gave back don't count.
    pub failures: u32,
    /// Counts the changes to this record, from 1: the token of compare-and-set.
    pub version: u64,
    /// Not to be started earlier than this.
    pub run_after: Timestamp,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When the latest attempt was started.
    pub started_at: Option<Timestamp>,
    /// When it reached its terminal state.
    pub completed_at: Option<Timestamp>,
    /// When somebody asked for its end while it was running.
    pub cancel_requested_at: Option<Timestamp>,
    /// What became of the program; none where it was never run to an end.
    pub outcome: Option<Outcome>,
    /// What our latest failure was.
    pub failure: Option<String>,
}

/// A change to an [`Execution`].
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A worker begins an attempt.
    Start,
    /// The program came to an end.
    Finish(Outcome),
    /// Somebody asks for the end: of a queued one at once, of a running one as a wish that its worker fulfils.
    RequestCancel,
    /// It ended as asked without an outcome: no worker was left to bring one.
    Cancel,
    /// We failed, and no attempt is left.
    Fail {
        /// What our failure was.
        failure: String,
    },
    /// Once more, as a new attempt.
    Requeue {
        /// Not earlier than this.
        run_after: Timestamp,
        /// What our failure was; none for an attempt that a shutdown gives back, which doesn't count as one.
        failure: Option<String>,
    },
}

impl Execution {
    /// A new record, queued.
    pub fn new(owner: Owner, language: impl Into<String>, at: Timestamp) -> Self {
        Self {
            id: ExecutionId::generate(at),
            owner,
            session_id: None,
            revision: None,
            idempotency_key: None,
            language: language.into(),
            priority: 0,
            state: State::Queued,
            attempt: 1,
            failures: 0,
            version: 1,
            run_after: at,
            created_at: at,
            started_at: None,
            completed_at: None,
            cancel_requested_at: None,
            outcome: None,
            failure: None,
        }
    }

    /// Makes `change` at the moment `at`; says whether anything is different now.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) where the state machine has no such arrow; nothing is changed then.
    /// A [`Change::RequestCancel`] of what has ended is no error: it changes nothing.
    ///
    /// ```
    /// use livecode_core::*;
    ///
    /// let at = SystemClock.now();
    /// let mut execution = Execution::new(Owner::anonymous(), "python", at);
    /// execution.apply(Change::Start, at).unwrap();
    /// execution.apply(Change::Finish(Outcome::new(Termination::Exited { code: 0 })), at).unwrap();
    /// assert_eq!(execution.state, State::Completed);
    /// assert!(execution.apply(Change::Start, at).is_err());
    /// assert!(!execution.apply(Change::RequestCancel, at).unwrap());
    /// ```
    pub fn apply(&mut self, change: Change, at: Timestamp) -> Result<bool> {
        match change {
            Change::Start => {
                self.state = self.state.apply(Transition::Start)?;
                self.started_at = Some(at);
            }
            Change::Finish(outcome) => {
                self.end(outcome.termination.transition(), at)?;
                self.outcome = Some(outcome);
            }
            Change::Cancel => self.end(Transition::Cancel, at)?,
            Change::Fail { failure } => {
                self.end(Transition::Fail, at)?;
                self.failures += 1;
                self.failure = Some(failure);
            }
            Change::Requeue { run_after, failure } => {
                self.state = self.state.apply(Transition::Requeue)?;
                self.attempt += 1;
                self.run_after = run_after;
                if failure.is_some() {
                    self.failures += 1;
                    self.failure = failure;
                }
            }
            Change::RequestCancel => match self.state {
                State::Queued => self.end(Transition::Cancel, at)?,
                State::Running if self.cancel_requested_at.is_none() => self.cancel_requested_at = Some(at),
                State::Running | State::Completed | State::Failed | State::TimedOut | State::Cancelled => {
                    return Ok(false);
                }
            },
        }
        self.version += 1;
        Ok(true)
    }

    fn end(&mut self, transition: Transition, at: Timestamp) -> Result<()> {
        self.state = self.state.apply(transition)?;
        self.completed_at = Some(at);
        Ok(())
    }

    /// Whether a follower has something to be told that it didn't know from `before`: a status event.
    pub fn status_differs(&self, before: &Self) -> bool {
        (self.state, self.attempt, self.cancel_requested_at.is_some())
            != (before.state, before.attempt, before.cancel_requested_at.is_some())
    }

    /// Why it didn't complete; none while it hasn't ended and where it completed.
    pub fn error_type(&self) -> Option<ErrorType> {
        match self.state {
            State::Queued | State::Running | State::Completed => None,
            State::Cancelled => Some(ErrorType::Cancelled),
            State::Failed | State::TimedOut => match &self.outcome {
                Some(outcome) => outcome.termination.error_type(),
                None => Some(ErrorType::InternalError),
            },
        }
    }

    /// Why it didn't complete, in one sentence.
    pub fn error_message(&self) -> Option<String> {
        self.error_type()?;
        Some(match (&self.outcome, &self.failure) {
            (Some(outcome), _) => outcome.termination.to_string(),
            (None, Some(failure)) if self.state == State::Failed => failure.clone(),
            (None, _) => "the execution was cancelled".into(),
        })
    }
}
