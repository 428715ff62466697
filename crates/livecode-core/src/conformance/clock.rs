//! A clock in a test's hand.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{Clock, Timestamp};

/// A [`Clock`] that stands still until a test moves it.
///
/// ```
/// use livecode_core::{Clock, Timestamp, conformance::ManualClock};
/// use std::{sync::Arc, time::Duration};
///
/// let start = Timestamp::from_millis(1_769_000_000_000).unwrap();
/// let clock = Arc::new(ManualClock::new(start));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now().duration_since(start), Duration::from_secs(1));
/// ```
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Makes it show `now`, which may be earlier than before.
    pub fn set(&self, now: Timestamp) {
        self.change(|_| now);
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.change(|now| now.saturating_add(by));
    }

    fn change(&self, change: impl FnOnce(Timestamp) -> Timestamp) -> Timestamp {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = change(*now);
        *now
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.change(|now| now)
    }
}
