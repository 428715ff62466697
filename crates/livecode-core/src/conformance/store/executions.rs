//! Records of executions, their versions and idempotency keys.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{
    AWKWARD, at, change, complete, execution, exited, full_execution, full_spec, log, outcome, owner, spec,
    start, stdout,
};
use crate::{
    Captured, CaseResult, Change, ErrorKind, Excerpt, Execution, ExecutionId, Inserted, ListQuery, Outcome,
    Seq, SessionId, Store, Termination, Usage, Verdict,
};

fn terminations() -> Vec<Termination> {
    let limit = Duration::from_millis(1_500);
    vec![
        Termination::Exited { code: 0 },
        Termination::Exited { code: 255 },
        Termination::Signaled { signal: 11 },
        Termination::CompileFailed { message: AWKWARD.into() },
        Termination::WallTimeExceeded { limit },
        Termination::CpuTimeExceeded { limit },
        Termination::MemoryExceeded { limit: u64::MAX },
        Termination::ProcessesExceeded { limit: u32::MAX },
        Termination::OutputExceeded { limit: 1 },
        Termination::Cancelled,
        Termination::Graded,
    ]
}

/// All that fills a record: it fails once, is started again, asked to end, and ends so.
fn changes(termination: Termination) -> [Change; 5] {
    let usage = Usage {
        wall_time: Duration::from_nanos(1_234_567_891),
        cpu_time: Duration::from_micros(7),
        memory_peak_bytes: Some(1 << 40),
    };
    let case = CaseResult {
        verdict: Verdict::RuntimeError,
        points: 0,
        max_points: u32::MAX,
        termination: Some(Termination::Signaled { signal: 11 }),
        usage,
        stdout: Excerpt { text: AWKWARD.into(), truncated: true },
        stderr: Excerpt::default(),
    };
    let skipped = CaseResult {
        verdict: Verdict::Skipped,
        termination: None,
        usage: Usage::default(),
        stdout: Excerpt::default(),
        ..case.clone()
    };
    let outcome = Outcome {
        usage,
        compile_output: Some(AWKWARD.into()),
        stdout_truncated: true,
        stderr_truncated: true,
        unprotected: vec![AWKWARD.into(), String::new()],
        cases: vec![case, skipped],
        ..outcome(termination)
    };
    let again = Change::Requeue { run_after: at(7_001), failure: Some(AWKWARD.into()) };
    [Change::Start, again, Change::Start, Change::RequestCancel, Change::Finish(outcome)]
}

/// A new one comes back with every member, and what was asked with it, whatever text and bytes are in them.
pub async fn an_execution_comes_back_as_it_was_put_in(store: Arc<dyn Store>) {
    for (new, spec) in [(execution(), spec()), (full_execution(), full_spec())] {
        assert_eq!(store.insert(&new, &spec).await.unwrap(), Inserted::New);
        assert_eq!(store.get(new.id).await.unwrap(), new);
        assert_eq!(store.spec(new.id).await.unwrap(), spec);
    }
}

/// What was asked stays, whatever becomes of it, and of one that is unknown nothing was.
pub async fn what_was_asked_never_changes(store: Arc<dyn Store>) {
    let mut execution = full_execution();
    store.insert(&execution, &full_spec()).await.unwrap();
    let again = store.insert(&execution, &spec()).await.unwrap();
    assert!(matches!(again, Inserted::Existing(_)), "its key is taken");
    for step in [Change::Start, exited()] {
        change(&*store, &mut execution, step, &[]).await;
        assert_eq!(store.spec(execution.id).await.unwrap(), full_spec());
    }
    let unknown = store.spec(super::execution().id).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

/// Every member of a changed one comes back after each change, for every way to end.
pub async fn an_execution_comes_back_as_it_was_changed(store: Arc<dyn Store>) {
    for termination in terminations() {
        let mut execution = full_execution();
        store.insert(&execution, &spec()).await.unwrap();
        for step in changes(termination) {
            change(&*store, &mut execution, step, &[]).await;
            assert_eq!(store.get(execution.id).await.unwrap(), execution);
        }
        assert!(execution.state.is_terminal());
    }
}

/// The same for those that end without an outcome.
pub async fn an_execution_without_an_outcome_comes_back(store: Arc<dyn Store>) {
    let again =
        |failure: Option<&str>| Change::Requeue { run_after: at(9), failure: failure.map(Into::into) };
    let fail = Change::Fail { failure: "the last".into() };
    for steps in [
        vec![Change::RequestCancel],
        vec![Change::Start, Change::Cancel],
        vec![Change::Start, again(None), Change::Start, again(Some("")), Change::Start, fail],
    ] {
        let mut execution = execution();
        store.insert(&execution, &spec()).await.unwrap();
        for step in steps {
            change(&*store, &mut execution, step, &[]).await;
            assert_eq!(store.get(execution.id).await.unwrap(), execution);
        }
        assert!(execution.state.is_terminal());
    }
}

/// Nothing is known of an execution that was never put in.
pub async fn an_unknown_execution_is_not_found(store: Arc<dyn Store>) {
    complete(&*store, &[stdout("somebody else's")]).await;
    let mut unknown = execution();
    unknown.apply(Change::Start, at(1)).unwrap();
    for error in [
        store.get(unknown.id).await.unwrap_err(),
        store.update(&unknown, &[stdout("x")]).await.unwrap_err(),
        store.append(unknown.id, 1, &[stdout("x")]).await.unwrap_err(),
        store.output(unknown.id).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

/// A second execution by the same id is a conflict and leaves the first as it is.
pub async fn an_execution_id_is_taken_once(store: Arc<dyn Store>) {
    let first = complete(&*store, &[stdout("first")]).await;
    let second = Execution { id: first.id, ..full_execution() };
    let error = store.insert(&second, &spec()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(store.get(first.id).await.unwrap(), first);
    assert_eq!(log(&*store, first.id).await.len(), 4);
    let third = Execution { id: ExecutionId::generate(at(2)), ..second };
    assert_eq!(store.insert(&third, &spec()).await.unwrap(), Inserted::New, "the refused one left its key");
}

/// An update to a version that isn't the stored one is a conflict, and neither record nor log shows a trace of it.
pub async fn an_execution_changes_only_from_the_version_before(store: Arc<dyn Store>) {
    let mut execution = start(&*store).await;
    for version in [0, 1, 2, 4, u64::from(u32::MAX)] {
        let mut other = execution.clone();
        other.apply(exited(), at(9)).unwrap();
        other.version = version;
        let error = store.update(&other, &[stdout("refused")]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "version {version}");
    }
    assert_eq!(store.get(execution.id).await.unwrap(), execution);
    assert_eq!(store.output(execution.id).await.unwrap(), Captured::default());
    assert_eq!(change(&*store, &mut execution, exited(), &[]).await, Seq(3));
}

/// Of updates to one version that come at the same time, one is made; the log has its output alone.
pub async fn of_concurrent_updates_one_wins(store: Arc<dyn Store>) {
    let execution = start(&*store).await;
    let updates = join_all((0..8).map(|code| {
        let (store, mut execution) = (store.clone(), execution.clone());
        tokio::spawn(async move {
            let end = Change::Finish(outcome(Termination::Exited { code }));
            execution.apply(end, at(2)).unwrap();
            match store.update(&execution, &[stdout(code.to_string())]).await {
                Ok(last) => Some((execution, last, code)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict);
                    None
                }
            }
        })
    }));
    let mut winners = updates.await.into_iter().filter_map(|update| update.unwrap());
    let (winner, last, code) = winners.next().unwrap();
    assert_eq!(winners.next(), None);
    assert_eq!(last, Seq(4));
    assert_eq!(store.get(execution.id).await.unwrap(), winner);
    assert_eq!(store.output(execution.id).await.unwrap().stdout, code.to_string());
}

/// A key that was used gives back the execution that has it, as it is by now, and puts in nothing.
pub async fn a_used_idempotency_key_gives_back_its_execution(store: Arc<dyn Store>) {
    let mut first = full_execution();
    store.insert(&first, &spec()).await.unwrap();
    let again = store.insert(&first, &spec()).await.unwrap();
    assert_eq!(again, Inserted::Existing(Box::new(first.clone())), "itself");
    change(&*store, &mut first, Change::Start, &[]).await;
    change(&*store, &mut first, exited(), &[]).await;
    let key = first.idempotency_key.as_deref().unwrap();
    let found = store.by_key(&first.owner, first.session_id, key).await.unwrap();
    assert_eq!(found, Some(first.clone()));

    let mut second = Execution { id: ExecutionId::generate(at(3)), ..full_execution() };
    second.session_id = first.session_id;
    let existing = store.insert(&second, &spec()).await.unwrap();
    assert_eq!(existing, Inserted::Existing(Box::new(first.clone())));
    assert_eq!(store.get(second.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    let query = ListQuery { limit: 10, ..ListQuery::default() };
    assert_eq!(store.list(&query).await.unwrap(), [first.clone()]);
    assert_eq!(log(&*store, first.id).await.len(), 3);
}

/// The same key is another one for another owner or session; no session counts as one; keys are compared exactly.
pub async fn an_idempotency_key_belongs_to_its_owner_and_session(store: Arc<dyn Store>) {
    let sessions = [None, Some(SessionId::generate(at(0))), Some(SessionId::generate(at(0)))];
    let keys = ["key", "KEY", "key ", "ke\u{301}y", "kéy"];
    let mut all = Vec::new();
    for owner in ["", "alice", "Alice"].map(owner) {
        for session_id in sessions {
            for key in keys {
                all.push(Execution {
                    owner: owner.clone(),
                    session_id,
                    idempotency_key: Some(key.into()),
                    ..execution()
                });
            }
        }
    }
    for new in &all {
        assert_eq!(store.insert(new, &spec()).await.unwrap(), Inserted::New);
    }
    for first in all {
        let key = first.idempotency_key.as_deref().unwrap();
        let found = store.by_key(&first.owner, first.session_id, key).await.unwrap();
        assert_eq!(found.as_ref(), Some(&first));
        for (owner, key) in [(&owner("nobody"), key), (&first.owner, "unused")] {
            assert_eq!(store.by_key(owner, first.session_id, key).await.unwrap(), None);
        }
        let again = Execution { id: ExecutionId::generate(at(9)), ..first.clone() };
        assert_eq!(store.insert(&again, &spec()).await.unwrap(), Inserted::Existing(Box::new(first)));
    }
}

/// Executions without a key are never taken for one another.
pub async fn no_idempotency_key_is_like_no_other(store: Arc<dyn Store>) {
    for _ in 0..2 {
        assert_eq!(store.insert(&execution(), &spec()).await.unwrap(), Inserted::New);
    }
}

/// Of inserts with one key that come at the same time, one puts in, and the others give back what it put in.
pub async fn of_concurrent_inserts_with_one_key_one_inserts(store: Arc<dyn Store>) {
    for session_id in [None, Some(SessionId::generate(at(0)))] {
        let inserts = join_all((0..32).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let new = Execution { session_id, idempotency_key: Some("one".into()), ..execution() };
                (new.id, store.insert(&new, &spec()).await.unwrap())
            })
        }));
        let mut new = Vec::new();
        let mut existing = Vec::new();
        for insert in inserts.await {
            match insert.unwrap() {
                (id, Inserted::New) => new.push(id),
                (_, Inserted::Existing(execution)) => existing.push(execution.id),
            }
        }
        assert_eq!(new.len(), 1);
        assert_eq!(existing, [new[0]; 31]);
    }
}
