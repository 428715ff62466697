//! The clauses of [`Store`] and [`Queue`] that span processes, for backends whose medium several can open.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use tokio::time::Instant;

use crate::{
    Change, ErrorKind, Event, Execution, ExecutionId, ExecutionSpec, Follow, Input, Inserted, Job, Lease,
    Outcome, Output, Owner, Queue, Quota, Rate, Result, Seq, Stdio, Store, Termination, Timestamp,
};

/// Two backends on one medium, as two processes would open it.
pub type Two<T> = Arc<[Arc<T>; 2]>;

/// Makes a test of each clause of [`Store`](crate::Store) that spans processes. Its factory gives an array of two
/// `Arc<dyn Store>` on one fresh medium, and the guard. See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! shared_store_suite {
    ($factory:expr) => {
        $crate::conformance_cases! { shared, $factory,
            a_follower_hears_of_what_another_process_adds
            a_follower_of_input_hears_of_what_another_process_sends
            versions_and_keys_hold_across_processes
            a_worker_and_its_successor_are_told_apart_across_processes
            a_burst_is_one_for_all_processes
        }
    };
}

/// Makes a test of each clause of [`Queue`](crate::Queue) that spans processes. Its factory gives an array of two
/// `Arc<dyn Queue>` on one fresh medium, and the guard. See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! shared_queue_suite {
    ($factory:expr) => {
        $crate::conformance_cases! { shared, $factory,
            a_push_of_another_process_wakes_a_claim
            processes_never_share_a_job
            a_lease_is_honoured_by_every_process
        }
    };
}

fn at() -> Timestamp {
    Timestamp::from_millis(1_769_000_000_123).unwrap()
}

fn execution() -> Execution {
    Execution::new(Owner::anonymous(), "python", at())
}

fn spec() -> ExecutionSpec {
    ExecutionSpec::new("python", "1")
}

fn exited() -> Change {
    Change::Finish(Outcome::new(Termination::Exited { code: 0 }))
}

async fn change(store: &dyn Store, execution: &mut Execution, change: Change) -> Result<Seq> {
    execution.apply(change, at())?;
    store.update(execution, &[]).await
}

async fn follow(store: &dyn Store, id: ExecutionId, after: u64) -> Vec<Event> {
    let events = store.events(id, Seq(after), Follow::Everything);
    events.map(|event| event.unwrap()).collect().await
}

/// A follower is told of every event once, in order, whichever process added it.
pub async fn a_follower_hears_of_what_another_process_adds(stores: Two<dyn Store>) {
    let mut execution = execution();
    let id = execution.id;
    stores[0].insert(&execution, &spec()).await.unwrap();
    let followers: Vec<_> = (0..4)
        .map(|n| {
            let stores = stores.clone();
            tokio::spawn(async move { follow(&*stores[n % 2], id, (n / 2) as u64).await })
        })
        .collect();
    change(&*stores[0], &mut execution, Change::Start).await.unwrap();
    for n in 0..20 {
        let chunk = Output::new(Stdio::Stdout, n.to_string());
        stores[n % 2].append(id, 1, &[chunk]).await.unwrap();
    }
    change(&*stores[1], &mut execution, exited()).await.unwrap();
    let whole = follow(&*stores[0], id, 0).await;
    assert_eq!(whole.len(), 2 + 20 + 1);
    for (n, seen) in join_all(followers).await.into_iter().enumerate() {
        assert_eq!(seen.unwrap(), whole[n / 2..]);
    }
}

/// Input that one process sends reaches a follower in another, piece by piece.
pub async fn a_follower_of_input_hears_of_what_another_process_sends(stores: Two<dyn Store>) {
    let execution = execution();
    stores[0].insert(&execution, &spec().stdin_open()).await.unwrap();
    let mut follower = stores[1].inputs(execution.id, Seq::START);
    for n in 1..=3 {
        let bytes = Bytes::from(n.to_string());
        // It's polled first and waits by the time of the change.
        let (input, seq) =
            tokio::join!(follower.next(), stores[0].add_input(execution.id, Some(bytes.clone())));
        assert_eq!(input.unwrap().unwrap(), Input { seq: seq.unwrap(), bytes: Some(bytes) });
    }
    let (end, sent) = tokio::join!(follower.next(), stores[0].add_input(execution.id, None));
    assert_eq!(end.unwrap().unwrap(), Input { seq: sent.unwrap(), bytes: None });
    assert!(follower.next().await.is_none());
}

/// What one process changed, another can neither change from the version before nor insert under the same key.
pub async fn versions_and_keys_hold_across_processes(stores: Two<dyn Store>) {
    let mut execution = Execution { idempotency_key: Some("one".into()), ..execution() };
    stores[0].insert(&execution, &spec()).await.unwrap();
    let mut stale = stores[1].get(execution.id).await.unwrap();
    assert_eq!(stale, execution);
    change(&*stores[0], &mut execution, Change::Start).await.unwrap();
    let error = change(&*stores[1], &mut stale, Change::RequestCancel).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let again = Execution { id: ExecutionId::generate(execution.created_at), ..execution.clone() };
    let inserted = stores[1].insert(&again, &spec()).await.unwrap();
    assert_eq!(inserted, Inserted::Existing(Box::new(execution)));
}

/// A worker whose attempt another process took over can't write any more.
pub async fn a_worker_and_its_successor_are_told_apart_across_processes(stores: Two<dyn Store>) {
    let mut execution = execution();
    stores[0].insert(&execution, &spec()).await.unwrap();
    change(&*stores[0], &mut execution, Change::Start).await.unwrap();
    let mut lost = execution.clone();
    let again = Change::Requeue { run_after: execution.created_at, failure: None };
    change(&*stores[1], &mut execution, again).await.unwrap();
    change(&*stores[1], &mut execution, Change::Start).await.unwrap();
    let chunk = [Output::new(Stdio::Stdout, "late")];
    let error = stores[0].append(lost.id, lost.attempt, &chunk).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = change(&*stores[0], &mut lost, exited()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// Whichever process is asked, and however often at the same time.
pub async fn a_burst_is_one_for_all_processes(stores: Two<dyn Store>) {
    let quota = Quota { rate: Some(Rate::new(1, 60).unwrap()), ..Quota::default() };
    let asked = (0..4).map(|n| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let mut admitted = 0;
            for _ in 0..40 {
                admitted += usize::from(stores[n % 2].admit("a", &quota, at()).await.unwrap().is_none());
            }
            admitted
        })
    });
    let admitted: usize = join_all(asked).await.into_iter().map(|admitted| admitted.unwrap()).sum();
    assert_eq!(admitted, 60);
}

/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(50);

fn jobs(count: usize) -> Vec<Job> {
    let job = || Job {
        id: execution().id,
        attempt: 1,
        owner: Owner::anonymous(),
        delay: Duration::ZERO,
        priority: 0,
    };
    (0..count).map(|_| job()).collect()
}

/// A claim that waits gets what another process pushes, long before its wait is up.
pub async fn a_push_of_another_process_wakes_a_claim(queues: Two<dyn Queue>) {
    for _ in 0..3 {
        let begun = Instant::now();
        let batch = jobs(1);
        let (leases, ()) = tokio::join!(queues[0].claim(1, LONG, LONG), async {
            let nothing = queues[1].claim(1, Duration::from_millis(20), LONG).await;
            assert_eq!(nothing.unwrap(), []);
            queues[1].push(&batch).await.unwrap();
        });
        assert_eq!(leases.unwrap()[0].id, batch[0].id);
        assert!(begun.elapsed() < LONG / 2, "nothing woke it");
    }
}

/// Claims of several processes never get the same job, and none is left out.
pub async fn processes_never_share_a_job(queues: Two<dyn Queue>) {
    let batch = jobs(100);
    queues[0].push(&batch).await.unwrap();
    let claims = (0..6).map(|n| {
        let queues = queues.clone();
        tokio::spawn(async move {
            let mut claimed: Vec<ExecutionId> = Vec::new();
            loop {
                let leases = queues[n % 2].claim(3, Duration::from_millis(50), LONG).await.unwrap();
                if leases.is_empty() {
                    return claimed;
                }
                claimed.extend(leases.iter().map(|lease| lease.id));
            }
        })
    });
    let claimed = join_all(claims).await.into_iter().flat_map(|claimed| claimed.unwrap());
    let mut claimed: Vec<ExecutionId> = claimed.collect();
    claimed.sort();
    let pushed: Vec<ExecutionId> = batch.iter().map(|job| job.id).collect();
    assert_eq!(claimed, pushed);
}

/// A lease holds against, and can be extended, lost and acknowledged through, any process.
pub async fn a_lease_is_honoured_by_every_process(queues: Two<dyn Queue>) {
    queues[0].push(&jobs(1)).await.unwrap();
    let old = queues[0].claim(1, LONG, Duration::from_millis(200)).await.unwrap();
    let new: Vec<Lease> = queues[1].claim(1, LONG, LONG).await.unwrap();
    assert_eq!((new[0].id, new[0].attempt), (old[0].id, old[0].attempt));
    assert_ne!(new[0].token, old[0].token);
    assert_eq!(queues[0].claim(1, Duration::ZERO, LONG).await.unwrap(), []);
    assert_eq!(queues[0].extend(&old, LONG).await.unwrap(), old);
    assert_eq!(queues[0].extend(&new, LONG).await.unwrap(), []);
    queues[0].ack(&old).await.unwrap();
    assert_eq!(queues[1].stats().await.unwrap().leased, 1);
    queues[0].ack(&new).await.unwrap();
    assert_eq!(queues[1].stats().await.unwrap(), Default::default());
}
