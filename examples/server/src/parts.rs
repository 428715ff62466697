//! What the configuration names, opened: store, queue, sandbox.

use std::sync::Arc;

use livecode::{
    CompileCache, MemoryQueue, MemoryStore, Queue, Result, Runner, Store,
    docker::{self, DockerSandbox},
    process::{self, ProcessSandbox, Warm},
    redis::RedisQueue,
    sqlx::{Postgres, Sqlite},
};

use crate::{
    config::{Config, Database, Isolation, QueueKind, Role, SandboxKind},
    metrics::Watched,
};

/// The parts that the server is put together from.
#[derive(Debug)]
pub struct Parts {
    /// Where records live.
    pub store: Arc<dyn Store>,
    /// How work reaches workers.
    pub queue: Arc<dyn Queue>,
    /// How programs run, with the configured languages and limits; none where other processes run them.
    pub runner: Option<Runner>,
    /// What they run in, for metrics; and what has containers that wait, for the end to drain.
    pub watched: Watched,
}

impl Parts {
    /// Opens them all; builds the sandbox, which finds out what it can enforce here.
    ///
    /// # Errors
    ///
    /// Where a part can't be had, with the reason and the remedy.
    pub async fn open(config: &Config) -> Result<Self> {
        let (store, own_queue) = records(&config.database()?, config.queue()? == QueueKind::Database).await?;
        let queue = match config.queue()? {
            QueueKind::Database => own_queue,
            QueueKind::Memory => Arc::new(MemoryQueue::default()),
            QueueKind::Redis(url) => Arc::new(RedisQueue::open(&url).await?),
        };
        let (runner, watched) = match config.role {
            Role::Api => (None, Watched::default()),
            Role::All | Role::Worker => {
                let (runner, watched) = runner(config).await?;
                (Some(runner.languages(config.known_languages()?).ceiling(config.ceiling())), watched)
            }
        };
        Ok(Self { store, queue, runner, watched })
    }
}

/// The store, and the queue that goes with it. They aren't one, and the queue isn't used, where another has the jobs.
async fn records(database: &Database, has_jobs: bool) -> Result<(Arc<dyn Store>, Arc<dyn Queue>)> {
    Ok(match database {
        Database::Memory => (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default())),
        Database::Sqlite(url) => {
            let database = Sqlite::open(url).await?;
            let (store, queue) = database.store_and_queue();
            (Arc::new(if has_jobs { store } else { database.store() }), Arc::new(queue))
        }
        Database::Postgres(url) => {
            let database = Postgres::open(url).await?;
            let (store, queue) = database.store_and_queue();
            (Arc::new(if has_jobs { store } else { database.store() }), Arc::new(queue))
        }
    })
}

async fn runner(config: &Config) -> Result<(Runner, Watched)> {
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
            let watched = Watched { process: Some(sandbox.clone()), ..Watched::default() };
            Ok(match config.compile_cache_bytes {
                0 => (Runner::new(sandbox), watched),
                bytes => {
                    let cache = Arc::new(CompileCache::new(sandbox).max_bytes(bytes));
                    (Runner::shared(cache.clone()), Watched { cache: Some(cache), ..watched })
                }
            })
        }
        SandboxKind::Docker => {
            let isolation = match config.isolation {
                Isolation::Strict => docker::Isolation::Strict,
                Isolation::BestEffort => docker::Isolation::BestEffort,
            };
            let mut builder = DockerSandbox::builder().isolation(isolation);
            if let Some(runtime) = &config.docker_runtime {
                builder = builder.runtime(runtime);
            }
            let ways = config.warm()?;
            if !ways.is_empty() && ways.iter().all(|(_, way)| *way == Warm::Off) {
                builder = builder.waiting(0);
            }
            let builder = config
                .images()?
                .into_iter()
                .fold(builder, |builder, (language, image)| builder.image(language, image));
            let sandbox = builder.build().await?;
            let watched = Watched { docker: Some(sandbox.clone()), ..Watched::default() };
            Ok((Runner::new(sandbox), watched))
        }
    }
}
