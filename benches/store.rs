//! What the stores and queues promise, beside each other: `cargo bench --features sqlite,postgres --bench store`.
//!
//! | part | promise |
//! | --- | --- |
//! | `memory`, `sqlite`, `postgres` | a claim takes at most 1.5 times as long where a million have finished or are queued |
//! | `decay` | on PostgreSQL a short queue that turns over fast is as fast after a minute as in its first 5 s |
//! | `peers` | on PostgreSQL, of jobs that wait, 3 times as many as apalis-postgres with 10 in flight, 2 times with 100, 8 times BullMQ's |
//!
//! The first three also tell the life cycles per second with 1, 8 and 64 in flight, of each of those places. In memory, the
//! reference, nothing is promised: a claim takes about a microsecond, and more of it is caches than anything.
//! All of them, or those that are named: `… --bench store -- postgres decay`. A life cycle is all that an execution asks of
//! its store and queue: insert, claim, read, start, finish with a line of output, acknowledge. Nothing is run in between.
//! What is compared takes turns, so that a machine whose speed drifts slows both: quote the ratios, which are medians
//! of pairs. No figure here is a test.
//!
//! | setting | |
//! | --- | --- |
//! | `ROWS` | how many are there already, 1,000,000; who is in a hurry takes 100,000 |
//! | `SECONDS` | for each rate, in slices of 2 s: 6 |
//! | `ROUNDS` | claims of each kind: 500 |
//! | `DECAY` | seconds of the short queue: 60 |
//! | `LIVECODE_TEST_POSTGRES` | a PostgreSQL server to take, by its superuser; schemas stay behind there |
//!
//! Without the last one a server of the bench's own is started, in the directory for temporary files, with the defaults of
//! PostgreSQL: `synchronous_commit` and `fsync` are on. Everybody goes to it by TCP. `benches/peers` says how the peers get here.

#[path = "store/claims.rs"]
mod claims;
#[path = "store/cycles.rs"]
mod cycles;
#[path = "store/decay.rs"]
mod decay;
mod figures;
#[path = "store/load.rs"]
mod load;
#[path = "store/peers.rs"]
mod peers;
#[path = "store/place.rs"]
mod place;
#[expect(clippy::unwrap_used, reason = "without a server there is nothing to measure")]
#[path = "../crates/livecode-sqlx/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::{env, error::Error, time::Duration};

use crate::place::{Database, PostgresServer};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Those that are compared take turns of this length.
const SLICE: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let named: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if wanted("memory") {
            database(&Database::Memory).await?;
        }
        if wanted("sqlite") {
            database(&Database::sqlite()?).await?;
        }
        if !["postgres", "decay", "peers"].into_iter().any(wanted) {
            return Ok(());
        }
        let server = PostgresServer::new();
        if wanted("postgres") {
            database(&Database::Postgres(server.clone())).await?;
        }
        if wanted("decay") {
            decay::decay(&server).await?;
        }
        if wanted("peers") {
            peers::peers(&server).await?;
        }
        Ok(())
    })
}

/// Everything about one of them.
async fn database(database: &Database) -> Result<()> {
    println!("{}", database.name());
    let places = load::places(database).await?;
    cycles::cycles(&places).await?;
    let promise = match database {
        Database::Memory => None,
        Database::Sqlite(_) | Database::Postgres(_) => Some(1.5),
    };
    claims::claims(&places, promise).await
}

fn slices() -> Result<usize> {
    Ok(figures::setting("SECONDS", 6)?.div_ceil(SLICE.as_secs() as usize))
}
