//! What the driver says, as kinds and sentences of livecode. No type of the driver's is in a public signature.

use std::sync::Arc;

use livecode_core::{Error, ErrorKind};

/// The error of one call.
pub(crate) fn from_sqlx(error: sqlx::Error) -> Error {
    shared(&Arc::new(error))
}

/// The error of everybody whose change was in one transaction.
pub(crate) fn shared(error: &Arc<sqlx::Error>) -> Error {
    let (kind, message) = match error.as_ref() {
        sqlx::Error::Database(_) => sqlite(code(error)),
        sqlx::Error::PoolTimedOut => {
            (ErrorKind::Unavailable, "all connections to the database are in use, try again")
        }
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => {
            (ErrorKind::Unavailable, "the database can't be reached")
        }
        _ => (ErrorKind::Internal, "the database gave an answer that isn't understood"),
    };
    Error::new(kind, message).with_source(Arc::clone(error))
}

/// Whether somebody else has the lock: SQLITE_BUSY.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    code(error) == 5
}

/// SQLite's primary result code: the low byte of the extended one that the driver gives.
fn code(error: &sqlx::Error) -> u32 {
    error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<u32>().ok())
        .map_or(0, |code| code & 0xff)
}

/// By the numbers of <https://www.sqlite.org/rescode.html>.
fn sqlite(code: u32) -> (ErrorKind, &'static str) {
    match code {
        // Busy, locked, and a race for the locks of the write-ahead log.
        5 | 6 | 15 => (
            ErrorKind::Unavailable,
            "another process has had the lock of the database file for too long, try again",
        ),
        7 => (ErrorKind::Unavailable, "there is no memory left for the database"),
        8 => (
            ErrorKind::Unavailable,
            "the database file can't be written: let this process write it and its directory",
        ),
        10 => (ErrorKind::Unavailable, "the disk fails to read or write the database file"),
        13 => (ErrorKind::Unavailable, "the disk of the database file is full: free some space"),
        14 => (
            ErrorKind::Unavailable,
            "the database file can't be opened: make its directory, and let this process write there",
        ),
        11 => (ErrorKind::Internal, "the database file is damaged: restore it from a backup"),
        26 => (ErrorKind::Internal, "the file is not a SQLite database"),
        19 => (ErrorKind::Internal, "the database refused a record that breaks its rules"),
        _ => (ErrorKind::Internal, "the database refused a statement"),
    }
}
