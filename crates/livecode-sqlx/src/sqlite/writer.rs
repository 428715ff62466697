//! The one connection that writes, and the task that owns it.
//!
//! Changes that wait at the same time go into one transaction, each in a savepoint of its own: a commit is what a change
//! costs most. The task drives every transaction to its end, so that no caller who loses interest can leave one open.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use livecode_core::{Error, Result};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot};

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

    /// Makes a change: all of `make` or, where it fails, nothing. Where this future is dropped it's made or not.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        survives: Survives,
        make: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (caller, answer) = oneshot::channel();
        let change = Box::new(Asked {
            survives,
            make: Some(make),
            made: None,
            caller,
        });
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

    /// Makes it within a transaction; says whether it stays.
    fn make<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, bool>;

    /// Answers its caller, now that the transaction is committed or isn't.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Asked<F, T> {
    survives: Survives,
    make: Option<F>,
    made: Option<Result<T>>,
    caller: oneshot::Sender<Result<T>>,
}

impl<F, T> Change for Asked<F, T>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send,
    T: Send,
{
    fn survives(&self) -> Survives {
        self.survives
    }

    fn make<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, bool> {
        async move {
            match self.make.take() {
                // Where the caller has gone, nothing is the better half of "made or not".
                Some(make) if !self.caller.is_closed() => {
                    let made = self.made.insert(make(connection).await);
                    made.is_ok() && !self.caller.is_closed()
                }
                Some(_) | None => false,
            }
        }
        .boxed()
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let made = self.made.unwrap_or_else(|| Err(gone()));
        // A caller that has gone meanwhile needs no answer.
        self.caller.send(committed.and(made)).ok();
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
        let failure = match commit(&options, connection.take(), &mut batch).await {
            Ok(good) => {
                connection = Some(good);
                None
            }
            // Its connection is closed, what was in the transaction is undone, and the next batch opens another.
            Err(cause) => Some(Arc::new(cause)),
        };
        for change in batch.drain(..) {
            change.answer(match &failure {
                None => Ok(()),
                Some(cause) => Err(error::shared(cause)),
            });
        }
    }
}

/// Makes the changes of a batch in one transaction, and gives back the connection where that is over and done.
async fn commit(
    options: &SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    batch: &mut [Box<dyn Change>],
) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => options.connect().await?,
    };
    let to_disk = batch.iter().any(|change| change.survives() == Survives::PowerCut);
    // In a write-ahead log NORMAL never syncs at a commit, FULL always does. It can't be changed within a transaction.
    let mut savepoint = if to_disk {
        "PRAGMA synchronous = FULL; BEGIN IMMEDIATE; SAVEPOINT change"
    } else {
        "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE; SAVEPOINT change"
    };
    for change in batch {
        execute(&mut connection, savepoint).await?;
        if !change.make(&mut connection).await {
            execute(&mut connection, "ROLLBACK TO change").await?;
        }
        savepoint = "RELEASE change; SAVEPOINT change";
    }
    execute(&mut connection, "COMMIT").await?;
    Ok(connection)
}

async fn execute(connection: &mut SqliteConnection, statements: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statements).execute(connection).await.map(|_| ())
}
