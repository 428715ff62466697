//! What is counted, for whatever recorder of the crate [`metrics`] the host has installed. Without one each costs a look at a
//! global, and the copy of a language's name.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::{ErrorKind, Execution, State};

const ACCEPTED: &str = "livecode_executions_accepted_total";
const ENDED: &str = "livecode_executions_ended_total";
const GIVEN_UP: &str = "livecode_executions_given_up_total";
const WAIT: &str = "livecode_execution_wait_seconds";
const RUN: &str = "livecode_execution_run_seconds";
const STARTED: &str = "livecode_attempts_started_total";
const RETRIED: &str = "livecode_attempts_retried_total";
const LOST: &str = "livecode_attempts_lost_total";
const RUNNING: &str = "livecode_programs_running";
const SANDBOX_ERRORS: &str = "livecode_sandbox_errors_total";

/// Tells the recorder of the crate `metrics` that is installed what this crate's metrics are, and in which units: to be called
/// once, after it was installed. Without a recorder nothing is counted, and it costs next to nothing.
///
/// | name | kind | labels |
/// | --- | --- | --- |
/// | `livecode_executions_accepted_total` | counter | `language` |
/// | `livecode_executions_ended_total` | counter | `language`, `status`, `error_type` |
/// | `livecode_executions_given_up_total` | counter | |
/// | `livecode_execution_wait_seconds` | histogram | `language` |
/// | `livecode_execution_run_seconds` | histogram | `language`, `status`, `error_type` |
/// | `livecode_attempts_started_total` | counter | |
/// | `livecode_attempts_retried_total` | counter | `reason`: `failure` or `shutdown` |
/// | `livecode_attempts_lost_total` | counter | |
/// | `livecode_programs_running` | gauge | |
/// | `livecode_sandbox_errors_total` | counter | `kind`: an [`ErrorKind`], as in `unsupported` |
///
/// `language` is a canonical name, so one of those that the host knows; `status` and `error_type` are those that clients see,
/// the latter `none` where a program completed. Owners and ids are never labels. A histogram's buckets are the recorder's.
///
/// Each process counts what it did itself: who accepts counts what is accepted, who runs counts the rest.
pub fn describe_metrics() {
    describe_counter!(ACCEPTED, "Executions that were accepted; a repeated idempotency key isn't counted");
    describe_counter!(ENDED, "Executions that reached their end");
    describe_counter!(GIVEN_UP, "Executions of which no attempt is left after failures of ours");
    describe_histogram!(WAIT, Unit::Seconds, "From when an attempt could have been started until it was");
    describe_histogram!(
        RUN,
        Unit::Seconds,
        "Wall time of the program alone, without queue, set-up and compiler"
    );
    describe_counter!(STARTED, "Attempts that were started");
    describe_counter!(RETRIED, "Attempts after which the execution was queued again");
    describe_counter!(LOST, "Attempts whose worker was found to be lost");
    describe_gauge!(RUNNING, "Programs in the sandbox now");
    describe_counter!(SANDBOX_ERRORS, "Programs that the sandbox refused or failed to run");
    // So that they are there before the first of them happens: a rate over what isn't there is nothing, not 0.
    counter!(GIVEN_UP).increment(0);
    counter!(STARTED).increment(0);
    counter!(LOST).increment(0);
    for reason in ["failure", "shutdown"] {
        counter!(RETRIED, "reason" => reason).increment(0);
    }
    for kind in ["internal", "unavailable", "unsupported"] {
        counter!(SANDBOX_ERRORS, "kind" => kind).increment(0);
    }
    gauge!(RUNNING).increment(0.0);
}

pub(crate) fn accepted(execution: &Execution) {
    counter!(ACCEPTED, "language" => execution.language.clone()).increment(1);
}

/// An attempt that the record says is running.
pub(crate) fn started(execution: &Execution) {
    counter!(STARTED).increment(1);
    if let Some(started_at) = execution.started_at {
        let waited = started_at.duration_since(execution.run_after);
        histogram!(WAIT, "language" => execution.language.clone()).record(waited);
    }
}

pub(crate) fn lost() {
    counter!(LOST).increment(1);
}

/// One that goes back into the queue, for a failure of ours or because its worker shuts down.
pub(crate) fn retried(is_failure: bool) {
    counter!(RETRIED, "reason" => if is_failure { "failure" } else { "shutdown" }).increment(1);
}

/// One whose record has come to its end.
pub(crate) fn ended(execution: &Execution) {
    let language = &execution.language;
    let status = execution.state.as_str();
    let error_type = execution.error_type().map_or("none", |error_type| error_type.as_str());
    counter!(ENDED, "language" => language.clone(), "status" => status, "error_type" => error_type)
        .increment(1);
    match &execution.outcome {
        Some(outcome) => {
            histogram!(RUN, "language" => language.clone(), "status" => status, "error_type" => error_type)
                .record(outcome.usage.wall_time);
        }
        None if execution.state == State::Failed => counter!(GIVEN_UP).increment(1),
        None => {}
    }
}

pub(crate) fn sandbox_error(kind: ErrorKind) {
    let kind = match kind {
        ErrorKind::InvalidArgument => "invalid_argument",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::PreconditionFailed => "precondition_failed",
        ErrorKind::QueueFull => "queue_full",
        ErrorKind::RateLimited => "rate_limited",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Internal => "internal",
    };
    counter!(SANDBOX_ERRORS, "kind" => kind).increment(1);
}

/// A program in the sandbox, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    pub(crate) fn begin() -> Self {
        gauge!(RUNNING).increment(1.0);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        gauge!(RUNNING).decrement(1.0);
    }
}
