//! What was counted, and what is open.

use std::collections::{BTreeMap, HashMap, HashSet};

use livecode_core::{Error, Owner, Quota, Refusal, Result, SessionId, Tally, Timestamp};
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    connections::Connections,
    lanes::Call,
    rows::{column, required_moment},
};
use crate::{
    error::from_sqlx,
    value::{at_most, unsigned},
};

/// How many that say nothing any more go for each that comes.
const SWEPT: usize = 2;

/// How often others may be first. Of all processes that count for the same one at least one gets through each time.
const TRIES: usize = 64;

pub(super) async fn count_open(
    connections: &Connections,
    owner: &Owner,
    session: Option<SessionId>,
    most: u64,
) -> Result<u64> {
    // In the order that only the index of what is open has, so that none of a whole history is taken.
    let select = match session {
        None => {
            "SELECT count(*) AS open FROM (SELECT FROM execution WHERE owner = $1 AND completed_at IS NULL
                 ORDER BY owner, session_id LIMIT $2) AS open"
        }
        Some(_) => {
            "SELECT count(*) AS open FROM (SELECT FROM execution WHERE owner = $1 AND completed_at IS NULL AND session_id = $3
                 ORDER BY owner, session_id LIMIT $2) AS open"
        }
    };
    let select = sqlx::query(select).bind(owner.as_str()).bind(at_most(most));
    let select = match session {
        Some(session) => select.bind(session.as_uuid()),
        None => select,
    };
    let row = connections.row(select).await.map_err(from_sqlx)?;
    row.as_ref().map_or(Ok(0), |row| unsigned(column(row, "open")?))
}

/// Counts a run.
#[derive(Debug)]
pub(super) struct Admit {
    pub(super) who: String,
    pub(super) quota: Quota,
    pub(super) now: Timestamp,
}

impl Call for Admit {
    type Made = Option<Refusal>;

    fn joins(&self, _: &[Self]) -> bool {
        true
    }

    /// Reads the tallies, and writes those that are still as they were read; where another process was first, once more. So
    /// what a run costs is decided in one place, no lock is held on the way, and all of a batch are one write.
    async fn make(
        admits: &[Self],
        connection: &mut PgConnection,
    ) -> Result<Vec<Result<Option<Refusal>>>, sqlx::Error> {
        let mut made: Vec<Option<Result<Option<Refusal>>>> = admits.iter().map(|_| None).collect();
        for _ in 0..TRIES {
            let asked =
                || admits.iter().zip(&made).filter(|(_, made)| made.is_none()).map(|(admit, _)| admit);
            let before = read(asked(), connection).await?;
            let mut after: BTreeMap<&str, Tally> = BTreeMap::new();
            let mut refusals = Vec::with_capacity(admits.len());
            for admit in asked() {
                let who = admit.who.as_str();
                let tally = after.get(who).or_else(|| before.get(who));
                refusals.push(match Tally::admit(tally, &admit.quota, admit.now) {
                    Ok(tally) => {
                        after.insert(who, tally);
                        None
                    }
                    Err(refusal) => Some(refusal),
                });
            }
            let written = write(&before, &after, connection).await?;
            let mut refusals = refusals.into_iter();
            for (admit, made) in admits.iter().zip(&mut made).filter(|(_, made)| made.is_none()) {
                let refusal = refusals.next().flatten();
                let who = admit.who.as_str();
                if written.contains(who) || !after.contains_key(who) {
                    *made = Some(Ok(refusal));
                }
            }
            let new = written.iter().filter(|who| !before.contains_key(who.as_str())).count();
            if new > 0 {
                sweep(admits.iter().map(|admit| admit.now).min(), new * SWEPT, connection).await?;
            }
            if made.iter().all(Option::is_some) {
                break;
            }
        }
        let contended = || Err(Error::unavailable("too many processes count for the same one: try again"));
        Ok(made.into_iter().map(|made| made.unwrap_or_else(contended)).collect())
    }
}

async fn read(
    admits: impl Iterator<Item = &Admit>,
    connection: &mut PgConnection,
) -> Result<HashMap<String, Tally>, sqlx::Error> {
    let who: HashSet<&str> = admits.map(|admit| admit.who.as_str()).collect();
    let rows = sqlx::query("SELECT * FROM tally WHERE who = ANY($1)")
        .bind(who.into_iter().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    // One that can't be read isn't there, and is in nobody's way but its own.
    Ok(rows.iter().filter_map(tally).collect())
}

/// Says of whom it was written. In the order of their names: of two statements one waits for the other, never both.
///
/// It isn't waited for the server's disk: what a crash takes of the last moment's counts is nobody's loss.
async fn write(
    before: &HashMap<String, Tally>,
    after: &BTreeMap<&str, Tally>,
    connection: &mut PgConnection,
) -> Result<HashSet<String>, sqlx::Error> {
    if after.is_empty() {
        return Ok(HashSet::new());
    }
    let is = |of: fn(&Tally) -> i64| after.values().map(of).collect::<Vec<_>>();
    let was = |of: fn(&Tally) -> i64| after.keys().map(|who| before.get(*who).map(of)).collect::<Vec<_>>();
    let written: Vec<String> = sqlx::query_scalar(
        "WITH asked AS MATERIALIZED (
             SELECT asked.* FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                 $7::bigint[], $8::bigint[])
                 AS asked (who, at, used, runs, expires_at, was_at, was_used, was_runs),
                 (SELECT set_config('synchronous_commit', 'off', true)) AS waits_for_no_disk
         )
         INSERT INTO tally AS kept (who, at, used, runs, expires_at)
         SELECT who, at, used, runs, expires_at FROM asked ORDER BY who
         ON CONFLICT (who) DO UPDATE
             SET at = excluded.at, used = excluded.used, runs = excluded.runs, expires_at = excluded.expires_at
             WHERE (kept.at, kept.used, kept.runs) = (SELECT was_at, was_used, was_runs FROM asked WHERE asked.who = kept.who)
         RETURNING who",
    )
    .bind(after.keys().copied().collect::<Vec<_>>())
    .bind(is(|it| it.at.as_millis()))
    .bind(is(|it| at_most(it.used)))
    .bind(is(|it| at_most(it.runs)))
    .bind(is(|it| it.expires_at.as_millis()))
    .bind(was(|it| it.at.as_millis()))
    .bind(was(|it| at_most(it.used)))
    .bind(was(|it| at_most(it.runs)))
    .fetch_all(connection)
    .await?;
    Ok(written.into_iter().collect())
}

/// Those that somebody is at are left for another time: nobody waits.
async fn sweep(
    now: Option<Timestamp>,
    most: usize,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM tally WHERE who = ANY(ARRAY(
             SELECT who FROM tally, (SELECT set_config('synchronous_commit', 'off', true)) AS waits_for_no_disk
             WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE OF tally SKIP LOCKED))",
    )
    .bind(now.map(Timestamp::as_millis))
    .bind(at_most(most as u64))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Whose it is, and the tally.
fn tally(row: &PgRow) -> Option<(String, Tally)> {
    let read = || -> Result<_> {
        let tally = Tally {
            at: required_moment(row, "at")?,
            used: unsigned(column(row, "used")?)?,
            runs: unsigned(column(row, "runs")?)?,
            expires_at: required_moment(row, "expires_at")?,
        };
        Ok((column(row, "who")?, tally))
    };
    read().inspect_err(|error| tracing::debug!(%error, "a tally can't be read")).ok()
}
