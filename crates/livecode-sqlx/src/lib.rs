//! [`Store`](livecode_core::Store) and [`Queue`](livecode_core::Queue) of livecode in a SQL database.
//!
//! Each database has a feature of its own and its own types: `sqlite` brings `Sqlite`, one file for records and queue;
//! `postgres` brings `Postgres`, for processes on many machines.

#![forbid(unsafe_code)]

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod follower;
mod inputs;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(test)]
#[cfg(feature = "postgres")]
#[path = "../tests/postgres_server/mod.rs"]
mod postgres_server;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod value;

#[cfg(feature = "postgres")]
pub use self::postgres::{Postgres, PostgresQueue, PostgresStore};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{Sqlite, SqliteQueue, SqliteStore};
