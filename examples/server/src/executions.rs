//! Executions: run, read, history, cancel, raw output.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::OriginalUri,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use livecode::{
    Accepted, Compare, Edit, Execution, ExecutionId, ExecutionSpec, LimitRequest, Result, Revision,
    RunOptions, SessionId, State as Status,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    app::Shared,
    auth::Caller,
    extract::{Body, Id, Paging, Params},
    grading::{TestMember, grading},
    openapi,
    problem::Problem,
    record::{Record, record},
    request,
    sessions::{FileMember, files},
    streams::Held,
    webhooks,
};

/// The longest that an answer may be held back, in milliseconds.
const MAX_WAIT_MS: u64 = 60_000;

/// How long an answer to a cancel is held back, so that it usually shows the end.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// A page of history ends with the record whose output goes over this, whatever its limit.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(run_program))
        .routes(routes!(read))
        .routes(routes!(cancel))
        .routes(routes!(stdout))
        .routes(routes!(stderr))
        .routes(routes!(history))
        .routes(routes!(history_by_its_other_name))
        .routes(routes!(run_session))
        .routes(routes!(run_session_by_its_other_name))
}

/// A program to run and all it's given; in a session its source is there already.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct RunRequest {
    /// The name of a language or one of its aliases; in a session it's saved first.
    #[schema(value_type = Option<openapi::Language>)]
    pub(crate) language: Option<String>,
    /// The entry file; in a session it's saved first.
    #[serde(alias = "sourceCode", alias = "code")]
    #[schema(value_type = Option<openapi::SourceCode>)]
    pub(crate) source_code: Option<String>,
    /// All other files; in a session they're saved first.
    #[schema(value_type = Option<openapi::Files>)]
    pub(crate) files: Option<Vec<FileMember>>,
    /// What the program reads from its standard input.
    pub(crate) stdin: Option<String>,
    /// Whether more may be sent while it runs, over the WebSocket; else its standard input ends after `stdin`.
    stdin_open: Option<bool>,
    /// What the program is called with.
    #[schema(value_type = Option<Vec<openapi::Argument>>)]
    args: Option<Vec<String>>,
    /// Variables of its environment: names without `=`.
    #[schema(value_type = Option<openapi::Environment>)]
    env: Option<BTreeMap<String, String>>,
    #[schema(value_type = Option<openapi::Limits>)]
    limits: Option<LimitRequest>,
    /// As `limits`, for the compiler.
    #[schema(value_type = Option<openapi::CompileLimits>)]
    compile_limits: Option<LimitRequest>,
    /// Cases to run the program with, each with its own input: what became of them is in the record.
    #[schema(min_items = 1, max_items = 100)]
    tests: Option<Vec<TestMember>>,
    /// How what the program wrote is compared with what was expected; `trimmed_lines` where it isn't said.
    #[schema(value_type = Option<openapi::Compare>)]
    compare: Option<Compare>,
    /// Whether the cases after the first that fails are skipped.
    stop_at_first_failure: Option<bool>,
    /// Who is told of its end: an `http` or `https` URL that gets a signed `POST`, see the README.
    #[serde(alias = "callbackUrl")]
    #[schema(value_type = Option<webhooks::CallbackUrl>)]
    callback_url: Option<String>,
    /// Not to be started earlier than in so many milliseconds.
    #[schema(maximum = 86_400_000)]
    delay_ms: Option<u64>,
    /// Higher is served first.
    #[schema(minimum = -32_768, maximum = 32_767)]
    priority: Option<i16>,
    /// How long the answer may be held back for the end, in milliseconds; in a batch it has no meaning.
    #[schema(maximum = 60_000)]
    wait_ms: Option<u64>,
    /// As the header `Idempotency-Key`, which wins: for the programs of a batch.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

impl RunRequest {
    pub(crate) fn options(&self, app: &App, headers: &HeaderMap) -> Result<RunOptions, Problem> {
        webhooks::check(app.webhooks.as_ref(), self.callback_url.as_deref())?;
        let key = match headers.get("idempotency-key").map(|value| value.to_str()) {
            None => self.idempotency_key.clone(),
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

    /// The program, where it's whole.
    pub(crate) fn program(mut self, headers: &HeaderMap) -> Result<ExecutionSpec, Problem> {
        let (language, source_code) = match (self.language.take(), self.source_code.take()) {
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
        spec.files = files(self.files.take().unwrap_or_default())?;
        self.fill(&mut spec, headers);
        Ok(spec)
    }

    /// Puts in what isn't source.
    fn fill(self, spec: &mut ExecutionSpec, headers: &HeaderMap) {
        spec.trace = request::trace(headers);
        spec.stdin = self.stdin.unwrap_or_default().into();
        spec.stdin_open = self.stdin_open.unwrap_or_default();
        spec.args = self.args.unwrap_or_default();
        spec.env = self.env.unwrap_or_default();
        spec.limits = self.limits.unwrap_or_default();
        spec.compile_limits = self.compile_limits.unwrap_or_default();
        spec.callback_url = self.callback_url;
        spec.grading = grading(self.tests, self.compare, self.stop_at_first_failure);
    }
}

/// `?wait_ms=`: how long the answer may be held back.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wait {
    /// How long the answer may be held back for the end, in milliseconds.
    #[param(maximum = 60_000)]
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

/// Run a session's source
///
/// Queues it; what the body brings of the source is saved first. The body is optional. With `wait_ms` the answer is the record, where
/// the program has ended by then.
#[utoipa::path(
    post,
    path = "/code-sessions/{id}/run",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session"), openapi::IdempotencyKey, Wait),
    request_body = Option<RunRequest>,
    responses(
        (status = 202, description = "Accepted: it will run and reach its end", body = Receipt),
        (status = 200, description = "With a key that was used before: that execution; with wait_ms: the finished record", body = openapi::ReceiptOrRecord),
        (status = 409, description = "The session is closed, or the key was used for a different program"),
        (status = 429, description = "Too many runs, or with wait_ms too many streams: Retry-After says when to come back"),
    ),
)]
async fn run_session(
    Caller(app): Caller,
    Id(id): Id<SessionId>,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    Body(mut body): Body<RunRequest>,
) -> Result<Response, Problem> {
    app.shutdown.refuse_while_draining()?;
    let wait = wait.or(body.wait_ms)?;
    let _held = hold(&app, wait)?;
    let options = body.options(&app, &headers)?;
    let edit = Edit {
        language: body.language.take(),
        source_code: body.source_code.take(),
        files: body.files.take().map(files).transpose()?,
        if_revision: None,
    };
    let accepted = app.engine.run_session(id, edit, |spec| body.fill(spec, &headers), options).await?;
    Ok(answer(&app, accepted, wait).await)
}

/// Run a program
///
/// One that belongs to no session. With `wait_ms` the answer is the record, where the program has ended by then.
#[utoipa::path(
    post,
    path = "/executions",
    tag = "executions",
    params(openapi::IdempotencyKey, Wait),
    request_body = openapi::ProgramRequest,
    responses(
        (status = 202, description = "Accepted: it will run and reach its end", body = Receipt),
        (status = 200, description = "With a key that was used before: that execution; with wait_ms: the finished record", body = openapi::ReceiptOrRecord),
        (status = 409, description = "The key was used for a different program"),
        (status = 429, description = "Too many runs, or with wait_ms too many streams: Retry-After says when to come back"),
    ),
)]
async fn run_program(
    Caller(app): Caller,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    Body(body): Body<RunRequest>,
) -> Result<Response, Problem> {
    app.shutdown.refuse_while_draining()?;
    let wait = wait.or(body.wait_ms)?;
    let _held = hold(&app, wait)?;
    let options = body.options(&app, &headers)?;
    let accepted = app.engine.run(body.program(&headers)?, options).await?;
    Ok(answer(&app, accepted, wait).await)
}

/// What was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Receipt {
    #[schema(value_type = openapi::Id)]
    execution_id: ExecutionId,
    #[schema(value_type = openapi::Status)]
    status: Status,
    /// Null for a program that belongs to no session.
    #[schema(value_type = Option<openapi::Id>)]
    session_id: Option<SessionId>,
    /// Of the session's source, that is run.
    #[schema(value_type = Option<u64>)]
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

/// What is held open for so long; nothing where it isn't.
fn hold(app: &App, wait: Duration) -> Result<Option<Held>, Problem> {
    (!wait.is_zero()).then(|| app.streams.open()).transpose()
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

/// Read an execution
#[utoipa::path(
    get,
    path = "/executions/{id}",
    tag = "executions",
    params(("id" = openapi::Id, Path, description = "The execution"), Wait),
    responses(
        (status = 200, description = "The record; with wait_ms as soon as it has ended, or when the time is up", body = Record),
        (status = 429, description = "With wait_ms, too many streams: Retry-After says when to come back"),
    ),
)]
async fn read(
    Caller(app): Caller,
    Id(id): Id<ExecutionId>,
    Params(wait): Params<Wait>,
) -> Result<Json<Record>, Problem> {
    let wait = wait.or(None)?;
    let _held = hold(&app, wait)?;
    let execution = wait_for(&app, id, wait).await?;
    Ok(Json(record(&app, execution).await?))
}

/// Cancel an execution
///
/// When it has ended already nothing changes.
#[utoipa::path(
    post,
    path = "/executions/{id}/cancel",
    tag = "executions",
    params(("id" = openapi::Id, Path, description = "The execution")),
    responses((status = 200, description = "The record, which usually shows the end", body = Record)),
)]
async fn cancel(Caller(app): Caller, Id(id): Id<ExecutionId>) -> Result<Json<Record>, Problem> {
    app.engine.cancel(id).await?;
    let execution = wait_for(&app, id, CANCEL_WAIT).await?;
    Ok(Json(record(&app, execution).await?))
}

/// Read standard output, byte for byte
#[utoipa::path(
    get,
    path = "/executions/{id}/stdout",
    tag = "executions",
    params(("id" = openapi::Id, Path, description = "The execution")),
    responses((status = 200, description = "What the program has written so far", body = [u8], content_type = "application/octet-stream")),
)]
async fn stdout(Caller(app): Caller, Id(id): Id<ExecutionId>) -> Result<Response, Problem> {
    Ok(exact(app.engine.output(id).await?.stdout))
}

/// Read standard error, byte for byte
#[utoipa::path(
    get,
    path = "/executions/{id}/stderr",
    tag = "executions",
    params(("id" = openapi::Id, Path, description = "The execution")),
    responses((status = 200, description = "What the program has written so far", body = [u8], content_type = "application/octet-stream")),
)]
async fn stderr(Caller(app): Caller, Id(id): Id<ExecutionId>) -> Result<Response, Problem> {
    Ok(exact(app.engine.output(id).await?.stderr))
}

fn exact(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

/// List a session's executions
///
/// Newest first; the header `Link` names the next page.
#[utoipa::path(
    get,
    path = "/code-sessions/{id}/executions",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session"), openapi::Page),
    responses((status = 200, description = "A page of records", body = Vec<Record>)),
)]
async fn history(
    Caller(app): Caller,
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
        bytes += record.output_bytes();
        records.push(record);
    }
    let link = records.last().filter(|_| records.len() < found).map(|last| page.next(uri.path(), last.id));
    Ok(match link {
        Some(link) => (link, Json(records)).into_response(),
        None => Json(records).into_response(),
    })
}

/// List a session's executions, by the name of older services
#[utoipa::path(
    get,
    path = "/executions/sessions/{id}",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session"), openapi::Page),
    responses((status = 200, description = "A page of records", body = Vec<Record>)),
)]
async fn history_by_its_other_name(
    caller: Caller,
    uri: OriginalUri,
    id: Id<SessionId>,
    page: Paging<ExecutionId>,
) -> Result<Response, Problem> {
    history(caller, uri, id, page).await
}

/// Run a session's source, by the name of older services
#[utoipa::path(
    post,
    path = "/sessions/{id}/run",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session"), openapi::IdempotencyKey, Wait),
    request_body = Option<RunRequest>,
    responses(
        (status = 202, description = "Accepted: it will run and reach its end", body = Receipt),
        (status = 200, description = "With a key that was used before: that execution; with wait_ms: the finished record", body = openapi::ReceiptOrRecord),
        (status = 409, description = "The session is closed, or the key was used for a different program"),
        (status = 429, description = "Too many runs, or with wait_ms too many streams: Retry-After says when to come back"),
    ),
)]
async fn run_session_by_its_other_name(
    caller: Caller,
    id: Id<SessionId>,
    wait: Params<Wait>,
    headers: HeaderMap,
    body: Body<RunRequest>,
) -> Result<Response, Problem> {
    run_session(caller, id, wait, headers, body).await
}
