//! The one connection that writes, and the task that owns it.
//!
//! Changes that wait at the same time go into one transaction: a commit is what a change costs most. One that waits alone and
//! is one call of the driver begins and commits in that call, for a trip to the connection's thread and back is what costs
//! most then. The task drives every transaction to its end, so that no caller who loses interest can leave one open.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use livecode_core::{Error, Result};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{BUSY_PAUSE, BUSY_TIMEOUT};
use crate::error;

/// The most changes in one transaction. It bounds how long another process waits for the lock.
const BATCH: usize = 64;

/// What a change has to survive once it's answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survives {
    /// The end of the process: the operating system has it. For steps that are made again.
    Kill,
    /// A power cut as well: the disk has it, and everything before it. For what somebody relies on.
    PowerCut,
}

/// How many calls of the driver a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// One, of [these statements](Transaction::only).
    One,
    Several,
}

/// Why a change isn't made.
pub(super) enum Failure {
    /// It mustn't be. Nothing was written for it: what else is in the transaction stands.
    Refused(Error),
    /// The database couldn't. The transaction is undone with all that is in it.
    Broken(sqlx::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Broken(error)
    }
}

/// What a change is made in.
pub(super) struct Transaction<'c> {
    pub(super) connection: &'c mut SqliteConnection,
    /// How it begins, where it hasn't yet: then the change is its only one, and it's committed in the same call.
    begin: Option<&'static str>,
}

impl Transaction<'_> {
    /// The statements of a change's only call. All of what they give has to be fetched, or they aren't all executed.
    pub(super) fn only(&self, statements: &'static str) -> AssertSqlSafe<String> {
        AssertSqlSafe(match self.begin {
            Some(begin) => format!("{begin}; {statements}; COMMIT"),
            None => statements.to_owned(),
        })
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    changes: mpsc::Sender<Box<dyn Change>>,
}

impl Writer {
    /// Starts the task. It ends when the writer is dropped and all changes are made.
    pub(super) fn start(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        let (sender, receiver) = mpsc::channel(4 * BATCH);
        tokio::spawn(run(options, connection, receiver));
        Self { changes: sender }
    }

    /// Makes a change, all of it or nothing. Where this future is dropped it's made or not.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        survives: Survives,
        calls: Calls,
        make: impl for<'c> FnMut(Transaction<'c>) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    ) -> Result<T> {
        let (caller, answer) = oneshot::channel();
        let change = Box::new(Asked { survives, calls, make, made: Err(gone()), caller });
        self.changes.send(change).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::unavailable("the database is closed: the runtime that it was opened in has ended")
}

/// A change of whatever answer.
trait Change: Send {
    fn survives(&self) -> Survives;

    fn calls(&self) -> Calls;

    /// Makes it within a transaction, which goes on unless this fails. Can be made again where that couldn't begin.
    fn make<'c>(&'c mut self, transaction: Transaction<'c>) -> BoxFuture<'c, Result<(), sqlx::Error>>;

    /// Whether nothing was written for it.
    fn is_refused(&self) -> bool;

    /// Answers its caller, now that the transaction is committed or isn't.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Asked<F, T> {
    survives: Survives,
    calls: Calls,
    make: F,
    made: Result<T>,
    caller: oneshot::Sender<Result<T>>,
}

impl<F, T> Change for Asked<F, T>
where
    F: for<'c> FnMut(Transaction<'c>) -> BoxFuture<'c, Result<T, Failure>> + Send,
    T: Send,
{
    fn survives(&self) -> Survives {
        self.survives
    }

    fn calls(&self) -> Calls {
        self.calls
    }

    fn make<'c>(&'c mut self, transaction: Transaction<'c>) -> BoxFuture<'c, Result<(), sqlx::Error>> {
        async move {
            // Where the caller has gone, nothing is the better half of "made or not".
            if !self.caller.is_closed() {
                self.made = match (self.make)(transaction).await {
                    Ok(made) => Ok(made),
                    Err(Failure::Refused(error)) => Err(error),
                    Err(Failure::Broken(error)) => return Err(error),
                };
            }
            Ok(())
        }
        .boxed()
    }

    fn is_refused(&self) -> bool {
        self.made.is_err()
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        // A caller that has gone meanwhile needs no answer.
        self.caller.send(committed.and(self.made)).ok();
    }
}

async fn run(
    options: SqliteConnectOptions,
    mut connection: SqliteConnection,
    mut changes: mpsc::Receiver<Box<dyn Change>>,
) {
    // The first one has waited for locks while it migrated.
    let waits_no_more = execute(&mut connection, "PRAGMA busy_timeout = 0").await;
    let mut connection = waits_no_more.is_ok().then_some(connection);
    let mut batch = Vec::with_capacity(BATCH);
    while changes.recv_many(&mut batch, BATCH).await > 0 {
        let undone = match commit(&options, connection.take(), &mut batch).await {
            Ok(good) => {
                connection = Some(good);
                None
            }
            // The connection is closed, whatever state it was in. The next batch opens another.
            Err(undone) => Some(undone),
        };
        for (place, change) in batch.drain(..).enumerate() {
            change.answer(undone.as_ref().map_or(Ok(()), |undone| Err(undone.tell(place))));
        }
    }
}

/// Why a transaction was undone.
struct Undone {
    cause: Arc<sqlx::Error>,
    /// The place of the change in it that broke it, where it was one.
    culprit: Option<usize>,
}

impl Undone {
    /// What the change at this place is told.
    fn tell(&self, place: usize) -> Error {
        let error = error::shared(&self.cause);
        if error.is_temporary() || self.culprit.is_none_or(|culprit| culprit == place) {
            return error;
        }
        Error::unavailable("a change that was made together with this one failed, try again")
            .with_source(self.cause.clone())
    }
}

/// Makes the changes of a batch in one transaction, and gives back the connection where that went well.
async fn commit(
    options: &SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    batch: &mut [Box<dyn Change>],
) -> Result<SqliteConnection, Undone> {
    let undone = |culprit| move |cause| Undone { cause: Arc::new(cause), culprit };
    let mut connection = match connection {
        Some(connection) => connection,
        None => options.connect().await.map_err(undone(None))?,
    };
    // In a write-ahead log FULL syncs at every commit and NORMAL at none. It can't be changed within a transaction.
    let begin = if batch.iter().any(|change| change.survives() == Survives::PowerCut) {
        "PRAGMA synchronous = FULL; BEGIN IMMEDIATE"
    } else {
        "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE"
    };
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        // A transaction begins once no other process is in one.
        let begun = match batch {
            [change] if change.calls() == Calls::One => {
                let transaction = Transaction { connection: &mut connection, begin: Some(begin) };
                change.make(transaction).await
            }
            _ => execute(&mut connection, begin).await,
        };
        match begun {
            // SQLite's own wait looks again after up to 100 ms: among busy processes the second would starve.
            Err(error) if error::is_busy(&error) && Instant::now() < deadline => sleep(BUSY_PAUSE).await,
            begun => break begun.map_err(undone(None))?,
        }
    }
    if let [change] = batch
        && change.calls() == Calls::One
    {
        if change.is_refused() {
            // By a statement that failed, or by what they gave: then they were committed.
            execute(&mut connection, "ROLLBACK").await.ok();
        }
        return Ok(connection);
    }
    for (place, change) in batch.iter_mut().enumerate() {
        let transaction = Transaction { connection: &mut connection, begin: None };
        change.make(transaction).await.map_err(undone(Some(place)))?;
    }
    execute(&mut connection, "COMMIT").await.map_err(undone(None))?;
    Ok(connection)
}

async fn execute(connection: &mut SqliteConnection, statements: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statements).execute(connection).await.map(|_| ())
}
