//! Wall time: who reads it, and how it's written down.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, Result, spec::shown};

/// A moment in UTC with the precision of a millisecond, so that every store gives back what it was given.
///
/// Written as RFC 3339 with three decimals.
///
/// ```
/// use livecode_core::Timestamp;
///
/// let at = Timestamp::from_millis(1_769_000_000_123).unwrap();
/// assert_eq!(at.to_string(), "2026-01-21T12:53:20.123Z");
/// assert_eq!("2026-01-21T12:53:20.123Z".parse::<Timestamp>().unwrap(), at);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Milliseconds since 1970-01-01T00:00:00Z; refused outside the years -9999 to 9999.
    pub fn from_millis(millis: i64) -> Result<Self> {
        jiff::Timestamp::from_millisecond(millis).map(|_| Self(millis)).map_err(|error| {
            Error::invalid(format!("timestamp {millis} ms is out of range")).with_source(error)
        })
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment and `duration` more, at most the end of the year 9999.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(jiff::Timestamp::MAX.as_millisecond()))
    }

    /// This moment and `duration` less, at least the beginning of the year -9999.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(jiff::Timestamp::MIN.as_millisecond()))
    }

    /// The time from `earlier` to this moment, zero where `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{at:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let at: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| {
            Error::invalid(format!("'{}' is not an RFC 3339 time", shown(text))).with_source(error)
        })?;
        Ok(Self(at.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The only source of wall time. Records carry it; nothing waits by it.
///
/// ```
/// use livecode_core::{Clock, SystemClock};
///
/// assert!(SystemClock.now().as_millis() > 0);
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment; may jump in either direction.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one owner of wall time")]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_millisecond())
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}
