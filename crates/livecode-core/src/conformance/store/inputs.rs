//! What is sent to a program while it's there.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::join_all};

use super::{at, change, complete, execution, exited, log_up_to, spec, stdout};
use crate::{
    Captured, Change, ErrorKind, Execution, ExecutionId, ExecutionSpec, Input, PruneQuery, Seq, Store,
};

fn open_spec() -> ExecutionSpec {
    spec().stdin_open()
}

async fn open(store: &dyn Store) -> Execution {
    let execution = execution();
    store.insert(&execution, &open_spec()).await.unwrap();
    execution
}

async fn send(store: &dyn Store, id: ExecutionId, bytes: impl Into<Bytes>) -> Seq {
    store.add_input(id, Some(bytes.into())).await.unwrap()
}

fn piece(seq: u64, bytes: impl Into<Bytes>) -> Input {
    Input { seq: Seq(seq), bytes: Some(bytes.into()) }
}

fn end(seq: u64) -> Input {
    Input { seq: Seq(seq), bytes: None }
}

/// The input after `after` of one whose end was sent.
async fn inputs(store: &dyn Store, id: ExecutionId, after: u64) -> Vec<Input> {
    store.inputs(id, Seq(after)).map(|input| input.unwrap()).collect().await
}

async fn refusal(store: &dyn Store, id: ExecutionId, bytes: Option<Bytes>) -> ErrorKind {
    store.add_input(id, bytes).await.unwrap_err().kind()
}

/// Pieces come back byte for byte, in order, from any place on, and after the end nothing.
pub async fn input_comes_back_as_it_was_sent(store: Arc<dyn Store>) {
    let id = open(&*store).await.id;
    let large: Bytes = (0..1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let pieces = [Bytes::from_iter(0..=u8::MAX), Bytes::from_static(b"\0"), large, "é\n".into()];
    for (bytes, seq) in pieces.iter().zip(1..) {
        assert_eq!(send(&*store, id, bytes.clone()).await, Seq(seq));
    }
    assert_eq!(store.add_input(id, None).await.unwrap(), Seq(5));
    let mut whole: Vec<Input> = pieces.into_iter().zip(1..).map(|(bytes, seq)| piece(seq, bytes)).collect();
    whole.push(end(5));
    for after in 0..=5 {
        assert!(
            inputs(&*store, id, after).await == whole[usize::try_from(after).unwrap()..],
            "after {after}"
        );
    }
    assert_eq!(inputs(&*store, id, u64::MAX).await, []);
}

/// Followers of the log see nothing of it, its numbers have no gap for it, and it's no part of the output.
pub async fn input_is_no_event_and_no_output(store: Arc<dyn Store>) {
    let mut execution = open(&*store).await;
    send(&*store, execution.id, "early").await;
    assert_eq!(change(&*store, &mut execution, Change::Start, &[]).await, Seq(2));
    send(&*store, execution.id, "later").await;
    assert_eq!(store.output(execution.id).await.unwrap(), Captured::default());
    store.append(execution.id, 1, &[stdout("written")]).await.unwrap();
    store.add_input(execution.id, None).await.unwrap();
    assert_eq!(log_up_to(&*store, execution.id, Seq(3)).await.len(), 3);
    assert_eq!(store.get(execution.id).await.unwrap(), execution);
    assert_eq!(change(&*store, &mut execution, exited(), &[]).await, Seq(4));
    assert_eq!(store.output(execution.id).await.unwrap().stdout, "written");
}

/// A follower gets what is there, waits for what comes, whoever sends it, and ends after the end.
pub async fn a_follower_of_input_gets_what_is_there_then_what_comes(store: Arc<dyn Store>) {
    let mut execution = open(&*store).await;
    let id = execution.id;
    send(&*store, id, "a").await;
    let mut follower = store.inputs(id, Seq::START);
    assert_eq!(follower.next().await.unwrap().unwrap(), piece(1, "a"));
    assert!(follower.next().now_or_never().is_none(), "nothing more is there");
    // It's polled first and waits by the time of the change.
    let (input, _) = tokio::join!(follower.next(), send(&*store, id, "b"));
    assert_eq!(input.unwrap().unwrap(), piece(2, "b"));
    change(&*store, &mut execution, Change::Start, &[]).await;
    store.append(id, 1, &[stdout("no input")]).await.unwrap();
    let (ended, sent) = tokio::join!(follower.next(), store.add_input(id, None));
    assert_eq!((ended.unwrap().unwrap(), sent.unwrap()), (end(3), Seq(3)));
    assert!(follower.next().await.is_none());
    let mut unknown = store.inputs(super::execution().id, Seq::START);
    assert_eq!(unknown.next().await.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(unknown.next().await.is_none());
    let closed = complete(&*store, &[]).await;
    assert_eq!(inputs(&*store, closed.id, 0).await, [], "it was never open");
}

/// It's taken from the moment on at which the execution is there, and each attempt reads all of it.
pub async fn input_may_be_sent_before_the_start_and_is_there_for_every_attempt(store: Arc<dyn Store>) {
    let mut execution = open(&*store).await;
    send(&*store, execution.id, "first").await;
    change(&*store, &mut execution, Change::Start, &[]).await;
    send(&*store, execution.id, "second").await;
    let again = Change::Requeue { run_after: at(0), failure: None };
    change(&*store, &mut execution, again, &[]).await;
    send(&*store, execution.id, "third").await;
    change(&*store, &mut execution, Change::Start, &[]).await;
    store.add_input(execution.id, None).await.unwrap();
    let expected = [piece(1, "first"), piece(2, "second"), piece(3, "third"), end(4)];
    assert_eq!(inputs(&*store, execution.id, 0).await, expected);
}

/// Nothing is added to what isn't open, isn't any more, has ended, or isn't there.
pub async fn input_is_refused_where_nobody_will_read_it(store: Arc<dyn Store>) {
    let closed = execution();
    store.insert(&closed, &spec()).await.unwrap();
    let ended = open(&*store).await;
    store.add_input(ended.id, None).await.unwrap();
    let mut over = open(&*store).await;
    change(&*store, &mut over, Change::Start, &[]).await;
    change(&*store, &mut over, exited(), &[]).await;
    for id in [closed.id, ended.id, over.id] {
        for bytes in [None, Some("x".into())] {
            assert_eq!(refusal(&*store, id, bytes).await, ErrorKind::Conflict);
        }
    }
    assert_eq!(refusal(&*store, execution().id, None).await, ErrorKind::NotFound);
    assert_eq!(
        refusal(&*store, open(&*store).await.id, Some(Bytes::new())).await,
        ErrorKind::InvalidArgument
    );
    assert_eq!(inputs(&*store, ended.id, 0).await, [end(1)]);
}

/// All pieces together have a bound, to the byte; what is refused leaves the rest as it was, and the end always fits.
pub async fn input_has_a_bound(store: Arc<dyn Store>) {
    let id = open(&*store).await.id;
    let half = ExecutionSpec::MAX_INPUT_BYTES / 2;
    send(&*store, id, vec![b'x'; half]).await;
    // It counts as more than it has.
    send(&*store, id, "x").await;
    let left = half - ExecutionSpec::MIN_INPUT_BYTES;
    let too_much = Some(vec![b'x'; left + 1].into());
    assert_eq!(refusal(&*store, id, too_much).await, ErrorKind::InvalidArgument);
    assert_eq!(send(&*store, id, vec![b'x'; left]).await, Seq(3));
    assert_eq!(refusal(&*store, id, Some("x".into())).await, ErrorKind::InvalidArgument);
    assert_eq!(store.add_input(id, None).await.unwrap(), Seq(4));
    assert_eq!(inputs(&*store, id, 2).await.len(), 2);
}

/// Those who send at the same time get a place each, and their own stay in order.
pub async fn concurrent_input_is_numbered_without_gaps(store: Arc<dyn Store>) {
    let id = open(&*store).await.id;
    let senders = join_all((0..8).map(|sender| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..8 {
                send(&*store, id, format!("{sender}.{n}")).await;
            }
        })
    }));
    senders.await.into_iter().for_each(|sender| sender.unwrap());
    store.add_input(id, None).await.unwrap();
    let all = inputs(&*store, id, 0).await;
    assert_eq!(all.iter().map(|input| input.seq.0).collect::<Vec<_>>(), Vec::from_iter(1..=65));
    let texts: Vec<String> = all
        .iter()
        .filter_map(|input| Some(String::from_utf8(input.bytes.as_ref()?.to_vec()).unwrap()))
        .collect();
    for sender in 0..8 {
        let prefix = format!("{sender}.");
        let own: Vec<&String> = texts.iter().filter(|text| text.starts_with(&prefix)).collect();
        assert_eq!(own, Vec::from_iter(&(0..8).map(|n| format!("{sender}.{n}")).collect::<Vec<_>>()));
    }
}

/// What was sent goes with its execution, and nobody else's.
pub async fn input_is_deleted_with_its_execution(store: Arc<dyn Store>) {
    let mut old = open(&*store).await;
    let other = open(&*store).await;
    for id in [old.id, other.id] {
        send(&*store, id, "x").await;
    }
    change(&*store, &mut old, Change::Start, &[]).await;
    change(&*store, &mut old, exited(), &[]).await;
    let query = PruneQuery { ended_before: at(2_000), keep_per_session: 0, after: None, limit: 10 };
    assert_eq!(store.prune(&query).await.unwrap().deleted, 1);
    assert_eq!(refusal(&*store, old.id, Some("x".into())).await, ErrorKind::NotFound);
    // It's there anew, and has nothing of the old one.
    let again = Execution { id: old.id, ..execution() };
    store.insert(&again, &open_spec()).await.unwrap();
    store.add_input(old.id, None).await.unwrap();
    assert_eq!(inputs(&*store, old.id, 0).await, [end(1)]);
    store.add_input(other.id, None).await.unwrap();
    assert_eq!(inputs(&*store, other.id, 0).await, [piece(1, "x"), end(2)]);
}
