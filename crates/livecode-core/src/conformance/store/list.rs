//! Lists by keyset.

use std::sync::Arc;

use super::{at, change, execution, exited, full_execution, owner, spec};
use crate::{Change, Execution, ExecutionId, ListQuery, Owner, PageStart, SessionId, Store};

async fn ids(store: &dyn Store, query: &ListQuery) -> Vec<ExecutionId> {
    let listed = store.list(query).await.unwrap();
    listed.iter().map(|execution| execution.id).collect()
}

fn page(page: PageStart, limit: usize) -> ListQuery {
    ListQuery { page, limit, ..ListQuery::default() }
}

async fn insert(store: &dyn Store, count: usize) -> Vec<ExecutionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let execution = execution();
        store.insert(&execution, &spec()).await.unwrap();
        ids.push(execution.id);
    }
    ids
}

/// From the newest on and before any id newest first; from the oldest on and after any id oldest first.
pub async fn pages_go_both_ways(store: Arc<dyn Store>) {
    let all = insert(&*store, 5).await;
    let newest_first: Vec<ExecutionId> = all.iter().rev().copied().collect();
    for (at, id) in all.iter().copied().enumerate() {
        let before = page(PageStart::Before(Some(id)), 10);
        assert_eq!(ids(&*store, &before).await, newest_first[5 - at..]);
        let after = page(PageStart::After(Some(id)), 10);
        assert_eq!(ids(&*store, &after).await, all[at + 1..]);
    }
    for limit in 0..=6 {
        let many = limit.min(5);
        assert_eq!(ids(&*store, &page(PageStart::Before(None), limit)).await, newest_first[..many]);
        assert_eq!(ids(&*store, &page(PageStart::After(None), limit)).await, all[..many]);
        let after = page(PageStart::After(Some(all[1])), limit);
        assert_eq!(ids(&*store, &after).await, all[2..(2 + limit).min(5)]);
    }
}

/// A limit of 0 is none, one that no medium can count to is all; by default there is none.
pub async fn limits_are_taken_at_their_word(store: Arc<dyn Store>) {
    let all = insert(&*store, 3).await;
    assert!(ids(&*store, &ListQuery::default()).await.is_empty());
    assert_eq!(ids(&*store, &page(PageStart::After(None), usize::MAX)).await, all);
}

/// A page may begin at an id that isn't there.
pub async fn a_page_begins_at_any_id(store: Arc<dyn Store>) {
    let missing: [ExecutionId; 2] = [execution().id, execution().id];
    let first = insert(&*store, 1).await[0];
    let between = execution().id;
    let last = insert(&*store, 1).await[0];
    for (start, expected) in [
        (PageStart::Before(Some(between)), vec![first]),
        (PageStart::After(Some(between)), vec![last]),
        (PageStart::Before(Some(missing[0])), vec![]),
        (PageStart::After(Some(missing[1])), vec![first, last]),
    ] {
        assert_eq!(ids(&*store, &page(start, 10)).await, expected, "{start:?}");
    }
}

/// Walking page by page sees each once, although new ones come meanwhile.
pub async fn a_walk_sees_each_once_while_new_ones_come(store: Arc<dyn Store>) {
    let all = insert(&*store, 7).await;
    let mut seen = Vec::new();
    loop {
        let part = ids(&*store, &page(PageStart::Before(seen.last().copied()), 3)).await;
        if part.is_empty() {
            break;
        }
        seen.extend(part);
        insert(&*store, 1).await;
    }
    seen.reverse();
    assert_eq!(seen, all);
}

/// What is listed is the whole record, as it is by now.
pub async fn whole_records_are_listed(store: Arc<dyn Store>) {
    let mut full = full_execution();
    store.insert(&full, &spec()).await.unwrap();
    change(&*store, &mut full, Change::Start, &[]).await;
    assert_eq!(store.list(&page(PageStart::Before(None), 1)).await.unwrap(), [full.clone()]);
    change(&*store, &mut full, exited(), &[]).await;
    assert_eq!(store.list(&page(PageStart::Before(None), 1)).await.unwrap(), [full]);
}

/// Only those of the owner and the session that are asked for, in pages as well.
pub async fn lists_are_by_owner_and_session(store: Arc<dyn Store>) {
    let owners: [Owner; 3] = ["", "alice", "bob"].map(owner);
    let sessions = [None, Some(SessionId::generate(at(0))), Some(SessionId::generate(at(0)))];
    let mut all: Vec<Execution> = Vec::new();
    for _ in 0..2 {
        for owner in &owners {
            for session_id in sessions {
                let execution = Execution { owner: owner.clone(), session_id, ..execution() };
                store.insert(&execution, &spec()).await.unwrap();
                all.push(execution);
            }
        }
    }
    let nobody = [None, Some(owner("nobody"))];
    let unheard = [Some(SessionId::generate(at(0)))];
    for owner in owners.into_iter().map(Some).chain(nobody) {
        for session in sessions.into_iter().chain(unheard) {
            let expected: Vec<ExecutionId> = all
                .iter()
                .filter(|execution| owner.as_ref().is_none_or(|owner| *owner == execution.owner))
                .filter(|execution| session.is_none() || session == execution.session_id)
                .map(|execution| execution.id)
                .collect();
            let mut query = ListQuery { owner: owner.clone(), session, ..page(PageStart::After(None), 100) };
            assert_eq!(ids(&*store, &query).await, expected, "{query:?}");
            if expected.len() > 1 {
                query.page = PageStart::Before(Some(expected[1]));
                assert_eq!(ids(&*store, &query).await, expected[..1], "{query:?}");
                query.page = PageStart::After(Some(expected[0]));
                query.limit = 1;
                assert_eq!(ids(&*store, &query).await, expected[1..2], "{query:?}");
            }
        }
    }
}

/// The sweep gets those that are queued or running and were accepted before a moment, whosever they are.
pub async fn open_ones_are_listed_by_age(store: Arc<dyn Store>) {
    let running = [Change::Start];
    let again = Change::Requeue { run_after: at(99_999), failure: None };
    let requeued = [Change::Start, again];
    let wished = [Change::Start, Change::RequestCancel];
    let completed = [Change::Start, exited()];
    let cancelled = [Change::RequestCancel];
    let session = SessionId::generate(at(0));
    let mut open = Vec::new();
    for (age, changes) in
        [&[][..], &running, &requeued, &completed, &wished, &cancelled].into_iter().enumerate()
    {
        let mut execution = Execution {
            created_at: at(age as u64),
            owner: owner(if age % 2 == 0 { "even" } else { "odd" }),
            session_id: (age < 2).then_some(session),
            ..execution()
        };
        store.insert(&execution, &spec()).await.unwrap();
        for step in changes {
            change(&*store, &mut execution, step.clone(), &[]).await;
        }
        if !execution.state.is_terminal() {
            open.push(execution.id);
        }
    }
    let [queued, running, requeued, wished] = open[..] else { unreachable!("four of them are open") };
    let before =
        |millis| ListQuery { open_since_before: Some(at(millis)), ..page(PageStart::After(None), 100) };
    for (millis, expected) in [
        (0, vec![]),
        (1, vec![queued]),
        (2, vec![queued, running]),
        (4, vec![queued, running, requeued]),
        (1_000_000, open.clone()),
    ] {
        assert_eq!(ids(&*store, &before(millis)).await, expected, "before {millis}");
    }
    let even = ListQuery { owner: Some(owner("even")), ..before(1_000) };
    assert_eq!(ids(&*store, &even).await, [queued, requeued, wished]);
    let of_session = ListQuery { session: Some(session), ..before(1_000) };
    assert_eq!(ids(&*store, &of_session).await, [queued, running]);
    let rest = ListQuery { page: PageStart::After(Some(running)), limit: 1, ..before(1_000) };
    assert_eq!(ids(&*store, &rest).await, [requeued]);
    let newest = ListQuery { page: PageStart::Before(None), limit: 2, ..before(1_000) };
    assert_eq!(ids(&*store, &newest).await, [wished, requeued]);
}
