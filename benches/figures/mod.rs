//! Figures of all benches: what sets them, and what is quoted of them.
#![allow(dead_code, clippy::allow_attributes, reason = "each bench uses a part of it")]

use std::{env, error::Error, time::Duration};

/// A number from the environment, one at least.
pub(crate) fn setting(name: &str, default: usize) -> Result<usize, Box<dyn Error>> {
    let value = env::var(name).ok().map_or(Ok(default), |text| text.parse());
    Ok(value.map_err(|error| format!("{name} isn't a number: {error}"))?.max(1))
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A bound, and whether it's kept.
pub(crate) fn at_most(ratio: f64, bound: f64) -> String {
    format!("at most {bound:.2}: {}", if ratio <= bound { "kept" } else { "NOT KEPT" })
}

pub(crate) fn at_least(ratio: f64, bound: f64) -> String {
    format!("at least {bound:.2}: {}", if ratio >= bound { "kept" } else { "NOT KEPT" })
}
