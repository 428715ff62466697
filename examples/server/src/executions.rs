//! Executions: run, read, history, cancel, raw output.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{OriginalUri, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use livecode::{
    Accepted, Captured, Edit, ErrorType, Execution, ExecutionId, ExecutionSpec, LimitRequest, Result,
    Revision, RunOptions, SessionId, State as Status, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    App,
    extract::{Body, Id, Paging, Params},
    problem::Problem,
    sessions::{FileMember, files},
};

/// The longest that an answer may be held back, in milliseconds.
const MAX_WAIT_MS: u64 = 60_000;

/// How long an answer to a cancel is held back, so that it usually shows the end.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// A page of history ends with the record whose output goes over this, whatever its limit.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/executions", post(run_program))
        .route("/executions/{id}", get(read))
        .route("/executions/{id}/cancel", post(cancel))
        .route("/executions/{id}/stdout", get(stdout))
        .route("/executions/{id}/stderr", get(stderr))
        .route("/executions/sessions/{id}", get(history))
        .route("/code-sessions/{id}/executions", get(history))
        .route("/code-sessions/{id}/run", post(run_session))
        .route("/sessions/{id}/run", post(run_session))
}

/// A program to run and all it's given; in a session its source is there already.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RunRequest {
    language: Option<String>,
    #[serde(alias = "sourceCode", alias = "code")]
    source_code: Option<String>,
    files: Option<Vec<FileMember>>,
    stdin: Option<String>,
    stdin_open: Option<bool>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    limits: Option<LimitRequest>,
    compile_limits: Option<LimitRequest>,
    delay_ms: Option<u64>,
    priority: Option<i16>,
    wait_ms: Option<u64>,
}

impl RunRequest {
    fn options(&self, headers: &HeaderMap) -> Result<RunOptions, Problem> {
        let key = match headers.get("idempotency-key").map(|value| value.to_str()) {
            None => None,
            Some(Ok(key)) => Some(key.to_owned()),
            Some(Err(_)) => {
                return Err(Problem::invalid(vec![
                    "Idempotency-Key has characters other than visible ASCII".into(),
                ]));
            }
        };
        Ok(RunOptions {
            idempotency_key: key,
            delay: Duration::from_millis(self.delay_ms.unwrap_or(0)),
            priority: self.priority.unwrap_or(0),
        })
    }

    /// Puts in what isn't source.
    fn fill(self, spec: &mut ExecutionSpec) {
        spec.stdin = self.stdin.unwrap_or_default().into();
        spec.stdin_open = self.stdin_open.unwrap_or_default();
        spec.args = self.args.unwrap_or_default();
        spec.env = self.env.unwrap_or_default();
        spec.limits = self.limits.unwrap_or_default();
        spec.compile_limits = self.compile_limits.unwrap_or_default();
    }
}

/// `?wait_ms=`: how long the answer may be held back.
#[derive(Debug, Deserialize)]
struct Wait {
    wait_ms: Option<u64>,
}

impl Wait {
    fn or(self, body: Option<u64>) -> Result<Duration, Problem> {
        match self.wait_ms.or(body) {
            Some(millis) if millis > MAX_WAIT_MS => {
                Err(Problem::invalid(vec![format!("wait_ms is {millis}, at most {MAX_WAIT_MS} is accepted")]))
            }
            millis => Ok(Duration::from_millis(millis.unwrap_or(0))),
        }
    }
}

async fn run_session(
    State(app): State<App>,
    Id(id): Id<SessionId>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    Body(mut body): Body<RunRequest>,
) -> Result<Response, Problem> {
    app.shutdown.refuse_while_draining()?;
    let wait = wait.or(body.wait_ms)?;
    let options = body.options(&headers)?;
    let edit = Edit {
        language: body.language.take(),
        source_code: body.source_code.take(),
        files: body.files.take().map(files).transpose()?,
        if_revision: None,
    };
    let accepted = app.engine.run_session(id, edit, |spec| body.fill(spec), options).await?;
    Ok(answer(&app, accepted, wait).await)
}

async fn run_program(
    State(app): State<App>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    Body(mut body): Body<RunRequest>,
) -> Result<Response, Problem> {
    app.shutdown.refuse_while_draining()?;
    let wait = wait.or(body.wait_ms)?;
    let options = body.options(&headers)?;
    let (language, source_code) = match (body.language.take(), body.source_code.take()) {
        (Some(language), Some(source_code)) => (language, source_code),
        (language, source_code) => {
            let members = [("language", language.is_none()), ("source_code", source_code.is_none())];
            let absent = members.into_iter().filter(|(_, absent)| *absent);
            return Err(Problem::invalid(
                absent.map(|(member, _)| format!("{member} is required")).collect(),
            ));
        }
    };
    let mut spec = ExecutionSpec::new(language, source_code);
    spec.files = files(body.files.take().unwrap_or_default())?;
    body.fill(&mut spec);
    let accepted = app.engine.run(spec, options).await?;
    Ok(answer(&app, accepted, wait).await)
}

#[derive(Serialize)]
struct Receipt {
    execution_id: ExecutionId,
    status: Status,
    session_id: Option<SessionId>,
    revision: Option<Revision>,
}

impl From<Execution> for Receipt {
    fn from(execution: Execution) -> Self {
        Self {
            execution_id: execution.id,
            status: execution.state,
            session_id: execution.session_id,
            revision: execution.revision,
        }
    }
}

/// 200 with the whole record where it was waited for and has ended; else a receipt.
async fn answer(app: &App, accepted: Accepted, wait: Duration) -> Response {
    if wait.is_zero() {
        let status = if accepted.new { StatusCode::ACCEPTED } else { StatusCode::OK };
        return (status, Json(Receipt::from(accepted.execution))).into_response();
    }
    match waited(app, accepted.execution.id, wait).await {
        Ok(answer) => answer,
        // It's accepted and will run: a client that is told of a failure asks for a second run.
        Err(error) => {
            tracing::warn!(execution = %accepted.execution.id, %error, "an accepted run can't be waited for");
            (StatusCode::ACCEPTED, Json(Receipt::from(accepted.execution))).into_response()
        }
    }
}

async fn waited(app: &App, id: ExecutionId, wait: Duration) -> Result<Response> {
    let execution = wait_for(app, id, wait).await?;
    if execution.state.is_terminal() {
        return Ok(Json(record(app, execution).await?).into_response());
    }
    Ok((StatusCode::ACCEPTED, Json(Receipt::from(execution))).into_response())
}

/// The record at its end, when the time is up, or when the server stops, whichever is first.
async fn wait_for(app: &App, id: ExecutionId, wait: Duration) -> Result<Execution> {
    tokio::select! {
        execution = app.engine.wait(id, wait) => execution,
        () = app.shutdown.stopping() => app.engine.execution(id).await,
    }
}

async fn read(
    State(app): State<App>,
    Id(id): Id<ExecutionId>,
    Params(wait): Params<Wait>,
) -> Result<Json<Record>, Problem> {
    let execution = wait_for(&app, id, wait.or(None)?).await?;
    Ok(Json(record(&app, execution).await?))
}

async fn cancel(State(app): State<App>, Id(id): Id<ExecutionId>) -> Result<Json<Record>, Problem> {
    app.engine.cancel(id).await?;
    let execution = wait_for(&app, id, CANCEL_WAIT).await?;
    Ok(Json(record(&app, execution).await?))
}

async fn stdout(State(app): State<App>, Id(id): Id<ExecutionId>) -> Result<Response, Problem> {
    Ok(exact(app.engine.output(id).await?.stdout))
}

async fn stderr(State(app): State<App>, Id(id): Id<ExecutionId>) -> Result<Response, Problem> {
    Ok(exact(app.engine.output(id).await?.stderr))
}

fn exact(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

async fn history(
    State(app): State<App>,
    OriginalUri(uri): OriginalUri,
    Id(id): Id<SessionId>,
    page: Paging<ExecutionId>,
) -> Result<Response, Problem> {
    // One more than asked for tells whether another page follows.
    let executions = app.engine.history(id, page.before, page.limit + 1).await?;
    let found = executions.len();
    let mut records: Vec<Record> = Vec::new();
    let mut bytes = 0;
    for execution in executions.into_iter().take(page.limit) {
        if bytes > PAGE_BYTES {
            break;
        }
        let record = record(&app, execution).await?;
        bytes += record.stdout.len() + record.stderr.len();
        records.push(record);
    }
    let link = records.last().filter(|_| records.len() < found).map(|last| page.next(uri.path(), last.id));
    Ok(match link {
        Some(link) => (link, Json(records)).into_response(),
        None => Json(records).into_response(),
    })
}

/// An execution as clients see it. Every member is always there but `unprotected`.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    execution_id: ExecutionId,
    id: ExecutionId,
    session_id: Option<SessionId>,
    revision: Option<Revision>,
    language: String,
    status: Status,
    attempt: u32,
    stdout: String,
    stderr: String,
    stdout_truncated: bool,
    stderr_truncated: bool,
    exit_code: Option<i32>,
    signal: Option<i32>,
    error_type: Option<ErrorType>,
    error_message: Option<String>,
    compile_output: Option<String>,
    execution_time_ms: Option<u64>,
    cpu_time_ms: Option<u64>,
    memory_peak_bytes: Option<u64>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    /// The protections that were missing, where the host had lowered the bar.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unprotected: Vec<String>,
}

impl Record {
    fn new(execution: Execution, captured: &Captured) -> Self {
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
        }
    }
}

/// The record with what the program has written so far.
pub(crate) async fn record(app: &App, execution: Execution) -> Result<Record> {
    let captured = app.engine.output(execution.id).await?;
    Ok(Record::new(execution, &captured))
}
