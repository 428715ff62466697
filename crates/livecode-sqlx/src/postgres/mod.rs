//! PostgreSQL: one database, any number of processes on any number of machines.

mod connections;
mod deliveries;
mod events;
mod executions;
mod inputs;
mod jobs;
mod lanes;
mod looks;
mod queue;
mod quota;
mod retention;
mod rows;
mod schema;
mod sessions;
mod store;
mod vacuum;
mod waiters;

use std::{str::FromStr, sync::Arc};

use livecode_core::{Captured, Delivery, Error, Execution, Result, Session};
use sqlx::{ConnectOptions, Connection, postgres::PgConnectOptions};

use self::{
    connections::{Connections, in_time},
    executions::{Append, Insert, Update},
    jobs::{Ack, Claim, Extend, Push},
    lanes::Lanes,
    looks::Look,
    quota::Admit,
    vacuum::Vacuum,
    waiters::Waiters,
};
pub use self::{queue::PostgresQueue, store::PostgresStore};
use crate::error::from_sqlx;

/// What every connection asks of the planner. Each statement here looks a few rows up by an index; a plan that was made while a
/// table was small, or before anybody had counted its rows, must not read all of it once it has grown. And no look-up is worth
/// being compiled.
const PLANNER: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// What our statements are written for, whatever the server's defaults; and how long it keeps the locks of a machine of ours that
/// has gone without a word.
const SESSION: [(&str, &str); 5] = [
    ("default_transaction_isolation", "read committed"),
    ("idle_in_transaction_session_timeout", "15s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// An open PostgreSQL database: records, and if wanted the queue.
///
/// Any number of processes may have it open, on any number of machines. What one writes the others' followers and claimers are
/// told of within a few milliseconds. Each that is opened has at most 16 connections, and most of the time a few: keep the server's
/// `max_connections` above that.
///
/// Nothing that was answered `Ok` is lost, as long as the server's `synchronous_commit` and `fsync` are on, as they are by
/// default: every change is on the server's disk when it's answered. Concurrent changes share those waits.
///
/// Where the server is restarted or connections are cut, calls that are under way and the first ones after it fail with
/// [`Unavailable`](livecode_core::ErrorKind::Unavailable): at once where nobody listens, within 3 s where
/// there is no way to the server, and where it's there and says nothing after 10 s, or 20 behind others that wait for it. Those made when it's back succeed: nothing of ours need be
/// restarted. What stands between (PgBouncer) has to pool sessions and
/// not transactions, and to pass startup parameters on.
///
/// It lives in the tokio runtime in which it was opened. Clones, stores and queues share it; it's closed when the last
/// one is dropped.
///
/// ```no_run
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use livecode_core::*;
/// use livecode_sqlx::Postgres;
///
/// let database = Postgres::open("postgres://livecode:secret@localhost/livecode").await.unwrap();
/// let (store, queue) = database.store_and_queue();
/// let execution = Execution::new(Owner::anonymous(), "python", SystemClock.now());
/// store.insert(&execution, &ExecutionSpec::new("python", "1")).await.unwrap();
/// assert_eq!(queue.stats().await.unwrap().waiting, 1);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Postgres {
    database: Arc<Database>,
}

#[derive(Debug)]
struct Database {
    inserts: Lanes<Insert>,
    updates: Lanes<Update>,
    appends: Lanes<Append>,
    pushes: Lanes<Push>,
    claims: Lanes<Claim>,
    extensions: Lanes<Extend>,
    acks: Lanes<Ack>,
    admits: Lanes<Admit>,
    sessions: Lanes<Look<Session>>,
    executions: Lanes<Look<Execution>>,
    outputs: Lanes<Look<Captured>>,
    deliveries: Lanes<Look<Delivery>>,
    /// For what nobody asks by the hundred, and for what is large.
    connections: Arc<Connections>,
    waiters: Waiters,
    vacuum: Vacuum,
}

impl Postgres {
    /// Opens the database that `url` names, such as `postgres://user:password@host:5432/livecode`, and brings its schema up to
    /// date; several processes may do so at once. The tables are in the first schema of the user's `search_path`, which is
    /// `public` unless somebody says otherwise: `?options=-c%20search_path%3Dlivecode`. It has to be there, and to hold nobody
    /// else's tables.
    ///
    /// `?sslmode=` is as in libpq: `prefer` (TLS where the server has it, the default), `disable`, `require`, `verify-ca` and
    /// `verify-full`, with `sslrootcert`, `sslcert` and `sslkey`. Where the URL leaves something out, the variables `PGHOST`,
    /// `PGUSER` and their like are taken, and the file `~/.pgpass`.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](livecode_core::ErrorKind::InvalidArgument) for another URL, and for a schema that isn't there or
    /// holds another program's tables; [`Unsupported`](livecode_core::ErrorKind::Unsupported) where a newer livecode has made
    /// the schema, for PostgreSQL before 15, and for a database that isn't in UTF-8;
    /// [`Unavailable`](livecode_core::ErrorKind::Unavailable) where the server can't be reached or doesn't let us in.
    pub async fn open(url: &str) -> Result<Self> {
        let options = options(url)?;
        let mut connection = in_time(options.connect()).await.map_err(from_sqlx)?;
        let schema::Prepared { channel, sender } = schema::prepare(&mut connection).await?;
        // A goodbye that doesn't arrive does no harm.
        connection.close().await.ok();
        let connections = Arc::new(Connections::new(options.clone()));
        Ok(Self {
            database: Arc::new(Database {
                inserts: Lanes::start(&connections, 2),
                updates: Lanes::start(&connections, 2),
                appends: Lanes::start(&connections, 1),
                pushes: Lanes::start(&connections, 1),
                claims: Lanes::start(&connections, 1),
                extensions: Lanes::start(&connections, 1),
                acks: Lanes::start(&connections, 1),
                admits: Lanes::start(&connections, 1),
                sessions: Lanes::start(&connections, 1),
                executions: Lanes::start(&connections, 1),
                outputs: Lanes::start(&connections, 1),
                deliveries: Lanes::start(&connections, 1),
                waiters: Waiters::new(&connections, options, channel, sender),
                vacuum: Vacuum::start(&connections),
                connections,
            }),
        })
    }

    /// The records alone, for use beside another queue.
    pub fn store(&self) -> PostgresStore {
        PostgresStore::new(self.database.clone(), false)
    }

    /// Records and queue in one: inserting an execution makes its job claimable in the same transaction, and ending one
    /// that waits removes its job. To push a job that an insertion made changes nothing.
    pub fn store_and_queue(&self) -> (PostgresStore, PostgresQueue) {
        (PostgresStore::new(self.database.clone(), true), PostgresQueue::new(self.database.clone()))
    }
}

/// How to connect. The URL isn't repeated where it's refused: it may hold a password.
fn options(url: &str) -> Result<PgConnectOptions> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(Error::invalid(
            "the URL of a PostgreSQL database begins with postgres:// and goes on with user:password@host/database",
        ));
    }
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| Error::invalid("the URL of the database can't be understood").with_source(error))?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("livecode"),
    };
    Ok(options.options(PLANNER).options(SESSION).disable_statement_logging())
}
