//! SQL databases: several processes on one, one transaction for record and job, kills.
//!
//! Two handles on one database share nothing in memory: they are to each other as two processes are.
#![cfg(all(feature = "sqlite", feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cases;
#[path = "../postgres_server/mod.rs"]
mod postgres_server;

use livecode_core::{Queue, Store};
use livecode_sqlx::{Postgres, PostgresQueue, PostgresStore, Sqlite, SqliteQueue, SqliteStore};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// An empty database, and ways into it.
trait Place: Sized {
    /// Of the module with its tests.
    const NAME: &str;
    type Store: Store + Clone;
    type Queue: Queue + Clone;

    async fn new() -> Self;

    /// One that is there.
    fn at(url: String) -> Self;

    fn url(&self) -> &str;

    async fn open(&self) -> (Self::Store, Self::Queue);

    /// As a store beside another queue.
    async fn open_store_alone(&self) -> Self::Store;

    /// The first number that a statement gives, without us in between.
    async fn by_hand(&self, statement: &'static str) -> Result<i64, sqlx::Error>;
}

struct File {
    url: String,
    _directory: Option<TempDir>,
}

impl Place for File {
    const NAME: &str = "sqlite";
    type Store = SqliteStore;
    type Queue = SqliteQueue;

    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/livecode.db", directory.path().display());
        Self { url, _directory: Some(directory) }
    }

    fn at(url: String) -> Self {
        Self { url, _directory: None }
    }

    fn url(&self) -> &str {
        &self.url
    }

    async fn open(&self) -> (SqliteStore, SqliteQueue) {
        Sqlite::open(&self.url).await.unwrap().store_and_queue()
    }

    async fn open_store_alone(&self) -> SqliteStore {
        Sqlite::open(&self.url).await.unwrap().store()
    }

    async fn by_hand(&self, statement: &'static str) -> Result<i64, sqlx::Error> {
        let mut connection = SqliteConnection::connect(&self.url).await?;
        sqlx::query_scalar(statement).fetch_one(&mut connection).await
    }
}

struct Schema {
    url: String,
}

impl Place for Schema {
    const NAME: &str = "postgres";
    type Store = PostgresStore;
    type Queue = PostgresQueue;

    async fn new() -> Self {
        Self { url: postgres_server::fresh() }
    }

    fn at(url: String) -> Self {
        Self { url }
    }

    fn url(&self) -> &str {
        &self.url
    }

    async fn open(&self) -> (PostgresStore, PostgresQueue) {
        Postgres::open(&self.url).await.unwrap().store_and_queue()
    }

    async fn open_store_alone(&self) -> PostgresStore {
        Postgres::open(&self.url).await.unwrap().store()
    }

    async fn by_hand(&self, statement: &'static str) -> Result<i64, sqlx::Error> {
        let mut connection = PgConnection::connect(&self.url).await?;
        sqlx::query_scalar(statement).fetch_one(&mut connection).await
    }
}

macro_rules! on_every_database {
    ($($case:ident)*) => {
        mod sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::cases::$case(<super::File as super::Place>::new().await).await;
            }
        )* }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::cases::$case(<super::Schema as super::Place>::new().await).await;
            }
        )* }
    };
}

on_every_database! {
    everything_is_there_after_reopening
    followers_see_what_another_process_writes
    a_claim_hears_of_a_job_from_another_process
    processes_never_share_a_claim
    one_idempotency_key_makes_one_execution_in_all_processes
    inserting_makes_the_job_claimable_and_pushing_it_again_changes_nothing
    a_run_is_claimed_at_once_beside_a_hundred_thousand_of_another_owner
    ending_a_queued_execution_removes_its_job
    a_job_under_a_lease_is_left_to_its_holder
    a_store_beside_another_queue_makes_no_jobs
    a_caller_who_goes_leaves_all_or_nothing_and_a_writer_that_works
    a_record_that_breaks_the_rules_fails_alone
    what_has_ended_is_never_changed
    what_is_pruned_leaves_no_row_behind
    a_damaged_delivery_hides_no_other
    tallies_that_say_nothing_go_when_others_come
    of_concurrent_requests_as_many_are_open_as_may
    a_long_log_is_read_whole_from_anywhere
    what_was_answered_survives_a_kill_in_mid_write
}
