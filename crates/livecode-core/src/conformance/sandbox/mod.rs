//! The clauses of [`Sandbox`].
//!
//! The programs are Python's, so the machine needs `python3` where the sandbox looks for it. Hostile ones bound themselves,
//! so that a sandbox that fails doesn't harm the machine.

#![expect(missing_docs, reason = "the name of a case is the clause that it holds")]

mod artifacts;
mod cases;
mod containment;
mod limits;
mod programs;
mod streams;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::{artifacts::*, cases::*, containment::*, limits::*, programs::*, streams::*};
use crate::{ExecutionSpec, LimitRequest, Outcome, Output, Result, Run, Runner, Sandbox, Termination};

/// Makes a test of each clause of [`Sandbox`](crate::Sandbox). See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! sandbox_suite {
    ($factory:expr) => {
        $crate::conformance_cases! { sandbox, $factory,
            a_program_runs_to_its_end
            an_exit_status_is_reported
            a_signal_is_reported
            a_syntax_error_is_the_programs_failure
            arguments_and_environment_arrive
            nothing_of_the_hosts_environment_is_seen
            files_stand_beside_the_program
            the_work_directory_can_be_written_and_run_from
            a_command_that_is_not_there_is_named
            a_compile_step_comes_first
            a_compiler_that_fails_keeps_the_program_from_running
            a_compiler_that_leaves_nothing_is_a_compile_error
            a_compiler_that_leaves_too_much_is_no_failure_of_ours
            a_compiler_that_hangs_is_a_compile_error
            what_the_compiler_met_is_not_held_against_the_program
            a_run_begins_from_what_a_compile_step_left
            whatever_a_compile_step_leaves_a_later_run_finds_the_same
            what_a_program_does_is_not_kept
            what_is_kept_is_what_the_finished_compile_step_left
            a_compile_step_that_fails_is_not_kept
            what_is_kept_has_its_limit
            what_is_kept_counts_as_files_of_the_program
            files_are_brought_back_from_a_run_that_begins_where_another_compiled
            test_cases_are_runs_of_their_own
            test_cases_of_a_compiled_program_are_runs_of_their_own
            a_tiny_limit_is_not_the_next_ones
            arguments_without_room_are_the_programs_failure
            the_environment_asked_for_is_the_programs_alone
            files_are_brought_back
            only_plain_files_are_brought_back
            a_run_that_is_ended_brings_nothing_back
            the_version_is_asked_inside
            usage_is_what_was_used
            peak_memory_is_that_of_all_processes_and_files
            input_arrives_whole
            input_need_not_be_read
            a_program_reads_answers_and_reads_again
            input_that_ends_while_the_program_runs_is_at_its_end
            input_sent_in_pieces_arrives_whole
            what_was_there_first_is_read_first
            input_that_nobody_reads_waits_outside
            input_keeps_no_program_from_its_end
            a_program_that_closes_its_input_is_sent_no_more
            input_is_not_the_compilers
            output_arrives_whole_and_in_order
            any_bytes_arrive_as_they_are
            a_million_lines_arrive
            output_comes_while_the_program_runs
            a_program_may_close_its_streams
            a_reader_that_is_gone_does_not_end_the_program
            the_streams_can_be_opened_by_name
            output_before_a_kill_is_kept
            too_much_output_is_cut_and_the_program_goes_on
            too_much_output_ends_the_program_where_the_host_says_so
            the_end_of_the_main_process_is_the_end
            wall_time_is_limited
            a_stopped_program_runs_out_of_wall_time
            cpu_time_is_limited
            a_signal_is_not_taken_for_a_limit
            the_smallest_share_of_a_processor_is_enough
            cpu_time_of_descendants_counts
            memory_is_limited
            memory_of_files_counts
            a_large_submission_counts_once
            processes_are_limited
            a_fork_bomb_ends
            files_are_limited
            the_number_of_files_is_limited
            a_full_file_system_is_told
            open_files_are_limited
            the_stack_is_limited
            a_program_that_fits_meets_no_limit
            a_cancelled_program_ends
            a_run_cancelled_before_its_start_ends
            a_program_that_ignores_signals_is_cancelled
            an_ended_run_is_not_cancelled
            runs_at_a_time_do_not_see_each_other
            a_later_run_finds_no_trace
            the_network_is_out_of_reach
            the_system_cannot_be_written
            the_hosts_files_are_out_of_sight
            the_init_gives_nothing_away
            there_are_no_powers
            calls_that_reach_into_the_kernel_are_refused
            many_runs_at_a_time_all_end
            an_honest_program_gets_along_with_hostile_ones
        }
    };
}

fn python(source: &str) -> ExecutionSpec {
    ExecutionSpec::new("python", source)
}

fn limited(source: &str, limits: LimitRequest) -> ExecutionSpec {
    python(source).limits(limits)
}

fn millis(millis: u64) -> LimitRequest {
    LimitRequest { wall_time_ms: Some(millis), ..LimitRequest::default() }
}

/// Runs Python and gives back all of it; our own failure fails the case.
async fn run<S: Sandbox>(sandbox: &Arc<S>, spec: &ExecutionSpec) -> Run {
    Runner::shared(sandbox.clone()).run(spec).await.unwrap()
}

/// Runs Python that has to succeed, and gives back what it wrote to standard output.
async fn stdout<S: Sandbox>(sandbox: &Arc<S>, source: &str) -> String {
    let run = run(sandbox, &python(source)).await;
    let stderr = String::from_utf8_lossy(&run.captured.stderr).into_owned();
    assert_eq!(run.outcome.termination, Termination::Exited { code: 0 }, "{stderr}");
    String::from_utf8(run.captured.stdout.to_vec()).unwrap()
}

/// Starts a run that tells of its output, and can be cancelled.
fn start<S: Sandbox>(
    sandbox: &Arc<S>,
    spec: ExecutionSpec,
) -> (tokio::task::JoinHandle<Result<Outcome>>, mpsc::Receiver<Output>, CancellationToken) {
    let (sender, receiver) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let runner = Runner::shared(sandbox.clone());
    let token = cancel.clone();
    let running = tokio::spawn(async move { runner.stream(&spec, sender, &token).await });
    (running, receiver, cancel)
}

/// Starts a run that can be sent input as well.
fn interact<S: Sandbox>(
    sandbox: &Arc<S>,
    spec: ExecutionSpec,
) -> (tokio::task::JoinHandle<Result<Outcome>>, mpsc::Sender<Bytes>, mpsc::Receiver<Output>) {
    let (sender, output) = mpsc::channel(1);
    let (input, receiver) = mpsc::channel(1);
    let runner = Runner::shared(sandbox.clone());
    let running =
        tokio::spawn(
            async move { runner.interact(&spec, receiver, sender, &CancellationToken::new()).await },
        );
    (running, input, output)
}

/// Waits until the program has written that and no more, however it came.
async fn expect_output(output: &mut mpsc::Receiver<Output>, expected: &str) {
    let mut written = Vec::new();
    while written.len() < expected.len() {
        written.extend_from_slice(&output.recv().await.unwrap().bytes);
    }
    assert!(written.starts_with(expected.as_bytes()), "{:?}", String::from_utf8_lossy(&written));
}

/// Longer than any case takes: a run that lasts so long wasn't ended.
const LONG: Duration = Duration::from_secs(9);
