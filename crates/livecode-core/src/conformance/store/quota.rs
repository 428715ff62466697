//! Clauses about what is counted: runs of whoever asks, and executions that are open.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{at, execution, exited, owner, spec};
use crate::{Change, Execution, Quota, Rate, Refusal, SessionId, Store, Timestamp};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

fn rate(runs_per_minute: u32, burst: u32) -> Quota {
    Quota { rate: Some(Rate::new(runs_per_minute, burst).unwrap()), ..Quota::default() }
}

fn daily(runs: u32) -> Quota {
    Quota { runs_per_day: NonZeroU32::new(runs), ..Quota::default() }
}

/// Whether a run is counted, at so many milliseconds.
async fn admits(store: &dyn Store, who: &str, quota: &Quota, millis: u64) -> bool {
    store.admit(who, quota, at(millis)).await.unwrap().is_none()
}

async fn refusal(store: &dyn Store, who: &str, quota: &Quota, now: Timestamp) -> Refusal {
    store.admit(who, quota, now).await.unwrap().unwrap()
}

/// As many as the bucket holds at once, and then one whenever the wait is over that was told: not a millisecond earlier.
pub async fn a_burst_is_admitted_and_then_one_after_each_wait(store: Arc<dyn Store>) {
    let quota = rate(7, 3);
    for _ in 0..3 {
        assert!(admits(&*store, "a", &quota, 5).await);
    }
    let mut now = at(5);
    for _ in 0..4 {
        let wait = refusal(&*store, "a", &quota, now).await;
        assert!(matches!(wait, Refusal::Rate(wait) if wait.as_millis() <= 8_572), "{wait:?}");
        let just_before = now.saturating_add(wait.wait() - Duration::from_millis(1));
        let left = refusal(&*store, "a", &quota, just_before).await;
        assert_eq!(left, Refusal::Rate(Duration::from_millis(1)));
        now = now.saturating_add(wait.wait());
        assert_eq!(store.admit("a", &quota, now).await.unwrap(), None);
    }
    // Seven in a minute, to the millisecond, after any number of waits.
    assert_eq!(now.duration_since(at(5)), Duration::from_millis((4 * MINUTE).div_ceil(7)));
    let rested = now.saturating_add(Duration::from_millis(MINUTE));
    for _ in 0..3 {
        assert_eq!(store.admit("a", &quota, rested).await.unwrap(), None);
    }
    assert!(store.admit("a", &quota, rested).await.unwrap().is_some(), "no more than it holds is saved up");
}

/// What the day refuses takes no token, and what the rate refuses is no run of the day.
pub async fn a_refused_run_costs_nothing(store: Arc<dyn Store>) {
    let both = Quota { runs_per_day: NonZeroU32::new(2), ..rate(60, 2) };
    assert!(admits(&*store, "a", &rate(60, 2), 0).await);
    assert!(admits(&*store, "a", &both, 0).await);
    for _ in 0..20 {
        // The bucket is empty and the day is used up: the longer wait is told.
        assert!(matches!(refusal(&*store, "a", &both, at(0)).await, Refusal::Day(_)));
        assert_eq!(refusal(&*store, "a", &rate(60, 2), at(0)).await, Refusal::Rate(Duration::from_secs(1)));
    }
    for _ in 0..20 {
        assert!(matches!(refusal(&*store, "a", &both, at(1_000)).await, Refusal::Day(_)));
    }
    assert!(admits(&*store, "a", &rate(60, 2), 1_000).await, "the token that the day didn't take is there");
    assert!(!admits(&*store, "a", &daily(3), 1_000).await);
    assert!(admits(&*store, "a", &daily(4), 1_000).await, "three were counted");
}

/// A day begins at midnight UTC, to the millisecond.
pub async fn the_runs_of_a_day_are_counted_from_midnight(store: Arc<dyn Store>) {
    let quota = daily(2);
    assert!(admits(&*store, "a", &quota, 0).await);
    assert!(admits(&*store, "a", &quota, 7).await);
    let wait = refusal(&*store, "a", &quota, at(7)).await;
    let midnight = at(7).saturating_add(wait.wait());
    assert_eq!(u64::try_from(midnight.as_millis()).unwrap() % DAY, 0);
    assert!(matches!(wait, Refusal::Day(wait) if wait.as_millis() <= u128::from(DAY)));
    let last = midnight.saturating_sub(Duration::from_millis(1));
    assert_eq!(refusal(&*store, "a", &quota, last).await, Refusal::Day(Duration::from_millis(1)));
    for _ in 0..2 {
        assert_eq!(store.admit("a", &quota, midnight).await.unwrap(), None);
    }
    assert_eq!(refusal(&*store, "a", &quota, midnight).await, Refusal::Day(Duration::from_millis(DAY)));
}

/// However many ask at the same time.
pub async fn of_concurrent_runs_no_more_than_the_burst_are_admitted(store: Arc<dyn Store>) {
    let quota = Quota { runs_per_day: NonZeroU32::new(29), ..rate(1, 20) };
    for (millis, expected) in [(0, 20), (20 * MINUTE, 9)] {
        let asked = (0..60).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { admits(&*store, "a", &quota, millis).await })
        });
        let admitted = join_all(asked).await.into_iter().filter(|asked| *asked.as_ref().unwrap()).count();
        assert_eq!(admitted, expected);
    }
}

/// By their whole names, whatever is in them.
pub async fn who_is_counted_apart_shares_nothing(store: Arc<dyn Store>) {
    let long = "x".repeat(299);
    let names =
        ["", "a", "A", "a ", "owner:é 漢 '\"", "é", "e\u{301}", &format!("{long}a"), &format!("{long}b")];
    let asked = names.map(|who| {
        let store = store.clone();
        async move {
            assert!(admits(&*store, who, &rate(1, 1), 0).await, "{who}");
            assert!(!admits(&*store, who, &rate(1, 1), 0).await, "{who}");
        }
    });
    join_all(asked).await;
}

/// Clocks may differ, and one may be set back: nobody gets more than a burst more, or waits for a moment that was wrong.
pub async fn a_clock_that_goes_back_keeps_nobody_waiting(store: Arc<dyn Store>) {
    let quota = Quota { runs_per_day: NonZeroU32::new(100), ..rate(60, 2) };
    let start = DAY;
    for ahead in [0, 30_000] {
        for _ in 0..2 {
            assert!(admits(&*store, "a", &quota, start + ahead).await);
        }
    }
    // Half a minute behind: the wait is longer by that, and true.
    let wait = refusal(&*store, "a", &quota, at(start)).await;
    assert_eq!(wait, Refusal::Rate(Duration::from_secs(31)));
    assert!(!admits(&*store, "a", &quota, start + 30_999).await);
    assert!(admits(&*store, "a", &quota, start + 31_000).await);
    // More than a minute behind: as if nothing had been counted, once.
    for _ in 0..2 {
        assert!(admits(&*store, "a", &quota, 0).await);
    }
    assert_eq!(refusal(&*store, "a", &quota, at(0)).await, Refusal::Rate(Duration::from_secs(1)));
}

/// Those that are queued or running, of one owner and session.
pub async fn open_executions_are_counted(store: Arc<dyn Store>) {
    let session = SessionId::generate(at(0));
    let of_alice = || Execution { owner: owner("alice"), ..execution() };
    let mut made =
        [of_alice(), Execution { session_id: Some(session), ..of_alice() }, of_alice(), of_alice()];
    let of_nobody = Execution { session_id: Some(session), ..execution() };
    for execution in made.iter().chain([&of_nobody]) {
        store.insert(execution, &spec()).await.unwrap();
    }
    let count = async |session, most| store.count_open(&owner("alice"), session, most).await.unwrap();
    assert_eq!((count(None, 99).await, count(Some(session), 99).await), (4, 1));
    assert_eq!((count(None, 3).await, count(None, 0).await), (3, 0), "no further than to that");
    assert_eq!(count(Some(SessionId::generate(at(0))), 99).await, 0);
    for (execution, change) in made.iter_mut().zip([Change::Start, Change::RequestCancel, Change::Start]) {
        super::change(&*store, execution, change, &[]).await;
    }
    assert_eq!((count(None, 99).await, count(Some(session), 99).await), (3, 0));
    super::change(&*store, &mut made[0], exited(), &[]).await;
    assert_eq!(count(None, u64::MAX).await, 2);
    assert_eq!(store.count_open(&execution().owner, Some(session), 99).await.unwrap(), 1);
    assert_eq!(store.count_open(&owner("bob"), None, 99).await.unwrap(), 0);
}
