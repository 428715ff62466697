//! What the configuration names, opened: store, queue, sandbox.

use std::sync::Arc;

use livecode::{
    CompileCache, MemoryQueue, MemoryStore, Queue, Result, Runner, Store,
    process::{self, ProcessSandbox},
    sqlx::{Postgres, Sqlite},
};

use crate::config::{Config, Database, Isolation, QueueKind, Role, SandboxKind};

/// The parts that the server is put together from.
#[derive(Debug)]
pub struct Parts {
    /// Where records live.
    pub store: Arc<dyn Store>,
    /// How work reaches workers.
    pub queue: Arc<dyn Queue>,
    /// How programs run, with the configured languages and limits; none where other processes run them.
    pub runner: Option<Runner>,
}

impl Parts {
    /// Opens them all; builds the sandbox, which finds out what it can enforce here.
    ///
    /// # Errors
    ///
    /// Where a part can't be had, with the reason and the remedy.
    pub async fn open(config: &Config) -> Result<Self> {
        let (store, queue): (Arc<dyn Store>, Arc<dyn Queue>) = match (config.database()?, config.queue()?) {
            (Database::Memory, QueueKind::Memory | QueueKind::Database) => {
                (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()))
            }
            (Database::Sqlite(url), QueueKind::Database) => {
                let (store, queue) = Sqlite::open(&url).await?.store_and_queue();
                (Arc::new(store), Arc::new(queue))
            }
            (Database::Sqlite(url), QueueKind::Memory) => {
                let store = Sqlite::open(&url).await?.store();
                (Arc::new(store), Arc::new(MemoryQueue::default()))
            }
            (Database::Postgres(url), QueueKind::Database) => {
                let (store, queue) = Postgres::open(&url).await?.store_and_queue();
                (Arc::new(store), Arc::new(queue))
            }
            (Database::Postgres(url), QueueKind::Memory) => {
                let store = Postgres::open(&url).await?.store();
                (Arc::new(store), Arc::new(MemoryQueue::default()))
            }
        };
        let runner = match config.role {
            Role::Api => None,
            Role::All | Role::Worker => {
                Some(runner(config)?.languages(config.known_languages()?).ceiling(config.ceiling()))
            }
        };
        Ok(Self { store, queue, runner })
    }
}

fn runner(config: &Config) -> Result<Runner> {
    match config.sandbox {
        SandboxKind::Process => {
            let isolation = match config.isolation {
                Isolation::Strict => process::Isolation::Strict,
                Isolation::BestEffort => process::Isolation::BestEffort,
            };
            let builder = ProcessSandbox::builder().isolation(isolation);
            let builder = config
                .warm()?
                .into_iter()
                .fold(builder, |builder, (language, way)| builder.warm(language, way));
            let sandbox = builder.build()?;
            Ok(match config.compile_cache_bytes {
                0 => Runner::new(sandbox),
                bytes => Runner::new(CompileCache::new(sandbox).max_bytes(bytes)),
            })
        }
    }
}
