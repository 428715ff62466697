//! How the word of an execution's end reaches who asked to be told: the record of a webhook. [`Delivery::apply`] is its only
//! mutator.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, ExecutionId, ExecutionSpec, Owner, Result, Timestamp};

/// Where the word of an execution's end stands. It's beside the [`Execution`](crate::Execution), which never changes after its end.
///
/// [`Store::insert`](crate::Store::insert) makes one for what was asked with a [`callback_url`](ExecutionSpec::callback_url). Who
/// sends it is the host's to say: see [`Engine::deliveries_due`](crate::Engine::deliveries_due).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The execution whose end it tells: its own name as well.
    pub execution_id: ExecutionId,
    /// Whose that is.
    pub owner: Owner,
    /// Where the word goes.
    pub url: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How many tries were begun.
    pub attempts: u32,
    /// The next try isn't begun before this moment; none while the execution hasn't ended, and when there will be none.
    pub due_at: Option<Timestamp>,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
    /// Why the latest try failed.
    pub last_error: Option<String>,
    /// Counts the changes to this record, from 1: the token of compare-and-set.
    pub version: u64,
}

/// Where a [`Delivery`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeliveryState {
    /// The execution hasn't ended, or there will be another try.
    Pending,
    /// The receiver has accepted it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// Its name, as it's written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Delivered => "DELIVERED",
            Self::Failed => "FAILED",
        }
    }
}

impl std::str::FromStr for DeliveryState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Pending, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::invalid(format!("'{text}' is no state of a delivery")))
    }
}

/// A change to a [`Delivery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryChange {
    /// A try begins. Nobody begins another one for so long: whoever dies meanwhile leaves it to them.
    Begin {
        /// How long.
        lease: Duration,
    },
    /// The receiver has accepted it.
    Deliver,
    /// The try failed, and there will be another one.
    Retry {
        /// Not before so long from now.
        after: Duration,
        /// Why this one failed.
        error: String,
    },
    /// It's given up.
    Fail {
        /// Why.
        error: String,
    },
}

impl Delivery {
    /// The record that goes with an execution of which this was asked; none where nobody is to be told.
    pub fn of(execution: &crate::Execution, spec: &ExecutionSpec) -> Option<Self> {
        Some(Self {
            execution_id: execution.id,
            owner: execution.owner.clone(),
            url: spec.callback_url.clone()?,
            state: DeliveryState::Pending,
            attempts: 0,
            due_at: None,
            delivered_at: None,
            last_error: None,
            version: 1,
        })
    }

    /// Makes `change` at the moment `at`.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) where the execution hasn't ended, or the delivery has; nothing is changed then.
    ///
    /// ```
    /// use livecode_core::*;
    ///
    /// let at = SystemClock.now();
    /// let execution = Execution::new(Owner::anonymous(), "python", at);
    /// let spec = ExecutionSpec::new("python", "1").callback_url("https://example.org/ended");
    /// let mut delivery = Delivery::of(&execution, &spec).unwrap();
    /// assert!(delivery.apply(DeliveryChange::Deliver, at).is_err(), "the execution hasn't ended");
    /// ```
    pub fn apply(&mut self, change: DeliveryChange, at: Timestamp) -> Result<()> {
        if self.due_at.is_none() {
            let reason = match self.state {
                DeliveryState::Pending => "its execution hasn't ended",
                DeliveryState::Delivered => "it was delivered",
                DeliveryState::Failed => "it was given up",
            };
            let id = self.execution_id;
            return Err(Error::conflict(format!("the delivery of execution {id} isn't due: {reason}")));
        }
        match change {
            DeliveryChange::Begin { lease } => {
                self.attempts = self.attempts.saturating_add(1);
                self.due_at = Some(at.saturating_add(lease));
            }
            DeliveryChange::Deliver => {
                self.state = DeliveryState::Delivered;
                (self.due_at, self.delivered_at, self.last_error) = (None, Some(at), None);
            }
            DeliveryChange::Retry { after, error } => {
                (self.due_at, self.last_error) = (Some(at.saturating_add(after)), Some(error));
            }
            DeliveryChange::Fail { error } => {
                self.state = DeliveryState::Failed;
                (self.due_at, self.last_error) = (None, Some(error));
            }
        }
        self.version += 1;
        Ok(())
    }
}
