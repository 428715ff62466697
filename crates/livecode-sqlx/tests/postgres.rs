//! Which databases are opened, what is said of the others, and what happens where the server goes away.
#![cfg(feature = "postgres")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_server;

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, future::join_all};
use livecode_core::{
    Change, Clock, Error, ErrorKind, Event, Execution, ExecutionSpec, Follow, Inserted, ListQuery, Outcome,
    Output, Owner, PageStart, Queue, Result, Seq, Session, Source, State, Stdio, Store, SystemClock,
    Termination,
};
use livecode_sqlx::{Postgres, PostgresQueue, PostgresStore};
use postgres_server::{Server, fresh};
use sqlx::{Connection, PgConnection};

const NO: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(600);

/// The database without us in between.
async fn by_hand(url: &str, statement: impl Into<String>) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.into())).execute(&mut connection).await.unwrap();
}

fn execution() -> Execution {
    Execution::new(Owner::anonymous(), "python", SystemClock.now())
}

fn spec() -> ExecutionSpec {
    ExecutionSpec::new("python", "1")
}

async fn refusal(url: &str) -> Error {
    Postgres::open(url).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_database_may_be_opened_by_many_at_once() {
    let url = fresh();
    let opened = join_all((0..16).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { Postgres::open(&url).await.unwrap() })
    }));
    for database in opened.await {
        let store = database.unwrap().store();
        assert_eq!(store.insert(&execution(), &spec()).await.unwrap(), Inserted::New);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let url = fresh();
    drop(Postgres::open(&url).await.unwrap());
    by_hand(&url, "UPDATE livecode_schema SET version = 99").await;
    let error = refusal(&url).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("schema 99"), "{error}");
}

#[tokio::test]
async fn the_schema_of_another_program_is_refused_and_left_as_it_is() {
    let url = fresh();
    by_hand(&url, "CREATE TABLE bird (name text)").await;
    let error = refusal(&url).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("another program"), "{error}");
    // It has nothing else that this one could depend on.
    by_hand(&url, "DROP TABLE bird").await;
    Postgres::open(&url).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_not_there_is_refused() {
    let (server, _) = fresh().rsplit_once("livecode_").map(|(url, _)| (url.to_owned(), ())).unwrap();
    let error = refusal(&format!("{server}nowhere")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("CREATE SCHEMA"), "{error}");
}

#[tokio::test]
async fn a_database_that_holds_not_every_text_is_refused() {
    let url = fresh();
    let name = url.rsplit_once("%3D").unwrap().1;
    by_hand(&url, format!("CREATE DATABASE {name} ENCODING LATIN1 TEMPLATE template0")).await;
    let error = refusal(&format!("{url}&dbname={name}")).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("LATIN1"), "{error}");
    by_hand(&url, format!("DROP DATABASE {name}")).await;
}

#[tokio::test]
async fn urls_that_name_no_database_are_refused_without_their_password() {
    for url in [
        "",
        "sqlite://a.db",
        "mysql://u:hunter2@h/d",
        "postgres://u:hunter2@h:port/d",
        "postgres://u:hunter2@h/d?sslmode=some",
    ] {
        let error = refusal(url).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{url:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn who_is_not_there_or_lets_nobody_in_is_unavailable() {
    let error = refusal("postgres://u@127.0.0.1:1/d").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = refusal(&format!("{}&dbname=nowhere", fresh())).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("createdb"), "{error}");
    let error = refusal(&format!("{}&user=nobody", fresh())).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn encryption_that_is_asked_for_is_had_or_refused() {
    let server = Server::alone();
    let url = |mode: &str| format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode={mode}", server.port());
    assert!(Postgres::open(&url("disable")).await.is_ok());
    let error = refusal(&url("require")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("sslmode"), "{error}");
}

#[tokio::test]
async fn a_nul_is_kept_wherever_it_is() {
    let store = Postgres::open(&fresh()).await.unwrap().store();
    let now = SystemClock.now();
    let source = Source { language: "a\0b".into(), source_code: "\0".into(), files: Vec::new() };
    let mut session = Session::new(Owner::new("alice").unwrap(), source.clone(), now);
    store.insert_session(&session).await.unwrap();
    session.save(Source { source_code: "\0\0".into(), ..source }, now).unwrap();
    store.update_session(&session).await.unwrap();
    assert_eq!(store.session(session.id).await.unwrap(), session);
    assert_eq!(store.revisions(session.id, None, 1).await.unwrap()[0].language, "a\0b");
    let mut execution =
        Execution { idempotency_key: Some("k\0".into()), ..Execution::new(Owner::anonymous(), "a\0b", now) };
    let spec = ExecutionSpec::new("a\0b", "print('\0')").stdin("\0");
    store.insert(&execution, &spec).await.unwrap();
    assert_eq!(store.spec(execution.id).await.unwrap(), spec);
    execution.apply(Change::Start, now).unwrap();
    store.update(&execution, &[Output::new(Stdio::Stdout, "\0")]).await.unwrap();
    execution.apply(Change::Requeue { run_after: now, failure: Some("f\0".into()) }, now).unwrap();
    store.update(&execution, &[]).await.unwrap();
    execution.apply(Change::Start, now).unwrap();
    store.update(&execution, &[]).await.unwrap();
    let compile_output = Some("c\0".into());
    let outcome = Outcome { compile_output, ..Outcome::new(Termination::Exited { code: 0 }) };
    execution.apply(Change::Finish(outcome), now).unwrap();
    store.update(&execution, &[Output::new(Stdio::Stdout, "o\0")]).await.unwrap();
    assert_eq!(store.get(execution.id).await.unwrap(), execution);
    assert_eq!(store.output(execution.id).await.unwrap().stdout, "o\0");
    assert_eq!(store.by_key(&execution.owner, None, "k\0").await.unwrap(), Some(execution));
}

#[tokio::test]
async fn a_damaged_record_is_our_failure_and_hides_no_other() {
    let url = fresh();
    let store = Postgres::open(&url).await.unwrap().store();
    let mut all = Vec::new();
    for _ in 0..4 {
        let execution = execution();
        store.insert(&execution, &spec()).await.unwrap();
        all.push(execution);
    }
    for (damaged, damage) in all.iter().zip(["language = '{'", "created_at = -9223372036854775808"]) {
        by_hand(&url, format!("UPDATE execution SET {damage} WHERE id = '{}'", damaged.id)).await;
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

#[test]
fn a_handle_whose_runtime_has_ended_says_so() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let store = runtime().block_on(async { Postgres::open(&fresh()).await.unwrap().store() });
    let error = runtime().block_on(store.insert(&execution(), &spec())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("runtime"), "{error}");
}

/// Repeats a call as its callers do, as long as it fails for now.
async fn persistently<T>(mut call: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    loop {
        match call().await {
            Err(error) if error.is_temporary() => tokio::task::yield_now().await,
            made => return made,
        }
    }
}

/// Inserts, runs and ends one after the other until `enough`, and follows each from another process; gives back how many.
async fn work(
    (store, queue): (PostgresStore, PostgresQueue),
    follower: PostgresStore,
    enough: &AtomicBool,
) -> usize {
    let mut lives = 0;
    loop {
        let mut execution = execution();
        let repeated = persistently(async || store.insert(&execution, &spec()).await).await;
        // Where the answer was lost, it's there already.
        assert!(repeated.is_ok() || repeated.unwrap_err().kind() == ErrorKind::Conflict);
        let log = tokio::spawn(follow(follower.clone(), execution.clone()));
        // One that is lost on its way comes back when it lapses.
        let leases = persistently(async || queue.claim(1, LONG, SHORT).await).await.unwrap();
        assert_eq!(leases[0].id, execution.id);
        for change in [Change::Start, Change::Finish(Outcome::new(Termination::Exited { code: 0 }))] {
            execution.apply(change, SystemClock.now()).unwrap();
            match persistently(async || store.update(&execution, &[]).await).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
        persistently(async || queue.ack(&leases).await).await.unwrap();
        assert_eq!(persistently(async || store.get(execution.id).await).await.unwrap(), execution);
        let seqs: Vec<u64> = log.await.unwrap().iter().map(|event| event.seq.0).collect();
        assert_eq!(seqs, [1, 2, 3]);
        lives += 1;
        if enough.load(Ordering::Relaxed) {
            return lives;
        }
    }
}

/// The whole log, by as many followers as it takes: one whose connection is cut ends, and the next goes on after it.
async fn follow(store: PostgresStore, execution: Execution) -> Vec<Event> {
    let mut log: Vec<Event> = Vec::new();
    loop {
        let after = log.last().map_or(Seq::START, |event| event.seq);
        let mut events = store.events(execution.id, after, Follow::Everything);
        loop {
            match events.next().await {
                Some(Ok(event)) => log.push(event),
                Some(Err(error)) => {
                    assert!(error.is_temporary(), "{error:?}");
                    break;
                }
                None => return log,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_of_the_server_loses_nothing_and_needs_none_of_ours() {
    let server = Server::alone();
    let opened = [Postgres::open(&server.url()).await.unwrap(), Postgres::open(&server.url()).await.unwrap()];
    let waiting = execution();
    let (store, queue) = opened[0].store_and_queue();
    store.insert(&waiting, &spec()).await.unwrap();
    let leases = queue.claim(1, NO, LONG).await.unwrap();
    let enough = AtomicBool::new(false);
    let restarts = async {
        for _ in 0..3 {
            tokio::task::spawn_blocking({
                let server = server.clone();
                move || {
                    server.stop();
                    server.start();
                }
            })
            .await
            .unwrap();
            let another = execution();
            let beside = opened[1].store();
            persistently(async || beside.insert(&another, &spec()).await).await.ok();
            assert_eq!(persistently(async || beside.get(another.id).await).await.unwrap(), another);
        }
        enough.store(true, Ordering::Relaxed);
    };
    let (lives, ()) = tokio::join!(work(opened[0].store_and_queue(), opened[1].store(), &enough), restarts);
    assert!(lives > 0);
    assert_eq!(persistently(async || queue.extend(&leases, LONG).await).await.unwrap(), []);
    assert_eq!(store.get(waiting.id).await.unwrap(), waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_away_is_unavailable_at_once_and_is_found_again() {
    let server = Server::alone();
    let (store, queue) = Postgres::open(&server.url()).await.unwrap().store_and_queue();
    store.insert(&execution(), &spec()).await.unwrap();
    server.stop();
    let other = execution();
    let calls: [Result<()>; 4] = [
        store.insert(&other, &spec()).await.map(drop),
        store.get(other.id).await.map(drop),
        queue.claim(1, LONG, LONG).await.map(drop),
        store.events(other.id, Seq::START, Follow::Everything).try_collect::<Vec<_>>().await.map(drop),
    ];
    for call in calls {
        assert_eq!(call.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    server.start();
    assert_eq!(persistently(async || store.insert(&other, &spec()).await).await.unwrap(), Inserted::New);
    assert_eq!(persistently(async || queue.claim(9, NO, LONG).await).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_are_cut_again_and_again_lose_nothing() {
    let url = fresh();
    let schema = url.rsplit_once("%3D").unwrap().1;
    let named = format!("{url}&application_name={schema}");
    let opened = [Postgres::open(&named).await.unwrap(), Postgres::open(&named).await.unwrap()];
    let enough = AtomicBool::new(false);
    let cuts = async {
        let mut killer = PgConnection::connect(&url).await.unwrap();
        let mut cut = HashSet::new();
        while cut.len() < 60 {
            let pids: Vec<i32> = sqlx::query_scalar(
                "SELECT pid FROM (SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1) AS cut",
            )
            .bind(schema)
            .fetch_all(&mut killer)
            .await
            .unwrap();
            cut.extend(pids);
            tokio::task::yield_now().await;
        }
        enough.store(true, Ordering::Relaxed);
    };
    let (lives, ()) = tokio::join!(work(opened[0].store_and_queue(), opened[1].store(), &enough), cuts);
    assert!(lives > 0);
    let (store, queue) = opened[0].store_and_queue();
    let open = persistently(async || store.list(&ListQuery { limit: 9, ..ListQuery::default() }).await).await;
    assert!(open.unwrap().iter().all(|execution| execution.state == State::Completed));
    assert_eq!(persistently(async || queue.stats().await).await.unwrap(), Default::default());
}

#[tokio::test]
async fn neither_the_schemas_name_nor_the_servers_defaults_matter() {
    let url = fresh();
    let (server, schema) = url.rsplit_once("search_path%3D").unwrap();
    let name = format!("{schema} Course-2024");
    by_hand(&url, format!("CREATE SCHEMA \"{name}\"")).await;
    let strict = "-c%20default_transaction_isolation%3Dserializable%20";
    let server = server.replace("options=", &format!("options={strict}"));
    let url = format!("{server}search_path%3D%22{}%22", name.replace(' ', "%5C%20"));
    for times in 1..3 {
        let (store, queue) = Postgres::open(&url).await.unwrap().store_and_queue();
        store.insert(&execution(), &spec()).await.unwrap();
        assert_eq!(queue.stats().await.unwrap().waiting, times);
    }
}
