//! Those who follow a log: replay, what comes, the end.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt, future::join_all};

use super::{change, complete, execution, exited, log, rest_of_log, spec, start, stderr, stdout};
use crate::{Change, ErrorKind, Event, EventKind, Execution, Follow, Output, Seq, Store};

/// Starts followers from `after` on, each in a task of its own.
fn follow(
    store: &Arc<dyn Store>,
    execution: &Execution,
    after: Seq,
    follow: Follow,
) -> tokio::task::JoinHandle<Vec<Event>> {
    let (store, id) = (store.clone(), execution.id);
    tokio::spawn(async move { rest_of_log(&*store, id, after, follow).await })
}

fn after(log: &[Event], seq: u64) -> Vec<Event> {
    log.iter().filter(|event| event.seq.0 > seq).cloned().collect()
}

/// Starts an execution that is there, lets it write `chunks` one by one, and ends it.
async fn run(store: &dyn Store, mut execution: Execution, chunks: u32) {
    change(store, &mut execution, Change::Start, &[]).await;
    for n in 0..chunks {
        let chunk = if n % 3 == 0 { stderr(n.to_string()) } else { stdout(n.to_string()) };
        store.append(execution.id, 1, &[chunk]).await.unwrap();
    }
    change(store, &mut execution, exited(), &[stdout("last")]).await;
}

/// A follower of what isn't there gets that as its only item.
pub async fn the_events_of_an_unknown_execution_are_not_found(store: Arc<dyn Store>) {
    complete(&*store, &[]).await;
    for after in [0, 1, 100] {
        let mut events = store.events(execution().id, Seq(after), Follow::Everything);
        let error = events.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(events.next().await.is_none(), "it ends after an error");
    }
}

/// A follower gets what is there, then what comes, and ends after the end event.
pub async fn a_follower_gets_what_is_there_then_what_comes(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    store.append(execution.id, 1, &[stdout("there")]).await.unwrap();
    let mut events = store.events(execution.id, Seq::START, Follow::Everything);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(events.next().await.unwrap().unwrap());
    }
    assert!(events.next().now_or_never().is_none(), "nothing more is there");
    store.append(execution.id, 1, &[stdout("comes"), stderr("too")]).await.unwrap();
    for _ in 0..2 {
        seen.push(events.next().await.unwrap().unwrap());
    }
    change(&*store, &mut execution, exited(), &[stdout("late")]).await;
    seen.extend(events.map(|event| event.unwrap()).collect::<Vec<_>>().await);
    assert_eq!(seen, log(&*store, execution.id).await);
    assert_eq!(seen.len(), 7);
    assert!(matches!(&seen[6].kind, EventKind::End(end) if **end == execution));
}

/// A follower that waits is woken by output, by a change of status and by the end.
pub async fn a_waiting_follower_is_woken_by_every_event(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    let mut everything = store.events(execution.id, Seq(2), Follow::Everything);
    let mut status = store.events(execution.id, Seq(2), Follow::Status);
    let chunk = [stdout("a")];
    // The follower is polled first and waits by the time of the change.
    let (event, written) = tokio::join!(everything.next(), store.append(execution.id, 1, &chunk));
    written.unwrap();
    assert_eq!(event.unwrap().unwrap().seq, Seq(3));
    for (step, seq) in [(Change::RequestCancel, Seq(4)), (Change::Cancel, Seq(5))] {
        let change = change(&*store, &mut execution, step, &[]);
        let (event, told, last) = tokio::join!(everything.next(), status.next(), change);
        assert_eq!(last, seq);
        assert_eq!(event.unwrap().unwrap().seq, seq);
        assert_eq!(told.unwrap().unwrap().seq, seq);
    }
    assert!(everything.next().await.is_none() && status.next().await.is_none());
}

/// A follower that comes back after any event of a finished log gets the rest of it, each event once, and the end.
pub async fn a_follower_resumes_after_any_event(store: Arc<dyn Store>) {
    let chunks = [stdout("a"), stderr("b"), stdout("c")];
    let execution = complete(&*store, &chunks).await;
    let whole = log(&*store, execution.id).await;
    assert_eq!(whole.len(), 6);
    for seq in 0..=6 {
        let rest = rest_of_log(&*store, execution.id, Seq(seq), Follow::Everything).await;
        assert_eq!(rest, after(&whole, seq), "after {seq}");
    }
    for beyond in [7, 1_000, i64::MAX as u64, u64::MAX] {
        let rest = rest_of_log(&*store, execution.id, Seq(beyond), Follow::Everything).await;
        assert_eq!(rest, [], "after {beyond}");
    }
}

/// Followers that come while the log grows, from wherever on, see each later event once, in order.
pub async fn live_followers_miss_nothing_and_see_nothing_twice(store: Arc<dyn Store>) {
    let execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    let early: Vec<_> = (0..8).map(|seq| follow(&store, &execution, Seq(seq), Follow::Everything)).collect();
    let writer = {
        let (store, execution) = (store.clone(), execution.clone());
        tokio::spawn(async move { run(&*store, execution, 60).await })
    };
    let mut late = Vec::new();
    while late.len() < 16 && !writer.is_finished() {
        late.push(follow(&store, &execution, Seq(1), Follow::Everything));
        store.get(execution.id).await.unwrap();
    }
    writer.await.unwrap();
    let whole = log(&*store, execution.id).await;
    assert_eq!(whole.len(), 2 + 60 + 2);
    for (seq, seen) in join_all(early).await.into_iter().enumerate() {
        assert_eq!(seen.unwrap(), after(&whole, seq as u64), "after {seq}");
    }
    for seen in join_all(late).await {
        assert_eq!(seen.unwrap(), whole[1..]);
    }
}

/// One that reconnects after every event sees what one sees that stays.
pub async fn a_follower_that_reconnects_all_the_time_misses_nothing(store: Arc<dyn Store>) {
    let execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    let writer = {
        let (store, execution) = (store.clone(), execution.clone());
        tokio::spawn(async move { run(&*store, execution, 20).await })
    };
    let mut seen: Vec<Event> = Vec::new();
    loop {
        let last = seen.last().map_or(Seq::START, |event| event.seq);
        match store.events(execution.id, last, Follow::Everything).next().await {
            Some(event) => seen.push(event.unwrap()),
            None => break,
        }
    }
    writer.await.unwrap();
    assert_eq!(seen, log(&*store, execution.id).await);
}

/// A follower of the status is told everything but output, under the same numbers.
pub async fn a_follower_of_the_status_sees_no_output(store: Arc<dyn Store>) {
    let execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    let live = follow(&store, &execution, Seq::START, Follow::Status);
    run(&*store, execution.clone(), 30).await;
    let mut expected = log(&*store, execution.id).await;
    expected.retain(|event| !matches!(event.kind, EventKind::Output { .. }));
    let numbers: Vec<u64> = expected.iter().map(|event| event.seq.0).collect();
    assert_eq!(numbers, [1, 2, 34]);
    assert_eq!(live.await.unwrap(), expected);
    for seq in [0, 1, 2, 20, 33, 34, 35] {
        let rest = rest_of_log(&*store, execution.id, Seq(seq), Follow::Status).await;
        assert_eq!(rest, after(&expected, seq), "after {seq}");
    }
}

/// A follower of the end is told nothing else, whether it began before or after it.
pub async fn a_follower_of_the_end_sees_nothing_else(store: Arc<dyn Store>) {
    let execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    let live = follow(&store, &execution, Seq::START, Follow::End);
    run(&*store, execution.clone(), 30).await;
    let end = log(&*store, execution.id).await.split_off(33);
    assert!(matches!(&end[..], [Event { seq: Seq(34), kind: EventKind::End(_) }]), "{end:?}");
    assert_eq!(live.await.unwrap(), end);
    for seq in [0, 2, 33, 34, 35] {
        let rest = rest_of_log(&*store, execution.id, Seq(seq), Follow::End).await;
        assert_eq!(rest, after(&end, seq), "after {seq}");
    }
}

/// One that is told of the end while it follows the status sees a wish to be cancelled at once, whatever is written.
pub async fn a_follower_of_the_status_is_told_amid_output(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    let mut events = store.events(execution.id, Seq(2), Follow::Status);
    let chunks: Vec<Output> = (0..100).map(|n| stdout(n.to_string())).collect();
    let write = store.append(execution.id, 1, &chunks);
    let (told, written) = tokio::join!(
        async {
            assert!(events.next().now_or_never().is_none(), "nothing to be told yet");
            events.next().await
        },
        async {
            write.await?;
            execution.apply(Change::RequestCancel, super::at(1))?;
            store.update(&execution, &[]).await
        }
    );
    assert_eq!(written.unwrap(), Seq(103));
    let told = told.unwrap().unwrap();
    assert_eq!(told.seq, Seq(103));
    assert!(matches!(told.kind, EventKind::Status { cancel_requested: true, .. }));
}

/// A follower that doesn't poll for thousands of events finds them all when it does.
pub async fn a_slow_follower_misses_nothing(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    let unpolled = store.events(execution.id, Seq::START, Follow::Everything);
    let mut stalled = store.events(execution.id, Seq::START, Follow::Everything);
    let first = stalled.next().await.unwrap().unwrap();
    for batch in 0..10 {
        let chunks: Vec<Output> = (0..300).map(|n| stdout(format!("{batch}.{n}"))).collect();
        store.append(execution.id, 1, &chunks).await.unwrap();
    }
    change(&*store, &mut execution, exited(), &[]).await;
    let whole = log(&*store, execution.id).await;
    assert_eq!(whole.len(), 3003);
    let unpolled: Vec<Event> = unpolled.map(|event| event.unwrap()).collect().await;
    assert!(unpolled == whole, "one that began late");
    let stalled: Vec<Event> = stalled.map(|event| event.unwrap()).collect().await;
    assert!(first == whole[0] && stalled == whole[1..], "one that stopped in between");
}

/// A follower that goes away, before or after its first event, disturbs neither writers nor other followers.
pub async fn a_dropped_follower_disturbs_nobody(store: Arc<dyn Store>) {
    let execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    let stays = follow(&store, &execution, Seq::START, Follow::Everything);
    let mut gone = Vec::new();
    for _ in 0..4 {
        drop(store.events(execution.id, Seq::START, Follow::Everything));
        let mut events = store.events(execution.id, Seq::START, Follow::Everything);
        events.next().await.unwrap().unwrap();
        drop(events);
        let waiting = follow(&store, &execution, Seq(1), Follow::Everything);
        waiting.abort();
        gone.push(waiting);
    }
    run(&*store, execution.clone(), 10).await;
    for waiting in gone {
        assert!(waiting.await.unwrap_err().is_cancelled());
    }
    assert_eq!(stays.await.unwrap(), log(&*store, execution.id).await);
}

/// Followers of one execution see nothing of another.
pub async fn followers_see_their_own_execution_only(store: Arc<dyn Store>) {
    let executions = [execution(), execution(), execution()];
    for execution in &executions {
        store.insert(execution, &spec()).await.unwrap();
    }
    let followers = join_all(executions.iter().map(|e| follow(&store, e, Seq::START, Follow::Everything)));
    let runs = join_all(executions.iter().map(|e| run(&*store, e.clone(), 10)));
    let (followers, _) = tokio::join!(followers, runs);
    for (seen, execution) in followers.into_iter().zip(&executions) {
        let seen = seen.unwrap();
        assert_eq!(seen.len(), 14);
        assert!(matches!(&seen[13].kind, EventKind::End(end) if end.id == execution.id));
        assert_eq!(seen, log(&*store, execution.id).await);
    }
}
