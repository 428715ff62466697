//! Values as both databases keep them, and what is said where one can't be kept or read.

use std::{fmt, time::Duration};

use livecode_core::{Error, Result, Stdio};
use serde::Serialize;

/// What "never" is for a timer that can't be reckoned: longer than any process lives.
pub(crate) const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// As JSON text, which never has a NUL in it.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("a record can't be written as JSON").with_source(error))
}

/// A database's integers have a sign. No count of ours gets that far by counting.
pub(crate) fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| {
        Error::invalid(format!("{number} is more than the database can count")).with_source(error)
    })
}

pub(crate) fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(damaged)
}

/// A number that only limits: beyond what the database can count it's no limit.
pub(crate) fn at_most(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The program's own number of its stream.
pub(crate) fn descriptor(stdio: Stdio) -> i16 {
    match stdio {
        Stdio::Stdout => 1,
        Stdio::Stderr => 2,
    }
}

/// The stream that has this number.
pub(crate) fn stdio(descriptor: i16) -> Result<Stdio> {
    match descriptor {
        1 => Ok(Stdio::Stdout),
        2 => Ok(Stdio::Stderr),
        other => Err(damaged(format!("{other} is no output stream"))),
    }
}

pub(crate) fn check_version(what: fmt::Arguments<'_>, stored: i64, new: i64) -> Result<()> {
    if new == stored.saturating_add(1) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "{what} was changed meanwhile: version {new} doesn't follow on {stored}; read it again"
    )))
}

pub(crate) fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal("the database holds a record that can't be read: was it changed by another program?")
        .with_source(error)
}
