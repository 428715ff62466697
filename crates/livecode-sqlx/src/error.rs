//! What the driver says, as kinds and sentences of livecode. No type of the driver's is in a public signature.

use std::sync::Arc;

use livecode_core::{Error, ErrorKind};
use sqlx::error::DatabaseError;

/// The error of one call.
pub(crate) fn from_sqlx(error: sqlx::Error) -> Error {
    shared(&Arc::new(error))
}

/// The error of everybody whose change was in one transaction.
pub(crate) fn shared(error: &Arc<sqlx::Error>) -> Error {
    let (kind, message) = match error.as_ref() {
        sqlx::Error::Database(error) => database(error.as_ref()),
        sqlx::Error::PoolTimedOut => (
            ErrorKind::Unavailable,
            "the database can't be reached, or all connections to it are in use: try again",
        ),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => {
            (ErrorKind::Unavailable, "the database can't be reached")
        }
        sqlx::Error::Tls(_) => (
            ErrorKind::Unavailable,
            "the connection to the database can't be encrypted: see sslmode and sslrootcert in its URL",
        ),
        _ => (ErrorKind::Internal, "the database gave an answer that isn't understood"),
    };
    Error::new(kind, message).with_source(Arc::clone(error))
}

/// A unique index has an entry for this already.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

/// Whether it's what was asked that the database refuses, and not the database that can't: a value or a rule of the schema.
#[cfg(feature = "postgres")]
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23") || code.starts_with("54"))
}

/// Whether somebody else has the lock: SQLITE_BUSY.
#[cfg(feature = "sqlite")]
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| primary(error) == 5)
}

fn database(error: &dyn DatabaseError) -> (ErrorKind, &'static str) {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        return postgres(error.code());
    }
    #[cfg(feature = "sqlite")]
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        return sqlite(primary(error));
    }
    (ErrorKind::Internal, "the database refused a statement")
}

/// SQLite's primary result code: the low byte of the extended one that the driver gives.
#[cfg(feature = "sqlite")]
fn primary(error: &dyn DatabaseError) -> u32 {
    error.code().and_then(|code| code.parse::<u32>().ok()).map_or(0, |code| code & 0xff)
}

/// By the numbers of <https://www.sqlite.org/rescode.html>.
#[cfg(feature = "sqlite")]
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

/// By the codes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>, or by their classes, the first two
/// characters.
#[cfg(feature = "postgres")]
fn postgres(code: &str) -> (ErrorKind, &'static str) {
    match (code, code.get(..2).unwrap_or_default()) {
        ("53300", _) => (
            ErrorKind::Unavailable,
            "the database has no connection left: raise its max_connections, or run fewer processes",
        ),
        ("53100", _) => (ErrorKind::Unavailable, "the disk of the database is full: free some space"),
        ("25006", _) => (
            ErrorKind::Unavailable,
            "the database can't be written: it's a standby or set to read only, name its primary in the URL",
        ),
        ("42501", _) => (
            ErrorKind::Unavailable,
            "the database's user may not do that: let it own the schema that livecode's tables are in",
        ),
        ("3D000", _) => (ErrorKind::Unavailable, "there is no such database: make it with createdb"),
        (_, "28") => (
            ErrorKind::Unavailable,
            "the database doesn't let this user in: see name and password in its URL",
        ),
        // Deadlocks and the like; the server is starting, stopping, or out of something; a statement was cancelled.
        ("25P03", _) | (_, "08" | "40" | "53" | "55" | "57" | "58") => {
            (ErrorKind::Unavailable, "the database can't serve this now, try again")
        }
        (_, "22" | "23" | "54") => {
            (ErrorKind::Internal, "the database refused a record that breaks its rules")
        }
        (_, "XX") => (ErrorKind::Internal, "the database is damaged: restore it from a backup"),
        _ => (ErrorKind::Internal, "the database refused a statement"),
    }
}
