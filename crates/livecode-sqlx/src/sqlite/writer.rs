//! The one connection that writes, and the task that owns it.
//!
//! Changes that wait at the same time go into one transaction: a commit is what a change costs most. The task drives every
//! transaction to its end, so that no caller who loses interest can leave one open.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use livecode_core::{Error, Result};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
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
        make: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>> + Send + 'static,
    ) -> Result<T> {
        let (caller, answer) = oneshot::channel();
        let change = Box::new(Asked { survives, make: Some(make), made: Err(gone()), caller });
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

    /// Makes it within a transaction, which goes on unless this fails.
    fn make<'c>(&'c mut self, connection: &'c mut SqliteConnection)
    -> BoxFuture<'c, Result<(), sqlx::Error>>;

    /// Answers its caller, now that the transaction is committed or isn't.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Asked<F, T> {
    survives: Survives,
    make: Option<F>,
    made: Result<T>,
    caller: oneshot::Sender<Result<T>>,
}

impl<F, T> Change for Asked<F, T>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Failure>> + Send,
    T: Send,
{
    fn survives(&self) -> Survives {
        self.survives
    }

    fn make<'c>(
        &'c mut self,
        connection: &'c mut SqliteConnection,
    ) -> BoxFuture<'c, Result<(), sqlx::Error>> {
        async move {
            // Where the caller has gone, nothing is the better half of "made or not".
            if let Some(make) = self.make.take_if(|_| !self.caller.is_closed()) {
                self.made = match make(connection).await {
                    Ok(made) => Ok(made),
                    Err(Failure::Refused(error)) => Err(error),
                    Err(Failure::Broken(error)) => return Err(error),
                };
            }
            Ok(())
        }
        .boxed()
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        // A caller that has gone meanwhile needs no answer.
        self.caller.send(committed.and(self.made)).ok();
    }
}

async fn run(
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    mut changes: mpsc::Receiver<Box<dyn Change>>,
) {
    let mut connection = Some(connection);
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
    let to_disk = batch.iter().any(|change| change.survives() == Survives::PowerCut);
    begin(&mut connection, to_disk).await.map_err(undone(None))?;
    for (place, change) in batch.iter_mut().enumerate() {
        change.make(&mut connection).await.map_err(undone(Some(place)))?;
    }
    execute(&mut connection, "COMMIT").await.map_err(undone(None))?;
    Ok(connection)
}

/// Begins a transaction that may write, once no other process is in one.
async fn begin(connection: &mut SqliteConnection, to_disk: bool) -> Result<(), sqlx::Error> {
    // In a write-ahead log FULL syncs at every commit and NORMAL at none. It can't be changed within a transaction.
    let begin = if to_disk {
        "PRAGMA busy_timeout = 0; PRAGMA synchronous = FULL; BEGIN IMMEDIATE"
    } else {
        "PRAGMA busy_timeout = 0; PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE"
    };
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match execute(connection, begin).await {
            // SQLite's own wait looks again after up to 100 ms: among busy processes the second would starve.
            Err(error) if error::is_busy(&error) && Instant::now() < deadline => sleep(BUSY_PAUSE).await,
            begun => return begun,
        }
    }
}

async fn execute(connection: &mut SqliteConnection, statements: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statements).execute(connection).await.map(|_| ())
}
