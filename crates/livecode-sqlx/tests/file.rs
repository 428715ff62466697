//! Which files are opened, and what is said of the others.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{pin::pin, time::Duration};

use futures_util::future::join_all;
use livecode_core::{
    Clock, ErrorKind, Execution, ExecutionSpec, Inserted, ListQuery, Owner, PageStart, Queue, Store,
    SystemClock,
};
use livecode_sqlx::Sqlite;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::time::timeout;

/// A directory for one file, and the URL of it.
fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/livecode.db", directory.path().display());
    (directory, url)
}

/// The file without us in between.
async fn raw(url: &str) -> SqliteConnection {
    let path = url.strip_prefix("sqlite://").unwrap();
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

fn execution() -> Execution {
    Execution::new(Owner::anonymous(), "python", SystemClock.now())
}

fn spec() -> ExecutionSpec {
    ExecutionSpec::new("python", "1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_may_be_opened_by_many_at_once() {
    let (_directory, url) = place();
    let opened = join_all((0..16).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { Sqlite::open(&url).await.unwrap() })
    }));
    for database in opened.await {
        let execution = execution();
        let store = database.unwrap().store();
        assert_eq!(store.insert(&execution, &spec()).await.unwrap(), Inserted::New);
    }
    let journal: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut raw(&url).await).await.unwrap();
    assert_eq!(journal, "wal");
}

#[tokio::test]
async fn what_an_older_schema_had_queued_is_served_by_turn() {
    let (_directory, url) = place();
    let mut old = raw(&url).await;
    sqlx::raw_sql(include_str!("../migrations/sqlite/1_initial.sql")).execute(&mut old).await.unwrap();
    sqlx::raw_sql("PRAGMA application_id = 0x6c697665; PRAGMA user_version = 1")
        .execute(&mut old)
        .await
        .unwrap();
    let mut ids = Vec::new();
    for (owner, state) in
        [("a", "WAITING"), ("a", "DELAYED"), ("a", "WAITING"), ("b", "WAITING"), ("a", "WAITING")]
    {
        let id = execution().id;
        sqlx::query(
            "INSERT INTO execution (id, owner, language, priority, state, attempt, failures, version, run_after,
                 created_at, last_seq) VALUES (?1, ?2, 'python', 0, 'QUEUED', 1, 0, 1, 0, 0, 1);
             INSERT INTO job (execution_id, attempt, priority, state, due_at) VALUES (?1, 1, 0, ?3, 0)",
        )
        .bind(id.as_uuid())
        .bind(owner)
        .bind(state)
        .execute(&mut old)
        .await
        .unwrap();
        ids.push(id);
    }
    drop(old);
    let queue = Sqlite::open(&url).await.unwrap().store_and_queue().1;
    let claimed = queue.claim(9, Duration::ZERO, Duration::from_secs(60)).await.unwrap();
    let claimed: Vec<_> = claimed.iter().map(|lease| lease.id).collect();
    assert_eq!(claimed, [0, 3, 2, 4, 1].map(|index: usize| ids[index]), "the delayed one waits from now on");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (_directory, url) = place();
    drop(Sqlite::open(&url).await.unwrap());
    sqlx::query("PRAGMA user_version = 99").execute(&mut raw(&url).await).await.unwrap();
    let error = Sqlite::open(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("schema 99"), "{error}");
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let (_directory, url) = place();
    let mut other = raw(&url).await;
    sqlx::query("CREATE TABLE bird (name TEXT)").execute(&mut other).await.unwrap();
    let error = Sqlite::open(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("another program"), "{error}");
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut other).await.unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let (directory, url) = place();
    std::fs::write(directory.path().join("livecode.db"), "not a database at all, just text\n".repeat(200))
        .unwrap();
    let error = Sqlite::open(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("not a SQLite database"), "{error}");
    let error = Sqlite::open("sqlite:///nowhere/at/all.db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("directory"), "{error}");
}

#[tokio::test]
async fn urls_that_name_no_file_are_refused() {
    for url in [
        "",
        "livecode.db",
        "postgres://localhost/livecode",
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://file::memory:",
        "sqlite://a.db?mode=ro",
        "sqlite://a\0b",
    ] {
        let error = Sqlite::open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url:?}");
    }
}

#[tokio::test]
async fn a_damaged_record_is_our_failure_and_hides_no_other() {
    let (_directory, url) = place();
    let store = Sqlite::open(&url).await.unwrap().store();
    let mut all = Vec::new();
    for _ in 0..4 {
        let execution = execution();
        store.insert(&execution, &spec()).await.unwrap();
        all.push(execution);
    }
    let mut file = raw(&url).await;
    let owner = format!("UPDATE execution SET owner = '{}' WHERE id = ?", "x".repeat(10_000));
    let age = "UPDATE execution SET created_at = -9223372036854775808 WHERE id = ?".to_owned();
    for (damaged, damage) in all.iter().zip([owner, age]) {
        let damage = sqlx::AssertSqlSafe(damage);
        sqlx::query(damage).bind(damaged.id.as_uuid()).execute(&mut file).await.unwrap();
        assert_eq!(store.get(damaged.id).await.unwrap_err().kind(), ErrorKind::Internal);
    }
    for open_since_before in [None, Some(SystemClock.now().saturating_add(Duration::from_secs(1)))] {
        for limit in [2, 9] {
            let page = PageStart::After(None);
            let query = ListQuery { open_since_before, page, limit, ..ListQuery::default() };
            assert_eq!(store.list(&query).await.unwrap(), all[2..], "they don't count towards {limit}");
        }
    }
}

#[tokio::test]
async fn the_lock_of_another_process_is_waited_for() {
    let (_directory, url) = place();
    let store = Sqlite::open(&url).await.unwrap().store();
    let mut other = raw(&url).await;
    let transaction = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let execution = execution();
    let spec = spec();
    let mut insert = pin!(store.insert(&execution, &spec));
    assert!(timeout(Duration::from_millis(100), &mut insert).await.is_err());
    assert_eq!(store.list(&ListQuery::default()).await.unwrap(), [], "readers don't wait");
    transaction.rollback().await.unwrap();
    assert_eq!(insert.await.unwrap(), Inserted::New);
}

#[test]
fn a_handle_whose_runtime_has_ended_says_so() {
    let (_directory, url) = place();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let store = runtime().block_on(async { Sqlite::open(&url).await.unwrap().store() });
    let error = runtime().block_on(store.insert(&execution(), &spec())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("runtime"), "{error}");
}
