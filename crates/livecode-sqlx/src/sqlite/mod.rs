//! SQLite: one file, one writer, many readers, any number of processes.

mod deliveries;
mod events;
mod executions;
mod inputs;
mod queue;
mod quota;
mod retention;
mod rows;
mod schema;
mod sessions;
mod store;
mod waiters;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use livecode_core::{Error, Result};
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

pub use self::{queue::SqliteQueue, store::SqliteStore};
use self::{waiters::Waiters, writer::Writer};
use crate::error::from_sqlx;

/// How long to wait for a lock that another process has. Far longer than any of ours has one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long between two tries, where it's not SQLite that waits: about as long as a transaction takes.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// How much of the write-ahead log's file stays after a burst, in bytes: it's written again from its start.
const WAL_KEPT: &str = "67108864";

/// Connections that read at a time, the one that looks for other processes' changes included. More would only take turns:
/// reading is a matter of microseconds.
const READERS: u32 = 5;

/// An open database file: records, and if wanted the queue.
///
/// Several processes may have the file open, on one machine; it must not lie on a network file system. What one writes
/// the others' followers and claimers notice within some 20 ms.
///
/// Whatever kills the process, nothing that was answered `Ok` is lost: it's in a write-ahead log, which the operating system
/// has. A power cut doesn't take what somebody relies on either: sessions, accepted executions, wishes to cancel and ends are
/// on the disk when they are answered, and all that came before them. Steps in between (claims, starts, output, input) may be lost
/// with the last moments before the cut: the execution is run again then, and the log of the new run has numbers that the
/// log of the lost one had. To sync at those steps as well would cost each run three more waits for the disk and gain
/// nothing that lasts.
///
/// It lives in the tokio runtime in which it was opened. Clones, stores and queues share it; it's closed when the last
/// one is dropped.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use livecode_core::*;
/// use livecode_sqlx::Sqlite;
///
/// let directory = tempfile::tempdir().unwrap();
/// let database = Sqlite::open(&format!("sqlite://{}/livecode.db", directory.path().display())).await.unwrap();
/// let (store, queue) = database.store_and_queue();
/// let execution = Execution::new(Owner::anonymous(), "python", SystemClock.now());
/// store.insert(&execution, &ExecutionSpec::new("python", "1")).await.unwrap();
/// assert_eq!(queue.stats().await.unwrap().waiting, 1);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Sqlite {
    database: Arc<Database>,
}

#[derive(Debug)]
struct Database {
    writer: Writer,
    readers: SqlitePool,
    waiters: Waiters,
}

impl Sqlite {
    /// Opens the file that `url` names, `sqlite://livecode.db` or `sqlite:///var/lib/livecode.db`: the rest of it is a path,
    /// taken as it is written. Makes the file where there is none, and brings its schema up to date; several processes
    /// may do so at once.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](livecode_core::ErrorKind::InvalidArgument) for another URL, for a database in memory (use
    /// livecode-core's memory backends) and for a database of another program;
    /// [`Unsupported`](livecode_core::ErrorKind::Unsupported) where a newer livecode has made the schema, and where the
    /// file system can't hold a write-ahead log; [`Unavailable`](livecode_core::ErrorKind::Unavailable) where the file
    /// can't be opened or written; [`Internal`](livecode_core::ErrorKind::Internal) where it's damaged.
    pub async fn open(url: &str) -> Result<Self> {
        let path = path(url)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .pragma("journal_size_limit", WAL_KEPT)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(from_sqlx)?;
        schema::prepare(&mut connection, path).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY_TIMEOUT)
            .acquire_slow_threshold(BUSY_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.clone().create_if_missing(false).read_only(true));
        Ok(Self {
            database: Arc::new(Database {
                writer: Writer::start(
                    options.create_if_missing(false).busy_timeout(Duration::ZERO),
                    connection,
                ),
                waiters: Waiters::new(readers.clone()),
                readers,
            }),
        })
    }

    /// The records alone, for use beside another queue.
    pub fn store(&self) -> SqliteStore {
        SqliteStore::new(self.database.clone(), false)
    }

    /// Records and queue in one: inserting an execution makes its job claimable in the same transaction, and ending one
    /// that waits removes its job. To push a job that an insertion made changes nothing.
    pub fn store_and_queue(&self) -> (SqliteStore, SqliteQueue) {
        (SqliteStore::new(self.database.clone(), true), SqliteQueue::new(self.database.clone()))
    }
}

/// The file that a URL names.
fn path(url: &str) -> Result<&Path> {
    let refuse = |reason| Err(Error::invalid(format!("{url:?} is not the URL of a database file: {reason}")));
    let Some(path) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) else {
        return refuse("it begins with sqlite:// and goes on with a path");
    };
    if path.is_empty() {
        return refuse("it has no path");
    }
    if path.contains(":memory:") {
        return refuse("SQLite in memory is not served, use the backends in memory of livecode-core");
    }
    // SQLite would take the one for a URI of its own; the other is how such URLs carry parameters, and there are none.
    if path.starts_with("file:") || path.contains(['?', '\0']) {
        return refuse("the path begins with 'file:' or has a '?' or a NUL");
    }
    Ok(Path::new(path))
}
