//! The job style of older services: submit a program, then ask for its result until it's there.

use axum::{
    Json,
    http::{HeaderMap, StatusCode},
};
use livecode::{ErrorKind, ExecutionId, ExecutionSpec, RunOptions, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    extract::{Body, Params},
    openapi,
    problem::Problem,
    record::{Record, record},
    request, webhooks,
};

/// What is run where a job doesn't say.
const LANGUAGE: &str = "python";

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(submit)).routes(routes!(result))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
struct JobRequest {
    /// The program.
    #[serde(alias = "source_code", alias = "sourceCode")]
    #[schema(value_type = openapi::SourceCode, required = true)]
    code: Option<String>,
    /// The name of a language or one of its aliases; `python` where it isn't said.
    #[schema(value_type = Option<openapi::Language>)]
    language: Option<String>,
    /// As for `POST /executions`.
    #[serde(alias = "callbackUrl")]
    #[schema(value_type = Option<webhooks::CallbackUrl>)]
    callback_url: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Job {
    /// The execution's id.
    #[schema(value_type = openapi::Id)]
    job_id: ExecutionId,
}

/// Submit a job
#[utoipa::path(
    post,
    path = "/submit-code",
    tag = "jobs",
    request_body = JobRequest,
    responses(
        (status = 201, description = "Accepted: it will run and reach its end", body = Job),
        (status = 429, description = "Too many runs: Retry-After says when to come back"),
    ),
)]
async fn submit(
    Caller(app): Caller,
    headers: HeaderMap,
    Body(body): Body<JobRequest>,
) -> Result<(StatusCode, Json<Job>), Problem> {
    app.shutdown.refuse_while_draining()?;
    let Some(code) = body.code else {
        return Err(Problem::invalid(vec!["code is required".into()]));
    };
    webhooks::check(app.webhooks.as_ref(), body.callback_url.as_deref())?;
    let mut spec = ExecutionSpec::new(body.language.unwrap_or_else(|| LANGUAGE.to_owned()), code);
    spec.callback_url = body.callback_url;
    spec.trace = request::trace(&headers);
    let accepted = app.engine.run(spec, RunOptions::default()).await?;
    Ok((StatusCode::CREATED, Json(Job { job_id: accepted.execution.id })))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Asked {
    /// What `/submit-code` answered.
    #[param(value_type = openapi::Id, required = true)]
    job_id: Option<String>,
}

/// Where a job stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum JobStatus {
    Pending,
    Completed,
    /// It failed, took too long or was cancelled.
    Failed,
    NotFound,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobResult {
    #[schema(value_type = openapi::Id)]
    job_id: ExecutionId,
    status: JobStatus,
    /// The execution's record, once it has ended.
    result: Option<Record>,
}

/// Ask for a job's result
#[utoipa::path(
    get,
    path = "/exec-result",
    tag = "jobs",
    params(Asked),
    responses((status = 200, description = "Where it stands, `not_found` included", body = JobResult)),
)]
async fn result(Caller(app): Caller, Params(asked): Params<Asked>) -> Result<Json<JobResult>, Problem> {
    let Some(job_id) = asked.job_id else {
        return Err(Problem::invalid(vec!["jobId is required".into()]));
    };
    let job_id: ExecutionId = job_id.parse()?;
    let (status, result) = match app.engine.execution(job_id).await {
        Ok(execution) => match execution.state {
            State::Queued | State::Running => (JobStatus::Pending, None),
            State::Completed => (JobStatus::Completed, Some(record(&app, execution).await?)),
            State::Failed | State::TimedOut | State::Cancelled => {
                (JobStatus::Failed, Some(record(&app, execution).await?))
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => (JobStatus::NotFound, None),
        Err(error) => return Err(error.into()),
    };
    Ok(Json(JobResult { job_id, status, result }))
}
