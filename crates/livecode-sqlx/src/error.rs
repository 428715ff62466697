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
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<u32>().ok());
            sqlite(code.unwrap_or(0))
        }
        sqlx::Error::PoolTimedOut => (
            ErrorKind::Unavailable,
            "all connections to the database are in use, try again",
        ),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => {
            (ErrorKind::Unavailable, "the database can't be reached")
        }
        _ => (
            ErrorKind::Internal,
            "the database gave an answer that isn't understood",
        ),
    };
    Error::new(kind, message).with_source(Arc::clone(error))
}

/// By SQLite's extended result code, of which the low byte is the primary one.
fn sqlite(code: u32) -> (ErrorKind, &'static str) {
    match code & 0xff {
        5 | 6 | 9 => (
            ErrorKind::Unavailable,
            "the database file is locked by another process for too long, try again",
        ),
        7 => (ErrorKind::Unavailable, "there is no memory left for the database"),
        8 => (
            ErrorKind::Unavailable,
            "the database file can't be written: let this process write it and its directory",
        ),
        10 => (
            ErrorKind::Unavailable,
            "the disk fails to read or write the database file",
        ),
        13 => (
            ErrorKind::Unavailable,
            "the disk of the database file is full: free some space",
        ),
        14 => (
            ErrorKind::Unavailable,
            "the database file can't be opened: make its directory, and let this process write there",
        ),
        11 => (
            ErrorKind::Internal,
            "the database file is damaged: restore it from a backup",
        ),
        26 => (ErrorKind::Internal, "the file is not a SQLite database"),
        19 => (
            ErrorKind::Internal,
            "the database refused a record that breaks its rules",
        ),
        _ => (ErrorKind::Internal, "the database refused a statement"),
    }
}
