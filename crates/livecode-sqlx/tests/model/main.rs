//! The stores and queues in SQL beside those in memory: the same operations get the same answers.
#![cfg(all(feature = "sqlite", feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../postgres_server/mod.rs"]
mod postgres_server;
mod store;

use std::fmt::Debug;

use livecode_core::{ErrorKind, Result, conformance::queue::model};
use livecode_sqlx::{Postgres, Sqlite};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use self::store::{store_as_memory_does, store_step};

/// The `index`th of those there are; none where there are none.
fn pick<T>(all: &[T], index: usize) -> Option<&T> {
    all.get(index % all.len().max(1))
}

/// What both said, where they agree: values as they are, errors by their kind.
fn same<T: PartialEq + Debug>(memory: Result<T>, sql: Result<T>) -> std::result::Result<T, ErrorKind> {
    let (memory, sql) = (memory.map_err(|error| error.kind()), sql.map_err(|error| error.kind()));
    assert_eq!(memory, sql);
    sql
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

async fn sqlite() -> (Sqlite, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/livecode.db", directory.path().display());
    (Sqlite::open(&url).await.unwrap(), directory)
}

async fn postgres() -> Postgres {
    Postgres::open(&postgres_server::fresh()).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_stores_as_memory_does(steps in vec(store_step(), 1..60), is_queue: bool) {
        run(async {
            let (database, _directory) = sqlite().await;
            let store = if is_queue { database.store_and_queue().0 } else { database.store() };
            store_as_memory_does(store, steps).await;
        });
    }

    #[test]
    fn sqlite_queues_as_memory_does(steps in model::steps()) {
        run(async {
            let (database, _directory) = sqlite().await;
            model::does_as_memory_does(database.store_and_queue().1, steps).await;
        });
    }

    #[test]
    fn postgres_stores_as_memory_does(steps in vec(store_step(), 1..60), is_queue: bool) {
        run(async {
            let database = postgres().await;
            let store = if is_queue { database.store_and_queue().0 } else { database.store() };
            store_as_memory_does(store, steps).await;
        });
    }

    #[test]
    fn postgres_queues_as_memory_does(steps in model::steps()) {
        run(async { model::does_as_memory_does(postgres().await.store_and_queue().1, steps).await });
    }
}
