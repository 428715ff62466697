//! What holds of an execution whatever is done to it, in whatever order.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use livecode_core::{Change, ErrorKind, Execution, Outcome, Owner, State, Termination, Timestamp};
use proptest::{collection::vec, option, prelude::*};

fn at(millis: u64) -> Timestamp {
    let start = Timestamp::from_millis(1_769_000_000_000).unwrap();
    start.saturating_add(Duration::from_millis(millis))
}

fn new() -> Execution {
    Execution::new(Owner::anonymous(), "python", at(0))
}

fn termination() -> impl Strategy<Value = Termination> {
    let limit = Duration::from_secs(1);
    prop_oneof![
        (0..=255).prop_map(|code| Termination::Exited { code }),
        Just(Termination::Exited { code: 0 }),
        (1..=64).prop_map(|signal| Termination::Signaled { signal }),
        ".{0,8}".prop_map(|message| Termination::CompileFailed { message }),
        Just(Termination::WallTimeExceeded { limit }),
        Just(Termination::CpuTimeExceeded { limit }),
        Just(Termination::MemoryExceeded { limit: 1 }),
        Just(Termination::ProcessesExceeded { limit: 1 }),
        Just(Termination::OutputExceeded { limit: 1 }),
        Just(Termination::Cancelled),
    ]
}

/// Starts and new attempts are more likely than ends, so that sequences get somewhere.
fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => Just(Change::Start),
        6 => (0..9_999_u64, option::of(".{0,8}")).prop_map(|(run_after, failure)| Change::Requeue {
            run_after: at(run_after),
            failure,
        }),
        1 => termination().prop_map(|termination| Change::Finish(Outcome::new(termination))),
        1 => Just(Change::RequestCancel),
        1 => Just(Change::Cancel),
        1 => ".{0,8}".prop_map(|failure| Change::Fail { failure }),
    ]
}

proptest! {
    #[test]
    fn a_change_counts_one_version_or_leaves_everything_as_it_was(changes in vec(change(), 0..40)) {
        let mut execution = new();
        let mut made = 0;
        for (now, change) in (1..).zip(changes) {
            let before = execution.clone();
            match execution.apply(change.clone(), at(now)) {
                Ok(true) => {
                    made += 1;
                    prop_assert!(execution.status_differs(&before), "a follower isn't told of {change:?}");
                    prop_assert!(before.status_differs(&execution));
                }
                Ok(false) => {
                    prop_assert_eq!(change, Change::RequestCancel);
                    prop_assert_eq!(&execution, &before);
                }
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::Conflict);
                    prop_assert_eq!(&execution, &before);
                }
            }
            prop_assert!(!execution.status_differs(&execution));
            prop_assert_eq!(execution.version, 1 + made);
        }
    }

    #[test]
    fn an_execution_ends_once_and_stays_so(changes in vec(change(), 0..40), after in vec(change(), 1..10)) {
        let mut execution = new();
        let mut ends = 0;
        for (now, change) in (1..).zip(changes) {
            let was_open = !execution.state.is_terminal();
            let changed = execution.apply(change, at(now)).unwrap_or(false);
            if changed && execution.state.is_terminal() {
                ends += 1;
                prop_assert_eq!(execution.completed_at, Some(at(now)));
            }
            prop_assert!(was_open || !changed, "it changed after its end");
            prop_assert_eq!(execution.state.is_terminal(), ends == 1);
        }
        if ends == 0 {
            execution.apply(Change::RequestCancel, at(100)).unwrap();
            execution.apply(Change::Cancel, at(101)).ok();
        }
        prop_assert!(execution.state.is_terminal(), "everything can be brought to an end");
        let end = execution.clone();
        for change in after {
            match (execution.apply(change.clone(), at(200)), change) {
                (changed, Change::RequestCancel) => prop_assert!(!changed.unwrap()),
                (changed, _) => prop_assert_eq!(changed.unwrap_err().kind(), ErrorKind::Conflict),
            }
        }
        prop_assert_eq!(execution, end);
    }

    #[test]
    fn attempts_and_failures_only_count_up(changes in vec(change(), 0..40)) {
        let mut execution = new();
        for (now, change) in (1..).zip(changes) {
            let before = execution.clone();
            let requeue = matches!(change, Change::Requeue { .. });
            let failure = matches!(change, Change::Requeue { failure: Some(_), .. } | Change::Fail { .. });
            let changed = execution.apply(change, at(now)).unwrap_or(false);
            prop_assert_eq!(execution.attempt, before.attempt + u32::from(changed && requeue));
            prop_assert_eq!(execution.failures, before.failures + u32::from(changed && failure));
            prop_assert!(execution.failures <= execution.attempt);
        }
    }

    #[test]
    fn asking_for_the_end_twice_is_asking_once(changes in vec(change(), 0..20)) {
        let mut execution = new();
        for (now, change) in (1..).zip(changes) {
            execution.apply(change, at(now)).ok();
            let mut asked = execution.clone();
            asked.apply(Change::RequestCancel, at(500)).unwrap();
            let once = asked.clone();
            prop_assert!(!asked.apply(Change::RequestCancel, at(501)).unwrap());
            prop_assert_eq!(asked, once);
        }
    }

    #[test]
    fn the_members_of_a_record_agree(changes in vec(change(), 0..40)) {
        let first = new();
        let mut execution = first.clone();
        for (now, change) in (1..).zip(changes) {
            execution.apply(change, at(now)).ok();
            let ended = execution.state.is_terminal();
            let errs = ended && execution.state != State::Completed;
            prop_assert_eq!(execution.completed_at.is_some(), ended);
            prop_assert!(ended || execution.outcome.is_none());
            prop_assert!(execution.state != State::Running || execution.started_at.is_some());
            prop_assert_eq!(execution.error_type().is_some(), errs);
            prop_assert_eq!(execution.error_message().is_some(), errs);
            let asked = (execution.id, &execution.owner, &execution.language, execution.created_at);
            prop_assert_eq!(asked, (first.id, &first.owner, &first.language, first.created_at));
        }
    }

    #[test]
    fn a_record_survives_json(changes in vec(change(), 0..20)) {
        let mut execution = new();
        for (now, change) in (1..).zip(changes) {
            execution.apply(change, at(now)).ok();
        }
        let json = serde_json::to_string(&execution).unwrap();
        prop_assert_eq!(serde_json::from_str::<Execution>(&json).unwrap(), execution);
    }
}
