//! What an engine accepts, and what a repeated request gets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use livecode_core::{
    Accepted, Ceiling, Clock, DeliveryChange, DeliveryState, Edit, Engine, ErrorKind, ExecutionId,
    ExecutionSpec, LimitRequest, Limits, MemoryQueue, MemoryStore, Owner, Result, Revision, RunOptions,
    SessionId, SourceFile, SystemClock, conformance::ManualClock,
};

fn engine() -> Engine {
    Engine::new(Arc::new(MemoryStore::new()), Arc::new(MemoryQueue::new()))
}

fn keyed() -> RunOptions {
    RunOptions { idempotency_key: Some("k".into()), ..RunOptions::default() }
}

fn source(text: &str) -> Edit {
    Edit { source_code: Some(text.into()), ..Edit::default() }
}

async fn session(engine: &Engine) -> SessionId {
    engine.create_session(Edit::default()).await.unwrap().id
}

async fn run(engine: &Engine, id: SessionId, edit: Edit) -> Result<Accepted> {
    engine.run_session(id, edit, |_| (), keyed()).await
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn a_repeated_run_leaves_newer_edits_alone() {
    let engine = engine();
    let id = session(&engine).await;
    let first = run(&engine, id, source("a")).await.unwrap();
    engine.save(id, source("b")).await.unwrap();
    let again = run(&engine, id, source("a")).await.unwrap();
    assert_eq!((again.new, again.execution), (false, first.execution));
    let stored = engine.session(id).await.unwrap();
    assert_eq!((stored.source.source_code.as_str(), stored.revision), ("b", Revision(3)));
    assert_eq!(kind(run(&engine, id, source("c")).await), Some(ErrorKind::Conflict));
    assert_eq!(engine.session(id).await.unwrap(), stored, "a refused repetition saves nothing");
}

#[tokio::test]
async fn a_repeated_run_is_compared_by_what_it_brings_alone() {
    let engine = engine();
    let id = session(&engine).await;
    let py = || Edit { language: Some("py".into()), ..source("a") };
    run(&engine, id, py()).await.unwrap();
    let files = Some(vec![SourceFile::new("f", "autosaved since")]);
    engine.save(id, Edit { files: files.clone(), ..source("b") }).await.unwrap();
    for edit in
        [py(), source("a"), Edit::default(), Edit { language: Some("python".into()), ..Edit::default() }]
    {
        assert!(!run(&engine, id, edit).await.unwrap().new);
    }
    let stdin = |spec: &mut ExecutionSpec| spec.stdin = "x".into();
    let open = |spec: &mut ExecutionSpec| spec.stdin_open = true;
    let told = |spec: &mut ExecutionSpec| spec.callback_url = Some("https://example.org/".into());
    for different in [
        run(&engine, id, Edit { files, ..source("a") }).await,
        run(&engine, id, Edit { language: Some("javascript".into()), ..Edit::default() }).await,
        engine.run_session(id, Edit::default(), stdin, keyed()).await,
        engine.run_session(id, Edit::default(), open, keyed()).await,
        engine.run_session(id, Edit::default(), told, keyed()).await,
    ] {
        assert_eq!(kind(different), Some(ErrorKind::Conflict));
    }
}

#[tokio::test]
async fn neither_a_closed_session_nor_a_full_queue_refuses_a_repeated_run() {
    let engine = engine().max_queued(1);
    let id = session(&engine).await;
    run(&engine, id, source("a")).await.unwrap();
    // A look at the queue is good for a while; another engine has none yet.
    let engine = engine.clone().max_queued(0);
    assert_eq!(
        kind(engine.run_session(id, source("a"), |_| (), RunOptions::default()).await),
        Some(ErrorKind::QueueFull)
    );
    assert!(!run(&engine, id, source("a")).await.unwrap().new);
    engine.close_session(id).await.unwrap();
    assert!(!run(&engine, id, source("a")).await.unwrap().new);
}

#[tokio::test]
async fn a_repeated_run_means_the_defaults_of_the_first_time() {
    let engine = engine();
    let asked = |wall_time_ms| {
        ExecutionSpec::new("py", "1").limits(LimitRequest { wall_time_ms, ..LimitRequest::default() })
    };
    let id = session(&engine).await;
    engine.run(asked(Some(7_000)), keyed()).await.unwrap();
    run(&engine, id, Edit::default()).await.unwrap();
    let lower = Limits { wall_time: Duration::from_secs(5), ..Limits::RUN };
    let restarted = engine.ceiling(Ceiling { run: lower, ..Ceiling::default() });
    assert!(!restarted.run(asked(Some(7_000)), keyed()).await.unwrap().new);
    assert!(!restarted.run(asked(None), keyed()).await.unwrap().new);
    assert!(!run(&restarted, id, Edit::default()).await.unwrap().new);
    assert_eq!(kind(restarted.run(asked(Some(6_999)), keyed()).await), Some(ErrorKind::Conflict));
}

#[tokio::test]
async fn requests_with_one_key_at_the_same_time_make_one_execution() {
    let engine = engine();
    let id = session(&engine).await;
    let runs = (0..32).map(|_| run(&engine, id, source("a")));
    let made = futures_util::future::join_all(runs).await.into_iter().filter(|run| run.as_ref().unwrap().new);
    assert_eq!(made.count(), 1);
}

#[tokio::test]
async fn what_could_never_be_run_is_not_saved() {
    let engine = engine();
    let id = session(&engine).await;
    let files = |bytes: usize| {
        Some(vec![SourceFile::new("a", vec![0; bytes / 2]), SourceFile::new("b", vec![0; bytes - bytes / 2])])
    };
    let most = ExecutionSpec::MAX_TOTAL_BYTES;
    let fits = Edit { files: files(most - 2), ..source("a") };
    engine.save(id, fits).await.unwrap();
    for edit in [source("abc"), Edit { files: files(most + 1), ..Edit::default() }] {
        assert_eq!(kind(engine.save(id, edit).await), Some(ErrorKind::InvalidArgument));
    }
    let too_much = Edit { files: files(most + 1), ..Edit::default() };
    assert_eq!(kind(engine.create_session(too_much).await), Some(ErrorKind::InvalidArgument));
}

#[tokio::test]
async fn a_run_is_delayed_by_a_day_at_most() {
    let engine = engine();
    let day = Duration::from_secs(24 * 60 * 60);
    let delayed =
        |delay| engine.run(ExecutionSpec::new("python", "1"), RunOptions { delay, ..RunOptions::default() });
    delayed(day).await.unwrap();
    let longer = delayed(day + Duration::from_millis(1)).await;
    assert_eq!(kind(longer), Some(ErrorKind::InvalidArgument));
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Queues a program and cancels it, which is its end.
async fn end(engine: &Engine) -> ExecutionId {
    let run = engine.run(ExecutionSpec::new("python", "1"), RunOptions::default()).await.unwrap();
    engine.cancel(run.execution.id).await.unwrap().id
}

#[tokio::test]
async fn pruning_takes_all_that_ended_longer_ago_than_asked_and_nothing_else() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let engine = engine().clock(clock.clone());
    let alice = engine.for_owner(Owner::new("alice").unwrap());
    let queued = engine.run(ExecutionSpec::new("python", "1"), RunOptions::default()).await.unwrap();
    let mut old = Vec::new();
    for _ in 0..120 {
        old.push(end(&alice).await);
    }
    clock.advance(HOUR);
    let recent = end(&alice).await;
    assert_eq!(engine.prune(HOUR, 0).await.unwrap(), 0, "they ended an hour ago, not longer");
    clock.advance(Duration::from_millis(1));
    assert_eq!(engine.prune(Duration::MAX, 0).await.unwrap(), 0);
    assert_eq!(engine.prune(HOUR, 0).await.unwrap(), 120);
    for id in old {
        assert_eq!(kind(alice.execution(id).await), Some(ErrorKind::NotFound));
    }
    for id in [recent, queued.execution.id] {
        engine.execution(id).await.unwrap();
    }
}

#[tokio::test]
async fn the_key_of_what_was_pruned_runs_anew() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let engine = engine().clock(clock.clone());
    let id = session(&engine).await;
    let first = run(&engine, id, source("a")).await.unwrap().execution.id;
    engine.cancel(first).await.unwrap();
    clock.advance(HOUR);
    assert_eq!(engine.prune(Duration::ZERO, 1).await.unwrap(), 0, "the session keeps its newest");
    assert!(!run(&engine, id, source("a")).await.unwrap().new);
    assert_eq!(engine.prune(Duration::ZERO, 0).await.unwrap(), 1);
    assert!(run(&engine, id, source("b")).await.unwrap().new);
}

#[tokio::test]
async fn the_view_of_one_owner_prunes_nothing() {
    let engine = engine();
    let alice = engine.for_owner(Owner::new("alice").unwrap());
    let id = end(&alice).await;
    assert_eq!(kind(alice.prune(Duration::ZERO, 0).await), Some(ErrorKind::Unsupported));
    alice.execution(id).await.unwrap();
}

/// Who dies with one leaves it to the others when its lease is over, and who is late changes nothing.
#[tokio::test]
async fn a_delivery_is_one_processes_for_as_long_as_its_lease() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let engine = engine().clock(clock.clone());
    let spec = ExecutionSpec::new("python", "1").callback_url("https://example.org/ended");
    let id = engine.run(spec, RunOptions::default()).await.unwrap().execution.id;
    assert_eq!(engine.deliveries_due(None, 9).await.unwrap(), []);
    let ended = engine.cancel(id).await.unwrap();
    let due = engine.deliveries_due(None, 9).await.unwrap();
    assert_eq!(due, [engine.delivery(&ended).await.unwrap().unwrap()]);
    let begin = || DeliveryChange::Begin { lease: Duration::from_secs(30) };
    let dead = engine.change_delivery(&due[0], begin()).await.unwrap().unwrap();
    assert_eq!(engine.change_delivery(&due[0], begin()).await.unwrap(), None, "it's another's");
    assert_eq!(engine.deliveries_due(None, 9).await.unwrap(), []);
    clock.advance(Duration::from_secs(30));
    assert_eq!(engine.deliveries_due(None, 9).await.unwrap(), std::slice::from_ref(&dead));
    let next = engine.change_delivery(&dead, begin()).await.unwrap().unwrap();
    assert_eq!(engine.change_delivery(&dead, DeliveryChange::Deliver).await.unwrap(), None, "too late");
    let told = engine.change_delivery(&next, DeliveryChange::Deliver).await.unwrap().unwrap();
    assert_eq!((told.state, told.attempts), (DeliveryState::Delivered, 2));
    assert_eq!(kind(engine.change_delivery(&told, begin()).await), Some(ErrorKind::Conflict));
    let alice = engine.for_owner(Owner::new("alice").unwrap());
    assert_eq!(kind(alice.deliveries_due(None, 9).await), Some(ErrorKind::Unsupported));
}
