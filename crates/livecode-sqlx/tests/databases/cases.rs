//! What every SQL database has to do beyond the suites of livecode-core.

use std::{
    collections::HashSet,
    future::Future,
    io::{BufRead, BufReader},
    num::NonZeroU32,
    pin::pin,
    process::{Command, Stdio as Pipe},
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, future::join_all};
use livecode_core::{
    Change, Clock, DeliveryQuery, Engine, ErrorKind, Event, EventKind, Execution, ExecutionId, ExecutionSpec,
    Follow, Inserted, Job, ListQuery, Outcome, Output, Owner, PruneQuery, Queue, Quota, RunOptions, Seq,
    Session, Source, State, Stdio, Store, SystemClock, Termination,
};

use tokio::time::timeout;

use super::Place;

const NO: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(600);

fn execution() -> Execution {
    Execution::new(Owner::anonymous(), "python", SystemClock.now())
}

fn spec() -> ExecutionSpec {
    ExecutionSpec::new("python", "print('hello')")
}

fn line(text: &str) -> Output {
    Output::new(Stdio::Stdout, text.to_owned())
}

async fn change(store: &impl Store, execution: &mut Execution, change: Change, output: &[Output]) -> Seq {
    execution.apply(change, SystemClock.now()).unwrap();
    store.update(execution, output).await.unwrap()
}

fn exited() -> Change {
    Change::Finish(Outcome::new(Termination::Exited { code: 0 }))
}

/// A whole life: queued, running, two lines, completed.
async fn live(store: &impl Store, execution: &mut Execution) {
    change(store, execution, Change::Start, &[]).await;
    store.append(execution.id, 1, &[line("one\n")]).await.unwrap();
    change(store, execution, exited(), &[line("two\n")]).await;
}

async fn whole_log(store: &impl Store, id: ExecutionId) -> Vec<Event> {
    store.events(id, Seq::START, Follow::Everything).try_collect().await.unwrap()
}

pub(crate) async fn everything_is_there_after_reopening<P: Place>(place: P) {
    let mut session = Session::new(
        Owner::new("alice").unwrap(),
        Source { language: "python".into(), source_code: "1".into(), files: Vec::new() },
        SystemClock.now(),
    );
    let mut ended = execution();
    let waiting = execution();
    let log = {
        let (store, _queue) = place.open().await;
        store.insert_session(&session).await.unwrap();
        let source = Source { source_code: "2".into(), ..session.source.clone() };
        session.save(source, SystemClock.now()).unwrap();
        store.update_session(&session).await.unwrap();
        store.insert(&ended, &spec()).await.unwrap();
        live(&store, &mut ended).await;
        store.insert(&waiting, &spec()).await.unwrap();
        whole_log(&store, ended.id).await
    };
    let (store, queue) = place.open().await;
    assert_eq!(store.session(session.id).await.unwrap(), session);
    assert_eq!(store.revisions(session.id, None, 9).await.unwrap().len(), 2);
    assert_eq!(store.get(ended.id).await.unwrap(), ended);
    assert_eq!(store.output(ended.id).await.unwrap().stdout, "one\ntwo\n");
    assert_eq!(whole_log(&store, ended.id).await, log);
    assert_eq!(log.len(), 5);
    let leases = queue.claim(9, NO, LONG).await.unwrap();
    assert_eq!(leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [waiting.id]);
}

pub(crate) async fn followers_see_what_another_process_writes<P: Place>(place: P) {
    let (here, _) = place.open().await;
    let (there, _) = place.open().await;
    let mut execution = execution();
    here.insert(&execution, &spec()).await.unwrap();
    let mut events = there.events(execution.id, Seq::START, Follow::Everything);
    let mut status = there.events(execution.id, Seq::START, Follow::Status);
    // Each step is made only when the one before has been seen: every one has to be noticed by itself.
    let mut seen = vec![events.next().await.unwrap().unwrap()];
    change(&here, &mut execution, Change::Start, &[]).await;
    seen.push(events.next().await.unwrap().unwrap());
    for text in ["one", "two", "three"] {
        here.append(execution.id, 1, &[line(text)]).await.unwrap();
        seen.push(events.next().await.unwrap().unwrap());
    }
    change(&here, &mut execution, exited(), &[]).await;
    seen.push(events.next().await.unwrap().unwrap());
    assert!(events.next().await.is_none());
    assert_eq!(seen, whole_log(&here, execution.id).await);
    let mut kinds = Vec::new();
    while let Some(event) = status.next().await {
        kinds.push(event.unwrap().seq.0);
    }
    assert_eq!(kinds, [1, 2, 6]);
}

pub(crate) async fn a_claim_hears_of_a_job_from_another_process<P: Place>(place: P) {
    let (store, _) = place.open().await;
    let (_, queue) = place.open().await;
    for _ in 0..5 {
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.claim(1, LONG, LONG).await.unwrap() }
        });
        let execution = execution();
        store.insert(&execution, &spec()).await.unwrap();
        assert_eq!(waiting.await.unwrap()[0].id, execution.id);
    }
}

pub(crate) async fn processes_never_share_a_claim<P: Place>(place: P) {
    let handles = [place.open().await, place.open().await, place.open().await];
    let inserts = handles.iter().map(|(store, _)| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                store.insert(&execution(), &spec()).await.unwrap();
            }
        })
    });
    let claims = handles.iter().chain(&handles).map(|(_, queue)| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            while let leases = queue.claim(3, Duration::from_millis(500), LONG).await.unwrap()
                && !leases.is_empty()
            {
                queue.ack(&leases[..1]).await.unwrap();
                claimed.extend(leases);
            }
            claimed
        })
    });
    let (inserted, claimed) = tokio::join!(join_all(inserts), join_all(claims));
    inserted.into_iter().for_each(|insert| insert.unwrap());
    let claimed: Vec<_> = claimed.into_iter().flat_map(Result::unwrap).collect();
    let distinct: HashSet<_> = claimed.iter().map(|lease| lease.id).collect();
    assert_eq!((claimed.len(), distinct.len()), (120, 120));
}

pub(crate) async fn one_idempotency_key_makes_one_execution_in_all_processes<P: Place>(place: P) {
    let handles = [place.open().await, place.open().await];
    let inserts = (0..50).map(|number| {
        let store = handles[number % 2].0.clone();
        let mut execution = execution();
        execution.idempotency_key = Some("key\0".into());
        tokio::spawn(async move {
            match store.insert(&execution, &spec()).await.unwrap() {
                Inserted::New => execution.id,
                Inserted::Existing(existing) => existing.id,
            }
        })
    });
    let ids: HashSet<_> = join_all(inserts).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(handles[0].1.stats().await.unwrap().waiting, 1);
}

pub(crate) async fn inserting_makes_the_job_claimable_and_pushing_it_again_changes_nothing<P: Place>(
    place: P,
) {
    let (store, queue) = place.open().await;
    assert!(store.is_queue(), "nobody need push");
    let (early, mut urgent, mut later) = (execution(), execution(), execution());
    urgent.priority = 7;
    later.run_after = later.created_at.saturating_add(LONG);
    for execution in [&early, &urgent, &later] {
        store.insert(execution, &spec()).await.unwrap();
        let job = Job { id: execution.id, attempt: 1, owner: Owner::anonymous(), delay: NO, priority: 0 };
        queue.push(&[job]).await.unwrap();
    }
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.delayed, stats.leased), (2, 1, 0));
    let claimed = queue.claim(9, NO, LONG).await.unwrap();
    let claimed: Vec<_> = claimed.iter().map(|lease| (lease.id, lease.attempt)).collect();
    assert_eq!(claimed, [(urgent.id, 1), (early.id, 1)]);
}

pub(crate) async fn a_run_is_claimed_at_once_beside_a_hundred_thousand_of_another_owner<P: Place>(place: P) {
    let (store, queue) = place.open().await;
    let id = || ExecutionId::generate(SystemClock.now());
    let job = |_| Job { id: id(), attempt: 1, owner: Owner::new("a").unwrap(), delay: NO, priority: 0 };
    for _ in 0..20 {
        queue.push(&(0..5_000).map(job).collect::<Vec<_>>()).await.unwrap();
    }
    for owner in ["b", "c", "b"] {
        let only = Execution::new(Owner::new(owner).unwrap(), "python", SystemClock.now());
        store.insert(&only, &spec()).await.unwrap();
        let claims = join_all((0..2).map(|_| queue.claim(1, NO, LONG))).await;
        assert!(claims.into_iter().any(|leases| leases.unwrap()[0].id == only.id), "{owner} waits");
    }
    assert_eq!(queue.stats().await.unwrap().waiting, 99_997);
}

pub(crate) async fn ending_a_queued_execution_removes_its_job<P: Place>(place: P) {
    let (store, queue) = place.open().await;
    let (mut waiting, mut delayed) = (execution(), execution());
    delayed.run_after = delayed.created_at.saturating_add(LONG);
    for execution in [&mut waiting, &mut delayed] {
        store.insert(execution, &spec()).await.unwrap();
        change(&store, execution, Change::RequestCancel, &[]).await;
    }
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.delayed, stats.leased), (0, 0, 0));
}

pub(crate) async fn a_job_under_a_lease_is_left_to_its_holder<P: Place>(place: P) {
    let (store, queue) = place.open().await;
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    let leases = queue.claim(1, NO, LONG).await.unwrap();
    live(&store, &mut execution).await;
    assert_eq!(queue.extend(&leases, LONG).await.unwrap(), []);
    queue.ack(&leases).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().leased, 0);
}

pub(crate) async fn a_store_beside_another_queue_makes_no_jobs<P: Place>(place: P) {
    place.open_store_alone().await.insert(&execution(), &spec()).await.unwrap();
    assert_eq!(place.open().await.1.stats().await.unwrap().waiting, 0);
}

pub(crate) async fn a_caller_who_goes_leaves_all_or_nothing_and_a_writer_that_works<P: Place>(place: P) {
    let (store, queue) = place.open().await;
    let mut left = Vec::new();
    for polls in 0..200 {
        let execution = execution();
        {
            let spec = spec();
            let mut insert = pin!(store.insert(&execution, &spec));
            for _ in 0..polls % 10 {
                if insert.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        left.push(execution);
        let mut after = self::execution();
        assert_eq!(store.insert(&after, &spec()).await.unwrap(), Inserted::New);
        change(&store, &mut after, Change::RequestCancel, &[]).await;
    }
    // What was left may come to its end a little later.
    let whole = async { while kept(&store, &left).await != queue.stats().await.unwrap().waiting {} };
    assert!(
        timeout(Duration::from_secs(120), whole).await.is_ok(),
        "a record without a job, or a job without one"
    );
}

/// How many of them are there, each as it was inserted.
async fn kept(store: &impl Store, left: &[Execution]) -> u64 {
    let mut kept = 0;
    for execution in left {
        match store.get(execution.id).await {
            Ok(stored) => {
                kept += 1;
                assert_eq!(stored, *execution);
                let first = store.events(execution.id, Seq::START, Follow::Everything).next().await;
                assert_eq!(first.unwrap().unwrap().seq, Seq(1));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
        }
    }
    kept
}

pub(crate) async fn a_record_that_breaks_the_rules_fails_alone<P: Place>(place: P) {
    let (store, _) = place.open().await;
    for _ in 0..20 {
        let inserts = (0..8).map(|number| {
            let store = store.clone();
            let mut execution = execution();
            if number == 3 {
                execution.completed_at = Some(SystemClock.now());
            }
            tokio::spawn(async move {
                let mut inserted = store.insert(&execution, &spec()).await;
                while inserted.as_ref().is_err_and(|error| error.is_temporary()) {
                    inserted = store.insert(&execution, &spec()).await;
                }
                (number, inserted)
            })
        });
        for insert in join_all(inserts).await {
            match insert.unwrap() {
                (3, inserted) => assert_eq!(inserted.unwrap_err().kind(), ErrorKind::Internal),
                (_, inserted) => assert_eq!(inserted.unwrap(), Inserted::New),
            }
        }
    }
}

pub(crate) async fn what_has_ended_is_never_changed<P: Place>(place: P) {
    let (store, _) = place.open().await;
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    live(&store, &mut execution).await;
    let mut other = execution.clone();
    other.version += 1;
    other.state = State::Running;
    other.completed_at = None;
    let error = store.update(&other, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let by_hand = place
        .by_hand("UPDATE execution SET state = 'RUNNING', completed_at = NULL, outcome = NULL RETURNING 1")
        .await;
    assert!(by_hand.unwrap_err().to_string().contains("never changes"));
    assert_eq!(store.get(execution.id).await.unwrap(), execution);
}

pub(crate) async fn what_is_pruned_leaves_no_row_behind<P: Place>(place: P) {
    let (store, _) = place.open().await;
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    live(&store, &mut execution).await;
    let ended_before = SystemClock.now().saturating_add(LONG);
    let all = PruneQuery { ended_before, keep_per_session: 0, after: None, limit: 9 };
    assert_eq!(store.prune(&all).await.unwrap().deleted, 1);
    let rows = place
        .by_hand(
        "SELECT (SELECT count(*) FROM execution) + (SELECT count(*) FROM spec) + (SELECT count(*) FROM event)
             + (SELECT count(*) FROM output)",
        )
        .await
        .unwrap();
    assert_eq!(rows, 0);
}

pub(crate) async fn a_damaged_delivery_hides_no_other<P: Place>(place: P) {
    let (store, _) = place.open().await;
    let mut due = Vec::new();
    for owner in ["gone", "damaged", "alice", "bob"] {
        let mut execution = Execution::new(Owner::new(owner).unwrap(), "python", SystemClock.now());
        store.insert(&execution, &spec().callback_url("https://example.org/")).await.unwrap();
        live(&store, &mut execution).await;
        due.push(execution.id);
    }
    let query = |limit| DeliveryQuery { due_until: SystemClock.now(), after: None, limit };
    assert_eq!(store.deliveries(&query(9)).await.unwrap().len(), 4);
    place.by_hand("DELETE FROM execution WHERE owner = 'gone' RETURNING created_at").await.unwrap();
    let damage = "UPDATE delivery SET due_at = -9223372036854775808
                  WHERE execution_id = (SELECT id FROM execution WHERE owner = 'damaged') RETURNING version";
    place.by_hand(damage).await.unwrap();
    for limit in 0..4 {
        let found = store.deliveries(&query(limit)).await.unwrap();
        let found: Vec<_> = found.iter().map(|delivery| delivery.execution_id).collect();
        assert_eq!(found, due[2..][..limit.min(2)], "{limit}");
    }
    assert_eq!(store.delivery(due[1]).await.unwrap_err().kind(), ErrorKind::Internal);
}

pub(crate) async fn tallies_that_say_nothing_go_when_others_come<P: Place>(place: P) {
    let store = place.open_store_alone().await;
    let (quota, now) = (Quota::default(), SystemClock.now());
    let later = now.saturating_add(Duration::from_secs(24 * 60 * 60 + 60));
    for (name, moment, left) in [("old", now, 5), ("new", later, 5), ("newer", later, 10)] {
        for n in 0..5 {
            assert_eq!(store.admit(&format!("{name} {n}"), &quota, moment).await.unwrap(), None);
        }
        assert_eq!(place.by_hand("SELECT count(*) FROM tally").await.unwrap(), left, "{name}");
    }
    let old = place.by_hand("SELECT count(*) FROM tally WHERE who LIKE 'old%'").await.unwrap();
    assert_eq!(old, 0);
}

pub(crate) async fn of_concurrent_requests_as_many_are_open_as_may<P: Place>(place: P) {
    let (store, queue) = place.open().await;
    let quota = Quota { open_executions: NonZeroU32::new(7), ..Quota::default() };
    let engine = Engine::new(Arc::new(store), Arc::new(queue));
    let alice = engine.for_owner(Owner::new("alice").unwrap()).with_quota(quota, "");
    let asked = (0..30).map(|_| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.run(spec(), RunOptions::default()).await })
    });
    let (accepted, refused): (Vec<_>, Vec<_>) =
        join_all(asked).await.into_iter().map(|run| run.unwrap()).partition(|run| run.is_ok());
    assert_eq!(accepted.len(), 7);
    assert!(refused.into_iter().all(|run| run.unwrap_err().kind() == ErrorKind::RateLimited));
}

pub(crate) async fn a_long_log_is_read_whole_from_anywhere<P: Place>(place: P) {
    let (store, _) = place.open().await;
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    change(&store, &mut execution, Change::Start, &[]).await;
    let small: Vec<_> = (0..700).map(|number| line(&format!("{number}\n"))).collect();
    let big: Vec<_> = (0..5).map(|byte| Output::new(Stdio::Stderr, vec![byte; 200_000])).collect();
    store.append(execution.id, 1, &small).await.unwrap();
    store.append(execution.id, 1, &[]).await.unwrap();
    store.append(execution.id, 1, &[line("")]).await.unwrap();
    store.append(execution.id, 1, &big).await.unwrap();
    change(&store, &mut execution, exited(), &small).await;
    let log = whole_log(&store, execution.id).await;
    let seqs: Vec<_> = log.iter().map(|event| event.seq.0).collect();
    assert_eq!(seqs, (1..=1409).collect::<Vec<_>>());
    let written = log.iter().filter_map(|event| match &event.kind {
        EventKind::Output { output, .. } => Some(output.clone()),
        EventKind::Status { .. } | EventKind::End(_) => None,
    });
    let mut expected = small.clone();
    expected.push(line(""));
    expected.extend(big);
    expected.extend(small);
    assert_eq!(written.collect::<Vec<_>>(), expected);
    for after in [255, 256, 257, 703, 706, 1408, 1409, u64::MAX] {
        let rest: Vec<_> =
            store.events(execution.id, Seq(after), Follow::Everything).try_collect().await.unwrap();
        let from = usize::try_from(after).unwrap().min(log.len());
        assert_eq!(rest, log[from..]);
    }
}

/// The variable by which this test, run once more as a child process, learns that it is the one to be killed.
const VICTIM: &str = "LIVECODE_TEST_WRITES_UNTIL_KILLED";

pub(crate) async fn what_was_answered_survives_a_kill_in_mid_write<P: Place>(place: P) {
    if let Ok(url) = std::env::var(VICTIM) {
        let (store, _) = P::at(url).open().await;
        let write = || async {
            loop {
                let mut execution = execution();
                store.insert(&execution, &spec()).await.unwrap();
                println!("inserted {}", execution.id);
                live(&store, &mut execution).await;
                println!("ended {}", execution.id);
            }
        };
        join_all((0..8).map(|_| write())).await;
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("{}::what_was_answered_survives_a_kill_in_mid_write", P::NAME),
            "--nocapture",
        ])
        .env(VICTIM, place.url())
        .stdout(Pipe::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut answered = Vec::new();
    while answered.len() < 300 {
        answered.push(lines.next().unwrap().unwrap());
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    answered.extend(lines.map_while(Result::ok));
    let (store, queue) = place.open().await;
    let mut ended = 0;
    for line in &answered {
        if let Some(id) = line.strip_prefix("inserted ") {
            store.get(id.parse().unwrap()).await.unwrap();
        } else if let Some(id) = line.strip_prefix("ended ") {
            ended += 1;
            let id = id.parse().unwrap();
            assert_eq!(store.get(id).await.unwrap().state, State::Completed);
            assert_eq!(whole_log(&store, id).await.len(), 5);
        }
    }
    assert!(ended > 100);
    // Whatever was half done isn't there, and everything that hasn't ended is known to the queue.
    let all = ListQuery { limit: usize::MAX, ..ListQuery::default() };
    let open = store.list(&all).await.unwrap();
    let open = open.iter().filter(|execution| !execution.state.is_terminal()).count();
    assert_eq!(queue.stats().await.unwrap().waiting, open as u64);
}
