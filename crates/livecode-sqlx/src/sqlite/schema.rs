//! Brings a file to the schema that this program works with.

use std::path::Path;

use livecode_core::{Error, Result};
use sqlx::{Connection, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::{BUSY_PAUSE, BUSY_TIMEOUT};
use crate::error::{from_sqlx, is_busy};

/// In order; the number of those that a file has been through is its `user_version`. Never edited, only added to.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../migrations/sqlite/1_initial.sql"),
    include_str!("../../migrations/sqlite/2_fairness.sql"),
    include_str!("../../migrations/sqlite/3_retention.sql"),
    include_str!("../../migrations/sqlite/4_input.sql"),
    include_str!("../../migrations/sqlite/5_quota.sql"),
    include_str!("../../migrations/sqlite/6_delivery.sql"),
];

/// Marks the file as ours (`PRAGMA application_id`): "live" in ASCII.
const APPLICATION_ID: i64 = 0x6c69_7665;

/// Migrates the file and turns its write-ahead log on.
pub(super) async fn prepare(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    migrate(connection, path).await?;
    write_ahead(connection, path).await
}

/// All in one transaction that begins with the write lock: of several processes one migrates, the others find it done.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(from_sqlx)?;
    let (tables, application, version): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM sqlite_schema), application_id, user_version
         FROM pragma_application_id, pragma_user_version",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(from_sqlx)?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(Error::invalid(format!(
            "{} is the database of another program: give livecode a file of its own",
            path.display()
        )));
    }
    let missing = usize::try_from(version)
        .ok()
        .and_then(|version| MIGRATIONS.get(version..))
        .ok_or_else(|| {
            Error::unsupported(format!(
                "{} has schema {version}, this program knows those up to {}: run the newer program that made it",
                path.display(),
                MIGRATIONS.len()
            ))
        })?;
    for migration in missing {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(from_sqlx)?;
    }
    if !missing.is_empty() {
        // A PRAGMA takes no parameters; these are numbers of our own.
        let mark =
            format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}", MIGRATIONS.len());
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(from_sqlx)?;
    }
    transaction.commit().await.map_err(from_sqlx)
}

/// A property of the file, which every later connection meets.
async fn write_ahead(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        let switched =
            sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(&mut *connection).await;
        match switched {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(Error::unsupported(format!(
                    "{} can't have a write-ahead log (its journal is '{mode}'): put it on a local file system",
                    path.display()
                )));
            }
            // SQLite's own busy timeout doesn't cover this switch, and another process may be at the same.
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(BUSY_PAUSE).await,
            Err(error) => return Err(from_sqlx(error)),
        }
    }
}
