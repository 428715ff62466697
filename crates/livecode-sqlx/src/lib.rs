//! [`Store`](livecode_core::Store) and [`Queue`](livecode_core::Queue) of livecode in a SQL database.
//!
//! Each database has a feature of its own and its own types: `sqlite` brings `Sqlite`, one file for records and queue.

#![forbid(unsafe_code)]

#[cfg(feature = "sqlite")]
mod error;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "sqlite")]
pub use self::sqlite::{Sqlite, SqliteQueue, SqliteStore};
