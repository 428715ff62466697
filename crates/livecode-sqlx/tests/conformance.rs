//! The shared suites of livecode-core on a fresh SQLite file each.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use livecode_sqlx::{Sqlite, SqliteQueue, SqliteStore};
use tempfile::TempDir;

async fn fresh() -> (Sqlite, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/livecode.db", directory.path().display());
    (Sqlite::open(&url).await.unwrap(), directory)
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
