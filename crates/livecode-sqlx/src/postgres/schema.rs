//! Brings a database to the schema that this program works with.

use livecode_core::{Error, Result};
use sqlx::{Connection, PgConnection};

use super::connections::in_time;
use crate::error::from_sqlx;

/// In order; the number of those that a database has been through is in `livecode_schema`. Never edited, only added to.
const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/postgres/1_initial.sql"),
    include_str!("../../migrations/postgres/2_input.sql"),
    include_str!("../../migrations/postgres/3_quota.sql"),
    include_str!("../../migrations/postgres/4_delivery.sql"),
];

/// The lock that a process has while it migrates (`pg_advisory_xact_lock`): "livecode" in ASCII.
const LOCK: i64 = 0x6c69_7665_636f_6465;

/// What a database is told apart by.
#[derive(Debug)]
pub(super) struct Prepared {
    /// On which notifications are sent: the schema's own.
    pub(super) channel: String,
    /// A name for this process, which no other has.
    pub(super) sender: String,
}

/// Migrates, all in one transaction that begins with the lock: of several processes one does it, the others find it done.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<Prepared> {
    let (version, encoding, schema, channel, sender): (i32, String, Option<String>, Option<String>, String) =
        in_time(
            sqlx::query_as(
                "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_schema(),
                     'livecode.' || quote_ident(current_schema())::regnamespace::oid, gen_random_uuid()::text",
            )
            .fetch_one(&mut *connection),
        )
        .await
        .map_err(from_sqlx)?;
    if version < 150_000 {
        let version = version / 10_000;
        return Err(Error::unsupported(format!(
            "the database is PostgreSQL {version}: livecode needs 15 or newer"
        )));
    }
    if encoding != "UTF8" {
        return Err(Error::unsupported(format!(
            "the database is in {encoding}, which can't hold every text: make one with createdb --encoding=UTF8 \
             --template=template0"
        )));
    }
    let (Some(schema), Some(channel)) = (schema, channel) else {
        return Err(Error::invalid(
            "the database has no schema by the name that search_path says: make it with CREATE SCHEMA",
        ));
    };
    migrate(connection, &schema).await?;
    Ok(Prepared { channel, sender })
}

async fn migrate(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let mut transaction = connection.begin().await.map_err(from_sqlx)?;
    // Not within the time of an answer: it's another process's migration that is waited for.
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(from_sqlx)?;
    let (is_ours, tables): (bool, i64) = sqlx::query_as(
        "SELECT coalesce(bool_or(relname = 'livecode_schema'), false), count(*)
         FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('r', 'p')",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(from_sqlx)?;
    let version: i32 = match (is_ours, tables) {
        (true, _) => sqlx::query_scalar("SELECT version FROM livecode_schema")
            .fetch_one(&mut *transaction)
            .await
            .map_err(from_sqlx)?,
        (false, 0) => 0,
        (false, _) => {
            return Err(Error::invalid(format!(
                "the schema {schema} of the database holds another program's tables: give livecode a schema of its own, \
                 ?options=-c%20search_path%3Dlivecode"
            )));
        }
    };
    let missing = usize::try_from(version)
        .ok()
        .and_then(|version| MIGRATIONS.get(version..))
        .ok_or_else(|| {
            Error::unsupported(format!(
                "the database has schema {version}, this program knows those up to {}: run the newer program that made it",
                MIGRATIONS.len()
            ))
        })?;
    for migration in missing {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(from_sqlx)?;
    }
    if !missing.is_empty() {
        // DDL takes no parameters; this is a number of our own.
        let mark = format!(
            "CREATE TABLE IF NOT EXISTS livecode_schema (version int NOT NULL);
             DELETE FROM livecode_schema; INSERT INTO livecode_schema VALUES ({})",
            MIGRATIONS.len()
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(from_sqlx)?;
    }
    transaction.commit().await.map_err(from_sqlx)
}
