//! How many programs run at a time.

use std::{num::NonZero, sync::Arc, thread};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Measured on two processors with 200 programs at once, beside no bound: short ones are through in the same time and their
/// median is a third shorter, the longest wall time is 8 times shorter; of those that fill 60 MiB all succeed, where without
/// a bound 190 wait for memory until their wall time is over. Those that sleep take twice as long altogether, at 2 for each
/// processor four times.
const FOR_EACH_PROCESSOR: usize = 4;
/// On a machine of one processor programs that wait for something still run beside others.
const AT_LEAST: usize = 8;

/// Places for programs, given in the order of asking.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    chosen: bool,
}

impl Default for Admission {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let places = processors.saturating_mul(FOR_EACH_PROCESSOR).max(AT_LEAST);
        Self { chosen: false, ..Self::of(places) }
    }
}

impl Admission {
    pub(super) fn of(places: usize) -> Self {
        let places = places.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(places)), chosen: true }
    }

    /// This, where the host has chosen it.
    pub(super) fn chosen(&self) -> Option<&Self> {
        self.chosen.then_some(self)
    }

    /// A place, given back on drop; none where the wait for it was cancelled.
    pub(super) async fn place(&self, cancel: &CancellationToken) -> Option<SemaphorePermit<'_>> {
        tokio::select! {
            biased;
            // It's never closed.
            place = self.places.acquire() => place.ok(),
            () = cancel.cancelled() => None,
        }
    }
}
