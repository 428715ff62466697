//! Databases that have been used: as many executions as `ROWS` says, finished or queued.
//!
//! One is made by the public interface, and SQL copies its rows: a million by themselves would take longer than all that is
//! measured. In memory each is made by itself.

use std::{sync::Arc, time::Instant};

use livecode::Owner;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::{
    Result,
    figures::setting,
    place::{self, Place, Work},
};

/// What life cycles and claims are measured in.
pub(crate) struct Places {
    pub(crate) rows: usize,
    pub(crate) empty: Arc<Place>,
    pub(crate) finished: Arc<Place>,
    pub(crate) queued: Arc<Place>,
}

impl Places {
    /// Each with what it's like.
    pub(crate) fn each(&self) -> [(&Arc<Place>, String); 3] {
        let rows = self.rows;
        [
            (&self.empty, "empty".into()),
            (&self.finished, format!("{rows} finished")),
            (&self.queued, format!("{rows} queued of another owner")),
        ]
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Finished,
    Queued,
}

pub(crate) async fn places(database: &place::Database) -> Result<Places> {
    let rows = setting("ROWS", 1_000_000)?;
    let (empty, _) = database.open("empty").await?;
    let finished = loaded(database, Kind::Finished, rows).await?;
    let queued = loaded(database, Kind::Queued, rows).await?;
    Ok(Places { rows, empty: Arc::new(empty), finished, queued })
}

async fn loaded(database: &place::Database, kind: Kind, rows: usize) -> Result<Arc<Place>> {
    let name = match kind {
        Kind::Finished => "finished",
        Kind::Queued => "queued",
    };
    let (place, url) = database.open(name).await?;
    let other = place.for_owner(Owner::new("another")?);
    let began = Instant::now();
    let by_themselves = if url.is_some() { 1 } else { rows };
    for _ in 0..by_themselves {
        match kind {
            Kind::Finished => other.work(Work::LifeCycle).await?,
            Kind::Queued => other.accept().await?,
        }
    }
    if let Some(url) = url {
        copy(&url, i64::try_from(rows)?).await?;
    }
    println!("  loaded {rows} {name} in {:.1} s", began.elapsed().as_secs_f64());
    Ok(Arc::new(place))
}

/// Each row that is there, once for every number in `fresh`. Both databases understand these.
const COPIES: [&str; 5] = [
    "INSERT INTO execution (id, owner, session_id, revision, idempotency_key, language, priority, state, attempt, failures,
         version, run_after, created_at, started_at, completed_at, cancel_requested_at, outcome, failure, last_seq)
     SELECT fresh.id, owner, session_id, revision, idempotency_key, language, priority, state, attempt, failures,
         version, run_after, created_at, started_at, completed_at, cancel_requested_at, outcome, failure, last_seq
     FROM fresh, execution ORDER BY n",
    "INSERT INTO spec (execution_id, spec) SELECT fresh.id, spec.spec FROM fresh, spec ORDER BY n",
    "INSERT INTO event (execution_id, seq, state, attempt, cancel_requested)
     SELECT fresh.id, seq, state, attempt, cancel_requested FROM fresh, event ORDER BY n, seq",
    "INSERT INTO output (execution_id, seq, attempt, stdio, bytes)
     SELECT fresh.id, seq, attempt, stdio, bytes FROM fresh, output ORDER BY n, seq",
    "INSERT INTO job (execution_id, attempt, owner, priority, turn, state, due_at)
     SELECT fresh.id, attempt, owner, priority, turn + n, state, due_at FROM fresh, job ORDER BY n",
];

/// The ids of `fresh` are older than any other and in their order, as those of a history are.
async fn copy(url: &str, rows: i64) -> Result<()> {
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await?;
        connection.execute("CREATE TEMP TABLE fresh (n INTEGER PRIMARY KEY, id BLOB NOT NULL)").await?;
        let numbers =
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
             INSERT INTO fresh SELECT n, unhex(printf('%032x', n)) FROM number";
        sqlx::query(numbers).bind(rows).execute(&mut connection).await?;
        for statement in COPIES {
            connection.execute(statement).await?;
        }
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    } else {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute("CREATE TEMP TABLE fresh (n bigint PRIMARY KEY, id uuid NOT NULL)").await?;
        let numbers =
            "INSERT INTO fresh SELECT n, lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, $1) AS n";
        sqlx::query(numbers).bind(rows).execute(&mut connection).await?;
        for statement in COPIES {
            connection.execute(statement).await?;
        }
        // What the server does by itself within a minute or a few, and mustn't do while something is measured.
        connection.execute("VACUUM (ANALYZE)").await?;
        connection.execute("CHECKPOINT").await?;
    }
    Ok(())
}
