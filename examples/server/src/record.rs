//! An execution as clients see it.

use std::time::Duration;

use livecode::{
    Captured, Delivery, ErrorType, Execution, ExecutionId, Result, Revision, SessionId, State as Status,
    Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{App, grading::Grade, openapi, webhooks::Callback};

/// An execution as clients see it. Every member is always there but `unprotected`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Record {
    #[schema(value_type = openapi::Id)]
    execution_id: ExecutionId,
    /// `execution_id`, by the name of older services.
    #[schema(value_type = openapi::Id)]
    pub(crate) id: ExecutionId,
    #[schema(value_type = Option<openapi::Id>)]
    session_id: Option<SessionId>,
    /// Of the session's source.
    #[schema(value_type = Option<u64>)]
    revision: Option<Revision>,
    language: String,
    #[schema(value_type = openapi::Status)]
    status: Status,
    /// Counts up where one of our machines failed; what a program does is no reason for another.
    attempt: u32,
    /// So far; what isn't UTF-8 as U+FFFD.
    stdout: String,
    /// So far; what isn't UTF-8 as U+FFFD.
    stderr: String,
    stdout_truncated: bool,
    stderr_truncated: bool,
    exit_code: Option<i32>,
    signal: Option<i32>,
    /// Why it isn't a success; null as long as it may be one.
    #[schema(value_type = Option<openapi::ErrorType>)]
    error_type: Option<ErrorType>,
    error_message: Option<String>,
    /// What the compiler said, where there is one and it said something.
    compile_output: Option<String>,
    /// The program's wall time alone.
    execution_time_ms: Option<u64>,
    cpu_time_ms: Option<u64>,
    memory_peak_bytes: Option<u64>,
    #[schema(value_type = openapi::Moment)]
    created_at: Timestamp,
    #[schema(value_type = Option<openapi::Moment>)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<openapi::Moment>)]
    completed_at: Option<Timestamp>,
    /// The protections that were missing, where the host had lowered the bar; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unprotected: Vec<String>,
    #[serde(flatten)]
    grade: Grade,
    /// Who is told of its end, and where that stands; null where nobody is.
    callback: Option<Callback>,
}

impl Record {
    /// How much output it has in it.
    pub(crate) fn output_bytes(&self) -> usize {
        self.stdout.len() + self.stderr.len() + self.grade.output_bytes()
    }

    fn new(execution: Execution, captured: &Captured, delivery: Option<Delivery>) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (error_type, error_message) = (execution.error_type(), execution.error_message());
        let outcome = execution.outcome.as_ref();
        Self {
            execution_id: execution.id,
            id: execution.id,
            session_id: execution.session_id,
            revision: execution.revision,
            language: execution.language.clone(),
            status: execution.state,
            attempt: execution.attempt,
            stdout: String::from_utf8_lossy(&captured.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&captured.stderr).into_owned(),
            stdout_truncated: outcome.is_some_and(|outcome| outcome.stdout_truncated),
            stderr_truncated: outcome.is_some_and(|outcome| outcome.stderr_truncated),
            exit_code: outcome.and_then(|outcome| outcome.termination.exit_code()),
            signal: outcome.and_then(|outcome| outcome.termination.signal()),
            error_type,
            error_message,
            compile_output: outcome.and_then(|outcome| outcome.compile_output.clone()),
            execution_time_ms: outcome.map(|outcome| millis(outcome.usage.wall_time)),
            cpu_time_ms: outcome.map(|outcome| millis(outcome.usage.cpu_time)),
            memory_peak_bytes: outcome.and_then(|outcome| outcome.usage.memory_peak_bytes),
            created_at: execution.created_at,
            started_at: execution.started_at,
            completed_at: execution.completed_at,
            unprotected: outcome.map(|outcome| outcome.unprotected.clone()).unwrap_or_default(),
            grade: outcome.into(),
            callback: delivery.map(Callback::from),
        }
    }
}

/// The record with what the program has written so far.
pub(crate) async fn record(app: &App, execution: Execution) -> Result<Record> {
    let (captured, delivery) =
        tokio::join!(app.engine.output_of(&execution), app.engine.delivery(&execution));
    Ok(Record::new(execution, &captured?, delivery?))
}
