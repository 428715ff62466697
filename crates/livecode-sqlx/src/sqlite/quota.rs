//! What was counted, and what is open.

use livecode_core::{Owner, Quota, Refusal, Result, SessionId, Tally, Timestamp};
use sqlx::{SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    rows::{column, required_moment},
    writer::Failure,
};
use crate::{
    error::from_sqlx,
    value::{at_most, signed, unsigned},
};

/// How many that say nothing any more go for each that comes.
const SWEPT: i64 = 2;

pub(super) async fn count_open(
    readers: &SqlitePool,
    owner: &Owner,
    session: Option<SessionId>,
    most: u64,
) -> Result<u64> {
    // The index is named, or one of all the owner's history might be taken.
    let select = match session {
        None => {
            "SELECT count(*) FROM (SELECT 1 FROM execution INDEXED BY execution_open_by_owner
             WHERE owner = ?1 AND state IN ('QUEUED', 'RUNNING') LIMIT ?2)"
        }
        Some(_) => {
            "SELECT count(*) FROM (SELECT 1 FROM execution INDEXED BY execution_open_by_owner
             WHERE owner = ?1 AND state IN ('QUEUED', 'RUNNING') AND session_id = ?3 LIMIT ?2)"
        }
    };
    let select = sqlx::query_scalar(select).bind(owner.as_str()).bind(at_most(most));
    let select = match session {
        Some(session) => select.bind(session.as_uuid()),
        None => select,
    };
    unsigned(select.fetch_one(readers).await.map_err(from_sqlx)?)
}

/// In a transaction that has the write lock from its beginning: nobody counts between the look and the change.
pub(super) async fn admit(
    connection: &mut SqliteConnection,
    who: String,
    quota: Quota,
    now: Timestamp,
) -> Result<Option<Refusal>, Failure> {
    let row =
        sqlx::query("SELECT * FROM tally WHERE who = ?").bind(&who).fetch_optional(&mut *connection).await?;
    let before = row.as_ref().map(tally).transpose()?;
    let after = match Tally::admit(before.as_ref(), &quota, now) {
        Ok(after) => after,
        Err(refusal) => return Ok(Some(refusal)),
    };
    if before.is_none() {
        sqlx::query(
            "DELETE FROM tally WHERE who IN (SELECT who FROM tally WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        )
        .bind(now.as_millis())
        .bind(SWEPT)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query("INSERT OR REPLACE INTO tally (who, at, used, runs, expires_at) VALUES (?, ?, ?, ?, ?)")
        .bind(who)
        .bind(after.at.as_millis())
        .bind(signed(after.used)?)
        .bind(signed(after.runs)?)
        .bind(after.expires_at.as_millis())
        .execute(connection)
        .await?;
    Ok(None)
}

fn tally(row: &SqliteRow) -> Result<Tally> {
    Ok(Tally {
        at: required_moment(row, "at")?,
        used: unsigned(column(row, "used")?)?,
        runs: unsigned(column(row, "runs")?)?,
        expires_at: required_moment(row, "expires_at")?,
    })
}
