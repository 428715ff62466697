//! The shared suites of livecode-core on a fresh database each: a SQLite file, a schema on a PostgreSQL server.
#![cfg(all(feature = "sqlite", feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_server;

mod sqlite {
    use std::sync::Arc;

    use livecode_core::{Queue, Store};
    use livecode_sqlx::{Sqlite, SqliteQueue, SqliteStore};
    use tempfile::TempDir;

    fn url(directory: &TempDir) -> String {
        format!("sqlite://{}/livecode.db", directory.path().display())
    }

    async fn fresh() -> (Sqlite, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (Sqlite::open(&url(&directory)).await.unwrap(), directory)
    }

    /// Two handles on one file share nothing in memory: they are to each other as two processes are.
    async fn two() -> ([Sqlite; 2], TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = url(&directory);
        ([Sqlite::open(&url).await.unwrap(), Sqlite::open(&url).await.unwrap()], directory)
    }

    mod store {
        use super::*;

        async fn store() -> (SqliteStore, TempDir) {
            let (database, directory) = fresh().await;
            (database.store(), directory)
        }

        livecode_core::conformance::store_suite!(store);
    }

    mod store_that_is_the_queue_too {
        use super::*;

        async fn store() -> (SqliteStore, TempDir) {
            let (database, directory) = fresh().await;
            (database.store_and_queue().0, directory)
        }

        livecode_core::conformance::store_suite!(store);
    }

    mod queue {
        use super::*;

        async fn queue() -> (SqliteQueue, TempDir) {
            let (database, directory) = fresh().await;
            (database.store_and_queue().1, directory)
        }

        livecode_core::conformance::queue_suite!(queue);
    }

    mod stores_of_two_processes {
        use super::*;

        async fn stores() -> ([Arc<dyn Store>; 2], TempDir) {
            let (databases, directory) = two().await;
            (databases.map(|database| Arc::new(database.store()) as Arc<dyn Store>), directory)
        }

        livecode_core::conformance::shared_store_suite!(stores);
    }

    mod queues_of_two_processes {
        use super::*;

        async fn queues() -> ([Arc<dyn Queue>; 2], TempDir) {
            let (databases, directory) = two().await;
            (databases.map(|database| Arc::new(database.store_and_queue().1) as Arc<dyn Queue>), directory)
        }

        livecode_core::conformance::shared_queue_suite!(queues);
    }
}

mod postgres {
    use std::sync::Arc;

    use livecode_core::{Queue, Store};
    use livecode_sqlx::{Postgres, PostgresQueue, PostgresStore};

    use super::postgres_server;

    async fn fresh() -> Postgres {
        Postgres::open(&postgres_server::fresh()).await.unwrap()
    }

    /// Two handles on one database share nothing in memory: they are to each other as two processes are.
    async fn two() -> [Postgres; 2] {
        let url = postgres_server::fresh();
        [Postgres::open(&url).await.unwrap(), Postgres::open(&url).await.unwrap()]
    }

    mod store {
        use super::*;

        async fn store() -> (PostgresStore, ()) {
            (fresh().await.store(), ())
        }

        livecode_core::conformance::store_suite!(store);
    }

    mod store_that_is_the_queue_too {
        use super::*;

        async fn store() -> (PostgresStore, ()) {
            (fresh().await.store_and_queue().0, ())
        }

        livecode_core::conformance::store_suite!(store);
    }

    mod queue {
        use super::*;

        async fn queue() -> (PostgresQueue, ()) {
            (fresh().await.store_and_queue().1, ())
        }

        livecode_core::conformance::queue_suite!(queue);
    }

    mod stores_of_two_processes {
        use super::*;

        async fn stores() -> ([Arc<dyn Store>; 2], ()) {
            (two().await.map(|database| Arc::new(database.store()) as Arc<dyn Store>), ())
        }

        livecode_core::conformance::shared_store_suite!(stores);
    }

    mod queues_of_two_processes {
        use super::*;

        async fn queues() -> ([Arc<dyn Queue>; 2], ()) {
            (two().await.map(|database| Arc::new(database.store_and_queue().1) as Arc<dyn Queue>), ())
        }

        livecode_core::conformance::shared_queue_suite!(queues);
    }
}
