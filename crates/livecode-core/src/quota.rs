//! How much somebody may ask for: how often, how many a day, how many at a time.

use std::{num::NonZeroU32, time::Duration};

use crate::{Error, Result, Timestamp};

/// What one run counts in [`Tally::used`]: a rate of n runs a minute lets exactly n go in each millisecond.
const RUN: u64 = 60_000;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;

/// How far the clocks of two processes may differ before one takes the other's moments for nonsense.
const SKEW: Duration = Duration::from_secs(60);

/// A token bucket: how often runs are accepted in the long run, and how many at once after a while without any.
///
/// ```
/// use livecode_core::Rate;
///
/// let rate = Rate::new(10, 5).unwrap();
/// assert_eq!((rate.runs_per_minute(), rate.burst()), (10, 5));
/// assert!(Rate::new(10, 0).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    runs_per_minute: u32,
    burst: u32,
}

impl Rate {
    /// The most that either number can be.
    pub const MAX: u32 = 1_000_000;

    /// So many runs a minute, of which so many may come at once.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) where either is 0 or more than [`Rate::MAX`].
    pub fn new(runs_per_minute: u32, burst: u32) -> Result<Self> {
        for (name, number) in [("runs_per_minute", runs_per_minute), ("burst", burst)] {
            if !(1..=Self::MAX).contains(&number) {
                return Err(Error::invalid(format!(
                    "{name} is {number}: it is between 1 and {}, and no rate is one that is absent",
                    Self::MAX
                )));
            }
        }
        Ok(Self { runs_per_minute, burst })
    }

    /// How many tokens the bucket gets in a minute.
    pub fn runs_per_minute(&self) -> u32 {
        self.runs_per_minute
    }

    /// How many tokens it holds.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    fn time_for(&self, used: u64) -> Duration {
        Duration::from_millis(used.div_ceil(self.runs_per_minute.into()))
    }
}

/// What somebody may ask for; what is absent isn't limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// How often.
    pub rate: Option<Rate>,
    /// How many on one day, which begins at midnight UTC.
    pub runs_per_day: Option<NonZeroU32>,
    /// How many that are queued or running at a time.
    pub open_executions: Option<NonZeroU32>,
}

impl Quota {
    /// Whether anything of it is for [`Store::admit`](crate::Store::admit) to count.
    pub fn is_counted(&self) -> bool {
        self.rate.is_some() || self.runs_per_day.is_some()
    }
}

/// Why a run isn't admitted, and how long that will be so where nobody else asks meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bucket is empty.
    Rate(Duration),
    /// The runs of this day are used up.
    Day(Duration),
}

impl Refusal {
    /// After which time one is admitted: not a millisecond earlier.
    pub fn wait(&self) -> Duration {
        match self {
            Self::Rate(wait) | Self::Day(wait) => *wait,
        }
    }
}

/// What was counted for somebody: what a [`Store`](crate::Store) keeps, and changes as [`Tally::admit`] says.
///
/// The moments in it are of whoever counted. Where clocks differ by up to a minute, who is behind waits for so much longer and
/// nobody gets more than a burst more. A tally from more than a minute ahead is of a clock that was wrong: it's begun anew, so that
/// nobody waits for that moment to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The latest moment at which a run was counted.
    pub at: Timestamp,
    /// How much of the bucket was used then, in parts of a run of which each has 60,000.
    pub used: u64,
    /// How many runs were counted on that moment's day.
    pub runs: u64,
    /// From when on it says no more than none does, so that it may be deleted.
    pub expires_at: Timestamp,
}

impl Tally {
    /// Counts one more run, where `quota` allows for it: the tally after it.
    ///
    /// ```
    /// use livecode_core::{Quota, Rate, Refusal, Tally, Timestamp};
    /// use std::time::Duration;
    ///
    /// let quota = Quota { rate: Some(Rate::new(60, 1).unwrap()), ..Quota::default() };
    /// let now = Timestamp::from_millis(1_769_000_000_000).unwrap();
    /// let tally = Tally::admit(None, &quota, now).unwrap();
    /// let wait = Duration::from_secs(1);
    /// assert_eq!(Tally::admit(Some(&tally), &quota, now), Err(Refusal::Rate(wait)));
    /// assert!(Tally::admit(Some(&tally), &quota, now.saturating_add(wait)).is_ok());
    /// ```
    pub fn admit(before: Option<&Self>, quota: &Quota, now: Timestamp) -> Result<Self, Refusal> {
        let rate = quota.rate.as_ref();
        let (at, mut used, runs) = match before.filter(|tally| tally.at <= now.saturating_add(SKEW)) {
            Some(tally) => {
                let at = tally.at.max(now);
                let passed = millis(at.duration_since(tally.at));
                let gone = rate.map_or(u64::MAX, |rate| passed.saturating_mul(rate.runs_per_minute.into()));
                let runs = if day(at) == day(tally.at) { tally.runs } else { 0 };
                (at, tally.used.saturating_sub(gone), runs)
            }
            None => (now, 0, 0),
        };
        let mut refusal = None;
        if let Some(rate) = rate {
            used += RUN;
            let over = used.saturating_sub(u64::from(rate.burst) * RUN);
            if over > 0 {
                refusal = Some(Refusal::Rate(at.duration_since(now) + rate.time_for(over)));
            }
        }
        if quota.runs_per_day.is_some_and(|most| runs >= u64::from(most.get())) {
            let day = Refusal::Day(end_of_day(at).duration_since(now));
            refusal = refusal.filter(|rate| rate.wait() > day.wait()).or(Some(day));
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let full_at = at.saturating_add(rate.map_or(Duration::ZERO, |rate| rate.time_for(used)));
        let expires_at = full_at.max(end_of_day(at)).saturating_add(SKEW);
        Ok(Self { at, used, runs: runs + 1, expires_at })
    }
}

fn day(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MILLIS)
}

/// The first moment of the next day.
fn end_of_day(at: Timestamp) -> Timestamp {
    let left = DAY_MILLIS - at.as_millis().rem_euclid(DAY_MILLIS);
    at.saturating_add(Duration::from_millis(left.unsigned_abs()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
