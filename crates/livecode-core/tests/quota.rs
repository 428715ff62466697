//! What a quota lets through, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use livecode_core::{
    Accepted, Ceiling, Clock, Edit, Engine, Error, ErrorKind, Execution, ExecutionSpec, LimitRequest, Limits,
    MemoryQueue, MemoryStore, Owner, Quota, Rate, Refusal, Result, RunOptions, SystemClock, Tally, Timestamp,
    conformance::ManualClock,
};
use proptest::prelude::*;

struct World {
    engine: Engine,
    clock: Arc<ManualClock>,
}

fn world() -> World {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let engine = Engine::new(Arc::new(MemoryStore::new()), Arc::new(MemoryQueue::new())).clock(clock.clone());
    World { engine, clock }
}

fn rate(runs_per_minute: u32, burst: u32) -> Quota {
    Quota { rate: Some(Rate::new(runs_per_minute, burst).unwrap()), ..Quota::default() }
}

fn open(most: u32) -> Quota {
    Quota { open_executions: NonZeroU32::new(most), ..Quota::default() }
}

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

async fn run(engine: &Engine) -> Result<Accepted> {
    engine.run(ExecutionSpec::new("python", "1"), RunOptions::default()).await
}

async fn run_session(engine: &Engine, session: &livecode_core::Session) -> Result<Accepted> {
    engine.run_session(session.id, Edit::default(), |_| (), RunOptions::default()).await
}

fn limited<T: std::fmt::Debug>(result: Result<T>) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert!(error.is_temporary());
    error
}

async fn left(engine: &Engine, id: livecode_core::SessionId) -> Vec<Execution> {
    engine.history(id, None, 99).await.unwrap()
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_let_through() {
    let World { engine, clock } = world();
    let alice = engine.for_owner(owner("alice")).with_quota(rate(7, 2), "");
    let session = alice.create_session(Edit::default()).await.unwrap();
    run_session(&alice, &session).await.unwrap();
    run(&alice).await.unwrap();
    for _ in 0..3 {
        let error = limited(run_session(&alice, &session).await);
        let wait = error.retry_after().unwrap();
        assert!(error.to_string().contains("ask again in 9 s"), "{error}");
        clock.advance(wait - Duration::from_millis(1));
        limited(run(&alice).await);
        clock.advance(Duration::from_millis(1));
        run(&alice).await.unwrap();
    }
    assert_eq!(left(&alice, session.id).await.len(), 1, "what is refused leaves nothing behind");
    run(&engine.for_owner(owner("bob")).with_quota(rate(7, 2), "")).await.unwrap();
}

#[tokio::test]
async fn a_day_has_so_many_runs() {
    let World { engine, clock } = world();
    let quota = Quota { runs_per_day: NonZeroU32::new(1), ..Quota::default() };
    let alice = engine.for_owner(owner("alice")).with_quota(quota, "");
    run(&alice).await.unwrap();
    let error = limited(run(&alice).await);
    assert!(error.to_string().contains("1 a day"), "{error}");
    clock.advance(error.retry_after().unwrap());
    run(&alice).await.unwrap();
}

#[tokio::test]
async fn nobody_is_known_by_the_session_and_else_by_who_calls() {
    let World { engine, .. } = world();
    let [here, there] = ["address:a", "address:b"].map(|caller| engine.with_quota(rate(1, 1), caller));
    let first = here.create_session(Edit::default()).await.unwrap();
    let second = here.create_session(Edit::default()).await.unwrap();
    run_session(&here, &first).await.unwrap();
    limited(run_session(&there, &first).await);
    run_session(&here, &second).await.unwrap();
    run(&here).await.unwrap();
    limited(run(&here).await);
    run(&there).await.unwrap();
    // One of that name is somebody else.
    run(&engine.for_owner(owner("address:a")).with_quota(rate(1, 1), "address:a")).await.unwrap();
    // Who signs in is the same in every session.
    let alice = engine.for_owner(owner("alice")).with_quota(rate(1, 1), "address:a");
    let session = alice.create_session(Edit::default()).await.unwrap();
    run_session(&alice, &session).await.unwrap();
    limited(run(&alice).await);
}

#[tokio::test]
async fn a_repeated_key_and_what_is_refused_otherwise_cost_nothing() {
    let World { engine, .. } = world();
    let alice = engine.for_owner(owner("alice")).with_quota(rate(1, 2), "");
    let keyed = || {
        let options = RunOptions { idempotency_key: Some("k".into()), ..RunOptions::default() };
        alice.run(ExecutionSpec::new("python", "1"), options)
    };
    let first = keyed().await.unwrap();
    for _ in 0..5 {
        assert_eq!(keyed().await.unwrap().execution.id, first.execution.id);
        let unknown = alice.run(ExecutionSpec::new("cobol", "1"), RunOptions::default()).await;
        assert_eq!(unknown.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let full = run(&alice.clone().max_queued(1)).await;
        assert_eq!(full.unwrap_err().kind(), ErrorKind::QueueFull);
    }
    run(&alice).await.unwrap();
    limited(run(&alice).await);
    assert!(!keyed().await.unwrap().new, "not even where no more are accepted");
}

#[tokio::test]
async fn one_that_is_open_must_end_before_the_next() {
    let World { engine, .. } = world();
    let alice = engine.for_owner(owner("alice")).with_quota(open(2), "");
    let first = run(&alice).await.unwrap();
    run(&alice).await.unwrap();
    let error = limited(run(&alice).await);
    assert!(error.to_string().contains("one of them must end first"), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
    run(&engine.for_owner(owner("bob")).with_quota(open(2), "")).await.unwrap();
    alice.cancel(first.execution.id).await.unwrap();
    run(&alice).await.unwrap();
    limited(run(&alice).await);
    // It takes no token either.
    let both = alice.with_quota(Quota { rate: rate(1, 1).rate, ..open(2) }, "");
    limited(run(&both).await);
    run(&alice.with_quota(rate(1, 1), "")).await.unwrap();
}

#[tokio::test]
async fn sessions_of_nobody_are_bounded_one_by_one() {
    let World { engine, .. } = world();
    let anyone = engine.with_quota(open(1), "address:a");
    for _ in 0..2 {
        let session = anyone.create_session(Edit::default()).await.unwrap();
        run_session(&anyone, &session).await.unwrap();
        limited(run_session(&anyone, &session).await);
    }
    for _ in 0..3 {
        run(&anyone).await.unwrap();
    }
}

#[tokio::test]
async fn a_view_has_a_ceiling_of_its_own() {
    let World { engine, .. } = world();
    let run_limits = Limits { wall_time: Duration::from_secs(2), ..Limits::RUN };
    let low = engine.clone().ceiling(Ceiling { run: run_limits, ..Ceiling::default() });
    let spec = ExecutionSpec::new("python", "1")
        .limits(LimitRequest { wall_time_ms: Some(5_000), ..LimitRequest::default() });
    let refused = low.run(spec.clone(), RunOptions::default()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    engine.run(spec, RunOptions::default()).await.unwrap();
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_769_000_000_123).unwrap().saturating_add(Duration::from_millis(millis))
}

proptest! {
    /// Against the definition: the bucket as a real number that drips all the time, and the days as a list of moments.
    #[test]
    fn a_tally_is_a_bucket_and_a_calendar(
        per_minute in 1_u32..200, burst in 1_u32..8, most in 1_u32..30,
        steps in prop::collection::vec(0_u64..40_000, 1..200),
    ) {
        let quota =
            Quota { runs_per_day: NonZeroU32::new(most), ..rate(per_minute, burst) };
        let (mut tally, mut now) = (None, 0);
        // Tokens in parts of which a millisecond brings `per_minute`.
        let (mut tokens, mut last) = (u64::from(burst) * 60_000, 0);
        let mut admitted: Vec<Timestamp> = Vec::new();
        let day = |at: Timestamp| at.as_millis() / (24 * 60 * 60 * 1_000);
        for step in steps {
            now += step * 100;
            tokens = (tokens + (now - last) * u64::from(per_minute)).min(u64::from(burst) * 60_000);
            last = now;
            let today = admitted.iter().filter(|earlier| day(**earlier) == day(at(now))).count();
            let expected = tokens >= 60_000 && today < most as usize;
            match Tally::admit(tally.as_ref(), &quota, at(now)) {
                Ok(after) => {
                    prop_assert!(expected);
                    tokens -= 60_000;
                    admitted.push(at(now));
                    tally = Some(after);
                }
                Err(refusal) => {
                    prop_assert!(!expected);
                    let (before, wait) = (tally.as_ref(), u64::try_from(refusal.wait().as_millis()).unwrap());
                    prop_assert!(Tally::admit(before, &quota, at(now + wait)).is_ok());
                    prop_assert!(Tally::admit(before, &quota, at(now + wait - 1)).is_err());
                    let is_day = matches!(refusal, Refusal::Day(_));
                    prop_assert!(!is_day || today == most as usize);
                }
            }
            let kept = tally.as_ref().filter(|tally| at(now) < tally.expires_at);
            let (with, without) = (Tally::admit(tally.as_ref(), &quota, at(now)), Tally::admit(kept, &quota, at(now)));
            prop_assert_eq!(with, without, "what has expired says nothing");
        }
    }
}
