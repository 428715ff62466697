//! Where jobs and records are kept while they're measured.

use std::{env, sync::Arc, time::Duration};

use livecode::{
    Change, Clock, Error, Execution, ExecutionId, ExecutionSpec, Job, Lease, MemoryQueue, MemoryStore,
    Outcome, Output, Owner, Queue, Result, Stdio, Store, SystemClock, Termination,
    sqlx::{Postgres, Sqlite},
};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::postgres_server::Server;

/// Longer than anything here takes.
const LEASE: Duration = Duration::from_secs(60);

pub(crate) enum Database {
    Memory,
    Sqlite(TempDir),
    Postgres(PostgresServer),
}

impl Database {
    pub(crate) fn sqlite() -> std::io::Result<Self> {
        Ok(Self::Sqlite(tempfile::tempdir()?))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// An empty one, and its URL where it has one.
    pub(crate) async fn open(&self, name: &str) -> crate::Result<(Place, Option<String>)> {
        Ok(match self {
            Self::Memory => (Place::new(MemoryStore::default(), MemoryQueue::default()), None),
            Self::Sqlite(directory) => {
                let url = format!("sqlite://{}/{name}.db", directory.path().display());
                let (store, queue) = Sqlite::open(&url).await?.store_and_queue();
                (Place::new(store, queue), Some(url))
            }
            Self::Postgres(server) => {
                let (place, url) = server.open(name).await?;
                (place, Some(url))
            }
        })
    }
}

/// The one that is named, or one of our own.
#[derive(Clone)]
pub(crate) struct PostgresServer {
    url: String,
    /// Stopped and removed when nobody has it any more.
    _own: Option<Server>,
}

impl PostgresServer {
    pub(crate) fn new() -> Self {
        if let Ok(url) = env::var("LIVECODE_TEST_POSTGRES") {
            return Self { url, _own: None };
        }
        let own = Server::alone();
        Self { url: format!("postgres://postgres@127.0.0.1:{}/postgres", own.port()), _own: Some(own) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A schema of its own, with its URL.
    pub(crate) async fn open(&self, name: &str) -> crate::Result<(Place, String)> {
        let id = ExecutionId::generate(SystemClock.now()).as_uuid().simple();
        let schema = format!("livecode_bench_{name}_{id}");
        let mut connection = PgConnection::connect(&self.url).await?;
        let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::raw_sql(create).execute(&mut connection).await?;
        let joint = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{joint}options=-c%20search_path%3D{schema}", self.url);
        let (store, queue) = Postgres::open(&url).await?.store_and_queue();
        Ok((Place::new(store, queue), url))
    }
}

/// What is done again and again.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// All that an execution asks of its store and queue.
    LifeCycle,
    /// All that a job asks of its queue.
    Job,
    /// The same of one that has been waiting.
    Waiting,
}

/// A store, and the queue beside it.
#[derive(Clone)]
pub(crate) struct Place {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    owner: Owner,
    spec: ExecutionSpec,
}

impl Place {
    fn new(store: impl Store, queue: impl Queue) -> Self {
        Self {
            store: Arc::new(store),
            queue: Arc::new(queue),
            owner: Owner::anonymous(),
            spec: ExecutionSpec::new("python", "print('hi')"),
        }
    }

    /// The same for somebody else.
    pub(crate) fn for_owner(&self, owner: Owner) -> Self {
        Self { owner, ..self.clone() }
    }

    /// Adds one, and sees one through: it may be another's.
    pub(crate) async fn work(&self, work: Work) -> Result<()> {
        match work {
            Work::LifeCycle => self.live().await,
            Work::Job => {
                self.push(1).await?;
                self.ack(&self.claim().await?).await
            }
            Work::Waiting => self.ack(&self.claim().await?).await,
        }
    }

    async fn live(&self) -> Result<()> {
        self.accept().await?;
        let leases = self.claim().await?;
        for lease in &leases {
            let (execution, spec) = tokio::join!(self.store.get(lease.id), self.store.spec(lease.id));
            let (mut execution, _) = (execution?, spec?);
            execution.apply(Change::Start, SystemClock.now())?;
            self.store.update(&execution, &[]).await?;
            let outcome = Outcome::new(Termination::Exited { code: 0 });
            execution.apply(Change::Finish(outcome), SystemClock.now())?;
            self.store.update(&execution, &[Output::new(Stdio::Stdout, "hi\n")]).await?;
        }
        self.ack(&leases).await
    }

    /// Inserts one, as the engine does.
    pub(crate) async fn accept(&self) -> Result<()> {
        let execution = Execution::new(self.owner.clone(), "python", SystemClock.now());
        self.store.insert(&execution, &self.spec).await?;
        if self.store.is_queue() { Ok(()) } else { self.queue.push(&[self.job(execution.id)]).await }
    }

    /// Jobs that no record belongs to.
    pub(crate) async fn push(&self, jobs: usize) -> Result<()> {
        let job = |_| self.job(ExecutionId::generate(SystemClock.now()));
        self.queue.push(&(0..jobs).map(job).collect::<Vec<_>>()).await
    }

    /// One job. There has to be one.
    pub(crate) async fn claim(&self) -> Result<Vec<Lease>> {
        let leases = self.queue.claim(1, LEASE, LEASE).await?;
        if leases.is_empty() { Err(Error::unavailable("the queue ran out of jobs")) } else { Ok(leases) }
    }

    pub(crate) async fn ack(&self, leases: &[Lease]) -> Result<()> {
        self.queue.ack(leases).await
    }

    fn job(&self, id: ExecutionId) -> Job {
        Job { id, attempt: 1, owner: self.owner.clone(), delay: Duration::ZERO, priority: 0 }
    }
}
