//! Where the word of an execution's end stands.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{AWKWARD, at, change, execution, exited, full_execution, spec};
use crate::{
    Change, Delivery, DeliveryChange, DeliveryQuery, DeliveryState, ErrorKind, Execution, ExecutionId,
    ExecutionSpec, Inserted, PruneQuery, Store, Timestamp,
};

const URL: &str = "https://example.org/ended?token=x";

fn told() -> ExecutionSpec {
    spec().callback_url(URL)
}

async fn insert(store: &dyn Store) -> Execution {
    let execution = execution();
    assert_eq!(store.insert(&execution, &told()).await.unwrap(), Inserted::New);
    execution
}

/// Lets an execution end at the moment `millis`.
async fn end(store: &dyn Store, execution: &mut Execution, millis: u64) {
    for change in [Change::Start, exited()] {
        execution.apply(change, at(millis)).unwrap();
        store.update(execution, &[]).await.unwrap();
    }
}

/// A new delivery that is due since the moment `millis`.
async fn due(store: &dyn Store, millis: u64) -> Delivery {
    let mut execution = insert(store).await;
    end(store, &mut execution, millis).await;
    delivery(store, execution.id).await
}

async fn delivery(store: &dyn Store, id: ExecutionId) -> Delivery {
    store.delivery(id).await.unwrap().unwrap()
}

async fn listed(store: &dyn Store, due_until: Timestamp) -> Vec<ExecutionId> {
    let query = DeliveryQuery { due_until, after: None, limit: 1_000 };
    let found = store.deliveries(&query).await.unwrap();
    found.iter().map(|delivery| delivery.execution_id).collect()
}

/// As its execution: once, and only where somebody is to be told.
pub async fn a_delivery_is_made_with_its_execution(store: Arc<dyn Store>) {
    for (new, url) in [(execution(), URL), (full_execution(), AWKWARD)] {
        let spec = spec().callback_url(url);
        assert_eq!(store.insert(&new, &spec).await.unwrap(), Inserted::New);
        assert_eq!(store.delivery(new.id).await.unwrap(), Delivery::of(&new, &spec));
        assert_eq!(delivery(&*store, new.id).await.url, url);
        if new.idempotency_key.is_some() {
            let again = Execution { id: execution().id, ..new.clone() };
            let found = store.insert(&again, &told()).await.unwrap();
            assert_eq!(found, Inserted::Existing(Box::new(new)));
            assert_eq!(store.delivery(again.id).await.unwrap(), None);
        }
    }
    let silent = execution();
    store.insert(&silent, &spec()).await.unwrap();
    for id in [silent.id, execution().id] {
        assert_eq!(store.delivery(id).await.unwrap(), None);
    }
    assert_eq!(listed(&*store, at(u64::MAX)).await, [], "nothing has ended");
}

/// With the end, whatever end it is, and with nothing before it.
pub async fn a_delivery_is_due_when_its_execution_has_ended(store: Arc<dyn Store>) {
    let (mut finished, mut cancelled) = (insert(&*store).await, insert(&*store).await);
    let again = Change::Requeue { run_after: at(0), failure: None };
    for step in [Change::Start, again, Change::Start, Change::RequestCancel] {
        change(&*store, &mut finished, step, &[]).await;
        let waiting = delivery(&*store, finished.id).await;
        assert_eq!((waiting.due_at, waiting.version), (None, 1));
    }
    assert_eq!(listed(&*store, at(u64::MAX)).await, []);
    change(&*store, &mut finished, exited(), &[]).await;
    change(&*store, &mut cancelled, Change::RequestCancel, &[]).await;
    for execution in [&finished, &cancelled] {
        let due = delivery(&*store, execution.id).await;
        let expected = Delivery { due_at: execution.completed_at, version: 2, ..due.clone() };
        assert_eq!((&due, due.state, due.attempts), (&expected, DeliveryState::Pending, 0));
    }
    assert_eq!(listed(&*store, at(999)).await, []);
    assert_eq!(listed(&*store, at(1_000)).await, [finished.id, cancelled.id]);
}

/// Every member that changes, and none of another one's.
pub async fn a_delivery_comes_back_as_it_was_changed(store: Arc<dyn Store>) {
    let (mut first, mut second) = (due(&*store, 0).await, due(&*store, 0).await);
    let lease = at(30_000).duration_since(at(0));
    let error = || AWKWARD.to_owned();
    let steps = [
        (DeliveryChange::Begin { lease }, DeliveryChange::Begin { lease }),
        (DeliveryChange::Retry { after: lease, error: error() }, DeliveryChange::Fail { error: error() }),
        (DeliveryChange::Begin { lease }, DeliveryChange::Begin { lease }),
        (DeliveryChange::Deliver, DeliveryChange::Deliver),
    ];
    for (n, (of_first, of_second)) in (1..).zip(steps) {
        for (delivery, change) in [(&mut first, of_first), (&mut second, of_second)] {
            if delivery.apply(change, at(n)).is_ok() {
                store.update_delivery(delivery).await.unwrap();
            }
        }
        for expected in [&first, &second] {
            assert_eq!(delivery(&*store, expected.execution_id).await, *expected);
        }
    }
    assert_eq!((first.state, first.attempts), (DeliveryState::Delivered, 2));
    assert_eq!((second.state, second.attempts), (DeliveryState::Failed, 1));
    assert_eq!(listed(&*store, at(u64::MAX)).await, [], "what came to an end isn't due");
}

/// Any other version is refused, and nothing is changed then; so is what isn't there.
pub async fn a_delivery_changes_only_from_the_version_before(store: Arc<dyn Store>) {
    let stored = due(&*store, 0).await;
    let mut changed = stored.clone();
    changed.apply(DeliveryChange::Deliver, at(1)).unwrap();
    for version in [0, 1, stored.version, changed.version + 1, u64::MAX / 2] {
        let wrong = Delivery { version, ..changed.clone() };
        let error = store.update_delivery(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "version {version}");
    }
    assert_eq!(delivery(&*store, stored.execution_id).await, stored);
    let silent = execution();
    store.insert(&silent, &spec()).await.unwrap();
    for execution_id in [silent.id, execution().id] {
        let unknown = Delivery { execution_id, ..changed.clone() };
        assert_eq!(store.update_delivery(&unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    store.update_delivery(&changed).await.unwrap();
}

/// Of all who read it at the same time, and the others get it when its lease is over.
pub async fn of_those_who_begin_a_delivery_one_does(store: Arc<dyn Store>) {
    let mut begun = due(&*store, 0).await;
    let id = begun.execution_id;
    begun.apply(DeliveryChange::Begin { lease: at(30_000).duration_since(at(0)) }, at(1)).unwrap();
    let tries = join_all((0..8).map(|_| {
        let (store, begun) = (store.clone(), begun.clone());
        tokio::spawn(async move { store.update_delivery(&begun).await })
    }));
    let tries = tries.await.into_iter().map(|begun| begun.unwrap());
    assert_eq!(tries.filter(Result::is_ok).count(), 1);
    assert_eq!(listed(&*store, at(30_000)).await, []);
    assert_eq!(listed(&*store, at(30_001)).await, [id]);
}

/// By when they are due and then by their ids, page by page.
pub async fn deliveries_are_listed_in_the_order_in_which_they_are_due(store: Arc<dyn Store>) {
    let mut all = Vec::new();
    for millis in [50, 10, 30, 10, 20, 10] {
        all.push(due(&*store, millis).await);
    }
    all.sort_by_key(|delivery| (delivery.due_at, delivery.execution_id));
    let query = DeliveryQuery { due_until: at(30), after: None, limit: 9 };
    assert_eq!(store.deliveries(&query).await.unwrap(), all[..5]);
    for limit in 0..4 {
        let mut after = None;
        for page in all[..5].chunks(limit.max(1)).take(if limit == 0 { 0 } else { 9 }) {
            assert_eq!(store.deliveries(&DeliveryQuery { after, limit, ..query }).await.unwrap(), page);
            after = page.last().map(|delivery| (delivery.due_at.unwrap(), delivery.execution_id));
        }
        let rest = DeliveryQuery { after, limit: 0, ..query };
        assert_eq!(store.deliveries(&rest).await.unwrap(), []);
    }
}

/// And nobody else's is.
pub async fn a_delivery_is_deleted_with_its_execution(store: Arc<dyn Store>) {
    let (old, young) = (due(&*store, 10).await, due(&*store, 20).await);
    let query = PruneQuery { ended_before: at(20), keep_per_session: 0, after: None, limit: 10 };
    assert_eq!(store.prune(&query).await.unwrap().deleted, 1);
    assert_eq!(store.delivery(old.execution_id).await.unwrap(), None);
    assert_eq!(delivery(&*store, young.execution_id).await, young);
    assert_eq!(listed(&*store, at(u64::MAX)).await, [young.execution_id]);
}
