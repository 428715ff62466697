//! Our connections to the server, each lent to one statement or batch at a time.
//!
//! Not sqlx's pool: that one asks the server after every use whether the connection is still good, which costs as much again
//! as most of our statements; and where a server is silent and then gone, it waits for that answer with all it has.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, PgConnection, Postgres,
    error::DatabaseError,
    postgres::{PgArguments, PgConnectOptions, PgRow},
    query::Query,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use crate::error::is_refusal;

/// How long to wait for a connection: for the server, and for one of ours that is in use.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait for an answer, for which the server waits for its disk and for other short statements.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that had nothing to do for longer is asked whether it's still good: the server may have been restarted.
const TRUSTED: Duration = Duration::from_secs(1);

/// The most at a time: all lanes at once, and one more. More would only take turns: reading is a matter of microseconds.
const CONNECTIONS: usize = 15;

#[derive(Debug)]
pub(super) struct Connections {
    options: PgConnectOptions,
    permits: Semaphore,
    /// Those that nobody has, each with since when. The last one given back is the first one lent: what isn't needed stays idle.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
}

/// A connection that is in use. Where it isn't given back it's closed, in whatever state it is.
pub(super) struct Lent<'c> {
    pub(super) connection: PgConnection,
    _permit: SemaphorePermit<'c>,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, permits: Semaphore::new(CONNECTIONS), idle: Mutex::default() }
    }

    /// What a statement gives.
    pub(super) async fn rows(
        &self,
        statement: Query<'_, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut lent = self.lend().await?;
        let rows = in_time(statement.fetch_all(&mut lent.connection)).await;
        self.settle(lent, &rows);
        rows
    }

    /// The first row of what a statement gives.
    pub(super) async fn row(
        &self,
        statement: Query<'_, Postgres, PgArguments>,
    ) -> Result<Option<PgRow>, sqlx::Error> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// A connection that nobody has.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, sqlx::Error> {
        let permit = timeout(CONNECT_TIMEOUT, self.permits.acquire()).await;
        let permit = permit.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle().pop();
        if let Some((mut connection, since)) = idle
            && (since.elapsed() < TRUSTED
                || matches!(timeout(CONNECT_TIMEOUT, connection.ping()).await, Ok(Ok(()))))
        {
            return Ok(Lent { connection, _permit: permit });
        }
        let connection =
            timeout(CONNECT_TIMEOUT, self.options.connect()).await.unwrap_or_else(|_| Err(silence()))?;
        Ok(Lent { connection, _permit: permit })
    }

    /// Takes a connection back after that answer. Where it's the connection that failed, the others are no better.
    pub(super) fn settle<T>(&self, lent: Lent<'_>, answer: &Result<T, sqlx::Error>) {
        match answer {
            Err(error) if !is_answer(error) => self.idle().clear(),
            Ok(_) | Err(_) => self.idle().push((lent.connection, Instant::now())),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        // No section under this lock stops halfway through a change.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the connection is none the worse for it: the server has refused the statement, or taken it back for another's sake.
fn is_answer(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    is_refusal(error) || code.is_some_and(|code| code.starts_with("40") || code.starts_with("55"))
}

/// What the database answers, where it does so in time.
pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| Err(silence()))
}

fn silence() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into()
}
