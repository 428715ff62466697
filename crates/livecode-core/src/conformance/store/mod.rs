//! The clauses of [`Store`].

mod deliveries;
mod executions;
mod followers;
mod inputs;
mod list;
mod log;
mod looks;
mod quota;
mod retention;
mod sessions;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

pub use self::{
    deliveries::*, executions::*, followers::*, inputs::*, list::*, log::*, looks::*, quota::*, retention::*,
    sessions::*,
};
use crate::{
    Change, Compare, Event, Execution, ExecutionId, ExecutionSpec, Follow, Grading, LimitRequest, Outcome,
    Output, Owner, Revision, Seq, SessionId, SourceFile, Stdio, Store, Termination, TestCase, Timestamp,
    Trace,
};

/// Makes a test of each clause of [`Store`](crate::Store). See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! store_suite {
    ($factory:expr) => {
        $crate::conformance_cases! { store, $factory,
            a_session_comes_back_as_it_was_put_in
            an_unknown_session_is_not_found
            an_unknown_revision_is_not_found
            a_session_id_is_taken_once
            a_session_changes_only_from_the_version_before
            of_concurrent_saves_one_wins
            only_a_new_revision_joins_the_history
            the_history_is_read_in_pages
            an_execution_comes_back_as_it_was_put_in
            what_was_asked_never_changes
            an_execution_comes_back_as_it_was_changed
            an_execution_without_an_outcome_comes_back
            an_unknown_execution_is_not_found
            an_execution_id_is_taken_once
            an_execution_changes_only_from_the_version_before
            of_concurrent_updates_one_wins
            a_used_idempotency_key_gives_back_its_execution
            an_idempotency_key_belongs_to_its_owner_and_session
            no_idempotency_key_is_like_no_other
            of_concurrent_inserts_with_one_key_one_inserts
            the_log_begins_with_the_status_queued
            every_change_of_status_is_logged
            a_change_beside_the_status_is_not_logged
            an_update_logs_its_output_first
            appended_chunks_are_logged_in_order
            only_a_running_execution_is_appended_to
            an_append_is_fenced_by_its_attempt
            concurrent_writers_leave_no_gap
            output_is_that_of_the_latest_attempt
            any_bytes_come_back
            large_output_comes_back_whole
            the_events_of_an_unknown_execution_are_not_found
            a_follower_gets_what_is_there_then_what_comes
            a_waiting_follower_is_woken_by_every_event
            a_follower_resumes_after_any_event
            live_followers_miss_nothing_and_see_nothing_twice
            a_follower_that_reconnects_all_the_time_misses_nothing
            a_follower_of_the_status_sees_no_output
            a_follower_of_the_end_sees_nothing_else
            a_follower_of_the_status_is_told_amid_output
            a_slow_follower_misses_nothing
            a_dropped_follower_disturbs_nobody
            followers_see_their_own_execution_only
            input_comes_back_as_it_was_sent
            input_is_no_event_and_no_output
            a_follower_of_input_gets_what_is_there_then_what_comes
            input_may_be_sent_before_the_start_and_is_there_for_every_attempt
            input_is_refused_where_nobody_will_read_it
            input_has_a_bound
            concurrent_input_is_numbered_without_gaps
            input_is_deleted_with_its_execution
            a_delivery_is_made_with_its_execution
            a_delivery_is_due_when_its_execution_has_ended
            a_delivery_comes_back_as_it_was_changed
            a_delivery_changes_only_from_the_version_before
            of_those_who_begin_a_delivery_one_does
            deliveries_are_listed_in_the_order_in_which_they_are_due
            a_delivery_is_deleted_with_its_execution
            pages_go_both_ways
            limits_are_taken_at_their_word
            a_page_begins_at_any_id
            a_walk_sees_each_once_while_new_ones_come
            whole_records_are_listed
            lists_are_by_owner_and_session
            open_ones_are_listed_by_age
            what_ended_before_a_moment_is_deleted_whole
            what_has_not_ended_is_never_deleted
            the_newest_of_each_session_are_kept
            a_deleted_executions_key_is_free
            pruning_goes_on_where_it_stopped
            concurrent_prunes_delete_each_once
            sessions_outlive_their_executions
            a_burst_is_admitted_and_then_one_after_each_wait
            a_refused_run_costs_nothing
            the_runs_of_a_day_are_counted_from_midnight
            of_concurrent_runs_no_more_than_the_burst_are_admitted
            who_is_counted_apart_shares_nothing
            a_clock_that_goes_back_keeps_nobody_waiting
            open_executions_are_counted
            concurrent_looks_get_their_own
        }
    };
}

/// The moment `millis` after the one at which all cases begin.
fn at(millis: u64) -> Timestamp {
    let start = Timestamp::from_millis(1_769_000_000_123).unwrap();
    start.saturating_add(Duration::from_millis(millis))
}

fn owner(name: &str) -> Owner {
    Owner::new(name).unwrap()
}

/// Text that some media can't keep unless care is taken.
const AWKWARD: &str =
    "nul \0, quotes ' \" `, \\x00 \\0 %s ${x}, \r\n\t, é, e\u{301}, 漢, 🦀, \u{feff}, \u{202e}, end ";

fn execution() -> Execution {
    Execution::new(Owner::anonymous(), "python", at(0))
}

fn spec() -> ExecutionSpec {
    ExecutionSpec::new("python", "print(1)")
}

/// One with something in every member.
fn full_spec() -> ExecutionSpec {
    ExecutionSpec {
        language: "python".into(),
        source_code: AWKWARD.into(),
        files: vec![
            SourceFile::new("data/é 漢.bin", Bytes::from_iter(0..=u8::MAX)),
            SourceFile::new("empty", Bytes::new()),
        ],
        stdin: Bytes::from_static(b"\0\xff\xfe line\n\0"),
        stdin_open: true,
        args: vec![String::new(), "--flag".into(), "é 'quoted' \"too\"".into()],
        env: [("A".into(), "é\n=".into()), ("B".into(), String::new())].into(),
        limits: LimitRequest {
            wall_time_ms: Some(u64::MAX),
            memory_bytes: Some(u64::MAX),
            processes: Some(u32::MAX),
            ..LimitRequest::default()
        },
        compile_limits: LimitRequest {
            cpu_time_ms: Some(1),
            output_bytes: Some(2),
            file_bytes: Some(3),
            cpu_millis: Some(4),
            files: Some(5),
            open_files: Some(6),
            stack_bytes: Some(7),
            ..LimitRequest::default()
        },
        grading: Some(Grading {
            tests: vec![
                TestCase::new(&b"\0\xff"[..], AWKWARD).points(u32::MAX),
                TestCase::new("", "").points(0).hidden(),
            ],
            // Their shortest decimals have 17 digits.
            compare: Compare::Tolerance { absolute: 0.1 + 0.2, relative: 1e23 / 3.0 },
            stop_at_first_failure: true,
        }),
        callback_url: Some(AWKWARD.into()),
        trace: Trace {
            request_id: Some("~'\"\\{}".into()),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        },
    }
}

/// One with something in every member that a new one may have.
fn full_execution() -> Execution {
    Execution {
        session_id: Some(SessionId::generate(at(0))),
        revision: Some(Revision(7)),
        idempotency_key: Some("key ' \" \\ é 漢 🦀".into()),
        priority: i16::MIN,
        run_after: at(5_000),
        ..Execution::new(owner("tenant/é 'x'"), "a language é 漢", at(1))
    }
}

fn outcome(termination: Termination) -> Outcome {
    Outcome::new(termination)
}

fn exited() -> Change {
    Change::Finish(outcome(Termination::Exited { code: 0 }))
}

fn stdout(bytes: impl Into<Bytes>) -> Output {
    Output::new(Stdio::Stdout, bytes)
}

fn stderr(bytes: impl Into<Bytes>) -> Output {
    Output::new(Stdio::Stderr, bytes)
}

/// Makes `change` and stores it.
async fn change(store: &dyn Store, execution: &mut Execution, change: Change, output: &[Output]) -> Seq {
    execution.apply(change, at(1_000)).unwrap();
    store.update(execution, output).await.unwrap()
}

/// Puts in an execution and starts it.
async fn start(store: &dyn Store) -> Execution {
    let mut execution = execution();
    store.insert(&execution, &spec()).await.unwrap();
    change(store, &mut execution, Change::Start, &[]).await;
    execution
}

/// Puts in an execution, starts it, lets it write `output` and ends it.
async fn complete(store: &dyn Store, output: &[Output]) -> Execution {
    let mut execution = start(store).await;
    change(store, &mut execution, exited(), output).await;
    execution
}

/// The log of an execution that has ended.
async fn log(store: &dyn Store, id: ExecutionId) -> Vec<Event> {
    rest_of_log(store, id, Seq::START, Follow::Everything).await
}

async fn rest_of_log(store: &dyn Store, id: ExecutionId, after: Seq, follow: Follow) -> Vec<Event> {
    let events = store.events(id, after, follow);
    events.map(|event| event.unwrap()).collect().await
}

/// The log so far of an execution that hasn't ended, of which the last event has the number `last`.
async fn log_up_to(store: &dyn Store, id: ExecutionId, last: Seq) -> Vec<Event> {
    let mut events = store.events(id, Seq::START, Follow::Everything);
    let mut log = Vec::new();
    while log.last().is_none_or(|event: &Event| event.seq < last) {
        log.push(events.next().await.unwrap().unwrap());
    }
    log
}
