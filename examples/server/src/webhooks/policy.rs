//! What follows on a try: the end, or when the next one is.

use std::time::Duration;

use livecode::DeliveryChange;

/// How long a try may take, from the name's resolution to the answer's head.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long nobody else begins a try: three times what one may take, since their clocks may differ.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// The longest pause between two tries, and the longest that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_WISH: Duration = Duration::from_secs(60 * 60);

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// The receiver has accepted it.
    Accepted,
    /// It may accept it another time.
    NotNow {
        error: String,
        /// Not earlier, as it says itself.
        wish: Option<Duration>,
    },
    /// It will never accept it.
    Never { error: String },
    /// We broke it off.
    CutOff,
}

impl Tried {
    /// What an answer with this status says.
    pub(super) fn answered(status: u16, retry_after: Option<Duration>) -> Self {
        let error = format!("the receiver answered with status {status}");
        match status {
            200..=299 => Self::Accepted,
            408 | 429 | 500..=599 => Self::NotNow { error, wish: retry_after },
            300..=399 => {
                Self::Never { error: format!("{error}: it's told where it is, no redirect is followed") }
            }
            _ => Self::Never { error },
        }
    }
}

/// How often there is a try, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    pub(super) most: u32,
    pub(super) first_pause: Duration,
}

impl Tries {
    /// What follows on the try of this number, from 1, which counts those that were broken off. Each pause is four times the one before, and up to half as long again, so
    /// that those that failed together don't come back together.
    pub(super) fn after(&self, tried: Tried, number: u32) -> DeliveryChange {
        match tried {
            Tried::Accepted => DeliveryChange::Deliver,
            Tried::Never { error } => DeliveryChange::Fail { error },
            Tried::CutOff => DeliveryChange::Retry {
                after: Duration::ZERO,
                error: "this server was ended before the receiver answered".into(),
            },
            Tried::NotNow { error, .. } if number >= self.most => given_up(number, &error),
            Tried::NotNow { error, wish } => {
                let factor = 4_u32.saturating_pow(number.saturating_sub(1));
                let pause = self.first_pause.saturating_mul(factor).min(LONGEST_PAUSE);
                let pause = pause.max(wish.unwrap_or_default().min(LONGEST_WISH));
                DeliveryChange::Retry { after: pause.mul_f64(1.0 + fastrand::f64() / 2.0), error }
            }
        }
    }

    /// What follows where so many were begun already. Where the last of [`Tries::most`] was broken off, or its process died, it's made
    /// up for, but not without end; an earlier one isn't: it's one try fewer.
    pub(super) fn before(&self, begun: u32, last_error: Option<&str>) -> Option<DeliveryChange> {
        let lost = "this server was ended before the receiver answered";
        (begun >= self.most.saturating_mul(2)).then(|| given_up(begun, last_error.unwrap_or(lost)))
    }
}

fn given_up(tries: u32, error: &str) -> DeliveryChange {
    DeliveryChange::Fail { error: format!("given up after try {tries}: {error}") }
}
