//! What goes into the log of an execution, and its output.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{at, change, complete, execution, exited, log, log_up_to, spec, start, stderr, stdout};
use crate::{Captured, Change, ErrorKind, Event, EventKind, Execution, Output, Seq, State, Store};

/// The events with their numbers taken off, which count up from 1 without gaps.
fn in_sequence(log: Vec<Event>) -> Vec<EventKind> {
    let numbers: Vec<u64> = log.iter().map(|event| event.seq.0).collect();
    assert_eq!(numbers, Vec::from_iter(1..=log.len() as u64));
    log.into_iter().map(|event| event.kind).collect()
}

fn status(state: State, attempt: u32, cancel_requested: bool) -> EventKind {
    EventKind::Status { state, attempt, cancel_requested }
}

fn output(attempt: u32, output: Output) -> EventKind {
    EventKind::Output { attempt, output }
}

fn end(execution: &Execution) -> EventKind {
    EventKind::End(Box::new(execution.clone()))
}

fn requeue() -> Change {
    Change::Requeue { run_after: at(0), failure: None }
}

async fn conflict_on_append(store: &dyn Store, execution: &Execution, attempt: u32) {
    let error = store.append(execution.id, attempt, &[stdout("refused")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{} {attempt}", execution.state);
}

/// The first event of an execution is that it's queued.
pub async fn the_log_begins_with_the_status_queued(store: Arc<dyn Store>) {
    let execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    let log = log_up_to(&*store, execution.id, Seq(1)).await;
    assert_eq!(in_sequence(log), [status(State::Queued, 1, false)]);
}

/// Each change of state, attempt or the wish to be cancelled is an event, numbered without gaps; the end carries the
/// record.
pub async fn every_change_of_status_is_logged(store: Arc<dyn Store>) {
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    for (step, last) in
        [Change::Start, requeue(), Change::Start, Change::RequestCancel, Change::Cancel].into_iter().zip(2..)
    {
        assert_eq!(change(&*store, &mut execution, step, &[]).await, Seq(last));
    }
    let expected = [
        status(State::Queued, 1, false),
        status(State::Running, 1, false),
        status(State::Queued, 2, false),
        status(State::Running, 2, false),
        status(State::Running, 2, true),
        end(&execution),
    ];
    assert_eq!(in_sequence(log(&*store, execution.id).await), expected);
}

/// A change that a follower needn't know is no event.
pub async fn a_change_beside_the_status_is_not_logged(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    execution.version += 1;
    execution.failure = Some("noted".into());
    assert_eq!(store.update(&execution, &[]).await.unwrap(), Seq(2));
    execution.version += 1;
    assert_eq!(store.update(&execution, &[stdout("x")]).await.unwrap(), Seq(3));
    change(&*store, &mut execution, exited(), &[]).await;
    let expected = [
        status(State::Queued, 1, false),
        status(State::Running, 1, false),
        output(1, stdout("x")),
        end(&execution),
    ];
    assert_eq!(in_sequence(log(&*store, execution.id).await), expected);
}

/// The output that comes with an update stands before its status, as of the record's attempt.
pub async fn an_update_logs_its_output_first(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    change(&*store, &mut execution, requeue(), &[]).await;
    let last = change(&*store, &mut execution, Change::Start, &[stdout("early")]).await;
    assert_eq!(last, Seq(5));
    let late = [stderr("late"), stdout("later")];
    assert_eq!(change(&*store, &mut execution, exited(), &late).await, Seq(8));
    let expected = [
        output(2, stdout("early")),
        status(State::Running, 2, false),
        output(2, stderr("late")),
        output(2, stdout("later")),
        end(&execution),
    ];
    assert_eq!(in_sequence(log(&*store, execution.id).await)[3..], expected);
}

/// What is appended is logged chunk by chunk, in order, without gaps.
pub async fn appended_chunks_are_logged_in_order(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    let chunks = [stdout("a"), stderr("b"), stdout("c"), stdout("d"), stderr("e")];
    store.append(execution.id, 1, &chunks[..3]).await.unwrap();
    store.append(execution.id, 1, &[]).await.unwrap();
    store.append(execution.id, 1, &chunks[3..4]).await.unwrap();
    assert_eq!(change(&*store, &mut execution, exited(), &chunks[4..]).await, Seq(8));
    let logged = in_sequence(log(&*store, execution.id).await);
    assert_eq!(logged[2..7], chunks.map(|chunk| output(1, chunk)));
    let captured = store.output(execution.id).await.unwrap();
    assert_eq!((&*captured.stdout, &*captured.stderr), (&b"acd"[..], &b"be"[..]));
}

/// Nothing is appended to what isn't running: not yet, not any more, or queued once more.
pub async fn only_a_running_execution_is_appended_to(store: Arc<dyn Store>) {
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    conflict_on_append(&*store, &execution, 1).await;
    change(&*store, &mut execution, Change::Start, &[]).await;
    change(&*store, &mut execution, requeue(), &[]).await;
    conflict_on_append(&*store, &execution, 1).await;
    conflict_on_append(&*store, &execution, 2).await;
    change(&*store, &mut execution, Change::Start, &[]).await;
    change(&*store, &mut execution, exited(), &[]).await;
    conflict_on_append(&*store, &execution, 2).await;
    assert_eq!(log(&*store, execution.id).await.len(), 5);
    assert_eq!(store.output(execution.id).await.unwrap(), Captured::default());
}

/// A worker whose attempt is over can't append to the one that follows, nor can one that never was.
pub async fn an_append_is_fenced_by_its_attempt(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    change(&*store, &mut execution, requeue(), &[]).await;
    change(&*store, &mut execution, Change::Start, &[]).await;
    for attempt in [0, 1, 3, u32::MAX] {
        conflict_on_append(&*store, &execution, attempt).await;
    }
    store.append(execution.id, 2, &[stdout("mine")]).await.unwrap();
    assert_eq!(store.output(execution.id).await.unwrap().stdout, "mine");
}

/// Writers at the same time get a number each, and no number is left out.
pub async fn concurrent_writers_leave_no_gap(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    let writers = join_all((0..8).map(|writer| {
        let (store, id) = (store.clone(), execution.id);
        tokio::spawn(async move {
            for n in 0..8 {
                let chunks = [stdout(format!("{writer}.{n} ")), stderr(format!("{writer}.{n} "))];
                store.append(id, 1, &chunks).await.unwrap();
            }
        })
    }));
    let cancel = change(&*store, &mut execution, Change::RequestCancel, &[]);
    let (writers, _) = tokio::join!(writers, cancel);
    writers.into_iter().for_each(|writer| writer.unwrap());
    let last = change(&*store, &mut execution, exited(), &[]).await;
    assert_eq!(last, Seq(2 + 128 + 1 + 1));
    assert_eq!(in_sequence(log(&*store, execution.id).await).len(), 132);
    let captured = store.output(execution.id).await.unwrap();
    let said = String::from_utf8(captured.stdout.into()).unwrap();
    for writer in 0..8 {
        let prefix = format!("{writer}.");
        let own: Vec<&str> = said.split(' ').filter(|word| word.starts_with(&prefix)).collect();
        assert_eq!(own, Vec::from_iter((0..8).map(|n| format!("{writer}.{n}"))), "its own order");
    }
}

/// Output is that of the latest attempt alone, as far as it has come; none before it starts.
pub async fn output_is_that_of_the_latest_attempt(store: Arc<dyn Store>) {
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    assert_eq!(store.output(execution.id).await.unwrap(), Captured::default());
    change(&*store, &mut execution, Change::Start, &[]).await;
    store.append(execution.id, 1, &[stdout("first"), stderr("broken")]).await.unwrap();
    assert_eq!(store.output(execution.id).await.unwrap().stdout, "first");
    change(&*store, &mut execution, requeue(), &[]).await;
    assert_eq!(store.output(execution.id).await.unwrap(), Captured::default());
    change(&*store, &mut execution, Change::Start, &[]).await;
    store.append(execution.id, 2, &[stdout("sec")]).await.unwrap();
    change(&*store, &mut execution, exited(), &[stdout("ond")]).await;
    let captured = store.output(execution.id).await.unwrap();
    assert_eq!((&*captured.stdout, &*captured.stderr), (&b"second"[..], &b""[..]));
}

/// Output is bytes: any, NUL and what isn't UTF-8 included, comes back as it was.
pub async fn any_bytes_come_back(store: Arc<dyn Store>) {
    let every = Bytes::from_iter(0..=u8::MAX);
    let chunks = [
        stdout(every.clone()),
        stderr(&b"\0"[..]),
        stdout(&b"\xf0\x9f"[..]),
        stdout(&b"\xa6\x80"[..]),
        stderr(&b"\xff\xfe\0\0"[..]),
        stdout(Bytes::new()),
    ];
    let execution = complete(&*store, &chunks).await;
    let logged = in_sequence(log(&*store, execution.id).await);
    assert_eq!(logged[2..8], chunks.map(|chunk| output(1, chunk)));
    let captured = store.output(execution.id).await.unwrap();
    assert_eq!(captured.stdout, [&every[..], "🦀".as_bytes()].concat());
    assert_eq!(captured.stderr, &b"\0\xff\xfe\0\0"[..]);
}

/// Megabytes come back whole, in one chunk or in many.
pub async fn large_output_comes_back_whole(store: Arc<dyn Store>) {
    let large: Bytes = (0..2 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let mut execution = start(&*store).await;
    for part in large.chunks(256 * 1024) {
        let chunks: Vec<Output> =
            part.chunks(4096).map(|chunk| stdout(Bytes::copy_from_slice(chunk))).collect();
        store.append(execution.id, 1, &chunks).await.unwrap();
    }
    let last = change(&*store, &mut execution, exited(), &[stderr(large.clone())]).await;
    assert_eq!(last, Seq(2 + 512 + 1 + 1));
    let captured = store.output(execution.id).await.unwrap();
    assert!(captured.stdout == large, "in many chunks");
    assert!(captured.stderr == large, "in one chunk");
    let mut followed = Vec::new();
    for kind in in_sequence(log(&*store, execution.id).await) {
        if let EventKind::Output { output, .. } = kind
            && output.stdio == crate::Stdio::Stdout
        {
            followed.extend_from_slice(&output.bytes);
        }
    }
    assert!(followed == large, "as events");
}
