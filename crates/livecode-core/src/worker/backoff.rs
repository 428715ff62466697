//! How long to wait before the next try, and what to say of an outage.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// A random time up to a bound that begins with `first`, doubles with each of the `failures` before this one, and never
/// goes over `cap`. All of it is random ("full jitter"), so that those who failed together don't come back together.
pub(super) fn jittered(failures: u32, first: Duration, cap: Duration) -> Duration {
    let bound = first.saturating_mul(2_u32.saturating_pow(failures)).min(cap).as_micros();
    Duration::from_micros(fastrand::u64(0..=u64::try_from(bound).unwrap_or(u64::MAX)))
}

/// The pauses between the tries of one call.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const CAP: Duration = Duration::from_secs(5);

    /// How long to wait before the next try.
    pub(super) fn next(&mut self) -> Duration {
        let pause = jittered(self.failures, Self::FIRST, Self::CAP);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Waits before the next try, and says whether there should be one: not where `stop` fires first.
    pub(super) async fn pause(&mut self, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(sleep(self.next())).await.is_some()
    }

    /// A try succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Says once that something stopped working, and once that it works again.
#[derive(Debug)]
pub(super) struct Outage {
    what: &'static str,
    lasts: bool,
}

impl Outage {
    /// None yet. `what` we can do or not is for the log.
    pub(super) fn of(what: &'static str) -> Self {
        Self { what, lasts: false }
    }

    pub(super) fn failed(&mut self, error: &Error) {
        if self.lasts {
            tracing::debug!(%error, "still can't {}", self.what);
        } else {
            tracing::warn!(%error, "can't {}, trying again until it works", self.what);
        }
        self.lasts = true;
    }

    pub(super) fn succeeded(&mut self) {
        if self.lasts {
            tracing::info!("can {} again", self.what);
        }
        self.lasts = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::jittered;

    #[test]
    fn a_pause_is_random_below_a_bound_that_doubles_up_to_the_cap() {
        let (first, cap) = (Duration::from_secs(1), Duration::from_secs(300));
        for (failures, bound) in [(0, 1), (1, 2), (5, 32), (9, 300), (40, 300)] {
            let pauses: Vec<_> = (0..200).map(|_| jittered(failures, first, cap)).collect();
            let bound = Duration::from_secs(bound);
            assert!(pauses.iter().all(|pause| *pause <= bound));
            assert!(pauses.iter().any(|pause| *pause > bound / 2), "it comes near the bound");
            assert!(pauses.iter().any(|pause| *pause < bound / 2), "it comes near zero");
        }
    }
}
