//! What is deleted when it's old, and what never is.

use std::sync::Arc;

use futures_util::{StreamExt, future::join_all};

use super::{at, execution, exited, full_execution, log, owner, rest_of_log, spec, start, stdout};
use crate::{
    Change, ErrorKind, Execution, ExecutionId, Follow, Inserted, ListQuery, Output, PruneQuery, Pruned, Seq,
    Session, SessionId, Source, Store,
};

/// Everything that ended before the moment `millis`, in one call.
fn before(millis: u64) -> PruneQuery {
    PruneQuery { ended_before: at(millis), keep_per_session: 0, after: None, limit: 1_000 }
}

/// Puts in an execution and lets it write and end, at the moment `millis`.
async fn ended(store: &dyn Store, mut execution: Execution, millis: u64) -> Execution {
    store.insert(&execution, &spec()).await.unwrap();
    for (change, output) in [(Change::Start, &[][..]), (exited(), &[stdout("written")])] {
        update(store, &mut execution, change, output, millis).await;
    }
    execution
}

async fn update(
    store: &dyn Store,
    execution: &mut Execution,
    change: Change,
    output: &[Output],
    millis: u64,
) {
    execution.apply(change, at(millis)).unwrap();
    store.update(execution, output).await.unwrap();
}

fn of(session: SessionId) -> Execution {
    Execution { session_id: Some(session), ..execution() }
}

/// All that are there, oldest first.
async fn all(store: &dyn Store) -> Vec<ExecutionId> {
    let mut listed = store.list(&ListQuery { limit: 1_000, ..ListQuery::default() }).await.unwrap();
    listed.reverse();
    listed.iter().map(|execution| execution.id).collect()
}

fn ids(executions: &[&Execution]) -> Vec<ExecutionId> {
    executions.iter().map(|execution| execution.id).collect()
}

/// What ended before the moment is gone with its specification, its log and its output, for everybody; the rest is whole.
pub async fn what_ended_before_a_moment_is_deleted_whole(store: Arc<dyn Store>) {
    let full = full_execution();
    let old = ended(&*store, full.clone(), 10).await;
    let other = ended(&*store, Execution { id: execution().id, idempotency_key: None, ..full }, 20).await;
    let pruned = store.prune(&before(20)).await.unwrap();
    assert_eq!(pruned, Pruned { deleted: 1, last: None });
    let first_event = store.events(old.id, Seq::START, Follow::Everything).next().await.unwrap();
    for error in [
        store.get(old.id).await.err(),
        store.spec(old.id).await.err(),
        store.output(old.id).await.err(),
        first_event.err(),
    ] {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::NotFound));
    }
    let lists = [(None, None), (Some(old.owner.clone()), None), (None, old.session_id)];
    for (owner, session) in lists {
        let query = ListQuery { owner, session, limit: 9, ..ListQuery::default() };
        assert_eq!(store.list(&query).await.unwrap(), std::slice::from_ref(&other));
    }
    assert_eq!(store.spec(other.id).await.unwrap(), spec());
    assert_eq!(store.output(other.id).await.unwrap().stdout, "written");
    assert_eq!(log(&*store, other.id).await.len(), 4);
    assert_eq!(store.prune(&before(20)).await.unwrap(), Pruned::default(), "nothing is left to delete");
}

/// What is queued or running stays, however old it is.
pub async fn what_has_not_ended_is_never_deleted(store: Arc<dyn Store>) {
    let queued = execution();
    store.insert(&queued, &spec()).await.unwrap();
    let running = start(&*store).await;
    let mut wished = start(&*store).await;
    update(&*store, &mut wished, Change::RequestCancel, &[], 0).await;
    assert_eq!(store.prune(&before(u64::MAX)).await.unwrap(), Pruned::default());
    assert_eq!(all(&*store).await, ids(&[&queued, &running, &wished]));
    update(&*store, &mut wished, exited(), &[], 5).await;
    assert_eq!(rest_of_log(&*store, wished.id, Seq(3), Follow::Everything).await.len(), 1);
}

/// The newest of each session stay, whoever else's are newer, those that haven't ended among them; what is of no session
/// doesn't.
pub async fn the_newest_of_each_session_are_kept(store: Arc<dyn Store>) {
    let [long, short, busy] = [0, 1, 2].map(|_| SessionId::generate(at(0)));
    let mut kept = Vec::new();
    for n in 0..5 {
        let of_long = ended(&*store, of(long), 10 - n).await;
        kept.extend((n >= 3).then_some(of_long.id));
        ended(&*store, execution(), 1).await;
    }
    kept.push(ended(&*store, of(short), 1).await.id);
    ended(&*store, of(busy), 1).await;
    let (mut cancelled, queued) = (of(busy), of(busy));
    for newer in [&cancelled, &queued] {
        store.insert(newer, &spec()).await.unwrap();
        kept.push(newer.id);
    }
    update(&*store, &mut cancelled, Change::RequestCancel, &[], 2).await;
    let query = PruneQuery { keep_per_session: 2, ..before(1_000) };
    assert_eq!(store.prune(&query).await.unwrap(), Pruned { deleted: 9, last: None });
    assert_eq!(all(&*store).await, kept);
    let all_of_them = PruneQuery { keep_per_session: usize::MAX, ..query };
    assert_eq!(store.prune(&all_of_them).await.unwrap().deleted, 0);
    assert_eq!(store.prune(&before(7)).await.unwrap().deleted, 3, "with the newest of the long one");
    let one = PruneQuery { keep_per_session: 1, ..query };
    assert_eq!(store.prune(&one).await.unwrap().deleted, 0, "the newest of those that are left is kept");
    assert_eq!(store.prune(&before(1_000)).await.unwrap().deleted, 1, "all but the one that is queued");
}

/// A key whose execution was deleted makes a new one.
pub async fn a_deleted_executions_key_is_free(store: Arc<dyn Store>) {
    let old = ended(&*store, full_execution(), 10).await;
    let key = old.idempotency_key.as_deref().unwrap();
    assert_eq!(store.prune(&before(11)).await.unwrap().deleted, 1);
    assert_eq!(store.by_key(&old.owner, old.session_id, key).await.unwrap(), None);
    let again = Execution { session_id: old.session_id, ..full_execution() };
    assert_eq!(store.insert(&again, &spec()).await.unwrap(), Inserted::New);
    assert_eq!(store.by_key(&old.owner, old.session_id, key).await.unwrap(), Some(again));
}

/// A call looks at so many and says where it stopped; from place to place all are seen once, by their ends.
pub async fn pruning_goes_on_where_it_stopped(store: Arc<dyn Store>) {
    let session = SessionId::generate(at(0));
    let mut old = Vec::new();
    for millis in [7, 3, 3, 9, 1, 5, 3] {
        old.push(ended(&*store, of(session), millis).await);
    }
    old.sort_by_key(|execution| (execution.completed_at, execution.id));
    let place = |execution: &Execution| Some((execution.completed_at.unwrap(), execution.id));
    let none = PruneQuery { limit: 0, ..before(9) };
    assert_eq!(store.prune(&none).await.unwrap(), Pruned::default());
    // The one that ended at 3 and is the newest of all is kept, and counts towards what is looked at.
    let first = PruneQuery { keep_per_session: 1, limit: 3, ..before(9) };
    assert_eq!(store.prune(&first).await.unwrap(), Pruned { deleted: 3, last: place(&old[2]) });
    let second = PruneQuery { after: place(&old[2]), limit: 1, ..first };
    assert_eq!(store.prune(&second).await.unwrap(), Pruned { deleted: 0, last: place(&old[3]) });
    let third = PruneQuery { after: place(&old[3]), limit: 2, ..first };
    assert_eq!(store.prune(&third).await.unwrap(), Pruned { deleted: 2, last: place(&old[5]) });
    let last = PruneQuery { after: place(&old[5]), ..first };
    assert_eq!(store.prune(&last).await.unwrap(), Pruned::default());
    let mut left = ids(&[&old[3], &old[6]]);
    left.sort();
    assert_eq!(all(&*store).await, left);
}

/// Of those who prune at the same time each deletes others, and together all.
pub async fn concurrent_prunes_delete_each_once(store: Arc<dyn Store>) {
    for millis in 0..60 {
        ended(&*store, execution(), millis).await;
    }
    let prunes = join_all((0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut deleted, mut query) = (0, PruneQuery { limit: 7, ..before(50) });
            loop {
                let pruned = store.prune(&query).await.unwrap();
                deleted += pruned.deleted;
                query.after = pruned.last;
                if query.after.is_none() {
                    return deleted;
                }
            }
        })
    }));
    assert_eq!(prunes.await.into_iter().map(|deleted| deleted.unwrap()).sum::<usize>(), 50);
    assert_eq!(all(&*store).await.len(), 10);
}

/// A session stays with its history when all of its executions are deleted.
pub async fn sessions_outlive_their_executions(store: Arc<dyn Store>) {
    let source =
        |text: &str| Source { language: "python".into(), source_code: text.into(), files: Vec::new() };
    let mut session = Session::new(owner("alice"), source("1"), at(0));
    store.insert_session(&session).await.unwrap();
    session.save(source("2"), at(1)).unwrap();
    store.update_session(&session).await.unwrap();
    ended(&*store, of(session.id), 10).await;
    assert_eq!(store.prune(&before(11)).await.unwrap().deleted, 1);
    assert_eq!(store.session(session.id).await.unwrap(), session);
    assert_eq!(store.revisions(session.id, None, 9).await.unwrap().len(), 2);
}
