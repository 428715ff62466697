//! Many programs in one call.

use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, StatusCode},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    app::Shared,
    auth::Caller,
    executions::{Receipt, RunRequest},
    extract::read_json,
    openapi,
    problem::Problem,
};

/// The most programs in one call.
const MAX_BATCH: usize = 100;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(run_batch))
}

/// The programs, or an object that has them as `executions`.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum BatchRequest {
    #[schema(value_type = openapi::Programs)]
    Bare(Vec<Value>),
    Named {
        #[schema(value_type = openapi::Programs)]
        executions: Vec<Value>,
    },
}

/// What became of one program of a batch.
#[derive(Serialize, ToSchema)]
struct BatchEntry {
    /// What it would have been answered alone: 202, 200 or a refusal's.
    status_code: u16,
    /// Null where it was refused.
    execution: Option<Receipt>,
    /// Null where it was accepted.
    #[schema(value_type = Option<crate::problem::Body>)]
    problem: Option<Value>,
}

/// Run many programs
///
/// Up to 100, each accepted or refused on its own, whatever becomes of the others.
#[utoipa::path(
    post,
    path = "/executions/batch",
    tag = "executions",
    request_body = BatchRequest,
    responses((status = 207, description = "What became of each, in their order: each is a run that counts", body = Vec<BatchEntry>)),
)]
async fn run_batch(
    Caller(app): Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<Vec<BatchEntry>>), Problem> {
    app.shutdown.refuse_while_draining()?;
    let programs = match read_json(request).await? {
        BatchRequest::Bare(programs) | BatchRequest::Named { executions: programs } => programs,
    };
    if programs.len() > MAX_BATCH {
        return Err(Problem::invalid(vec![format!(
            "the batch has {} programs, at most {MAX_BATCH} are accepted: send several",
            programs.len()
        )]));
    }
    let entries = programs.into_iter().map(|program| async {
        match run_one(&app, program, &headers).await {
            Ok((status, receipt)) => {
                BatchEntry { status_code: status.as_u16(), execution: Some(receipt), problem: None }
            }
            Err(problem) => BatchEntry {
                status_code: problem.status().as_u16(),
                execution: None,
                problem: Some(problem.into_json()),
            },
        }
    });
    Ok((StatusCode::MULTI_STATUS, Json(join_all(entries).await)))
}

async fn run_one(app: &App, program: Value, headers: &HeaderMap) -> Result<(StatusCode, Receipt), Problem> {
    if !program.is_object() {
        return Err(Problem::invalid(vec!["a program is a JSON object".into()]));
    }
    let request: RunRequest = serde_json::from_value(program)
        .map_err(|error| Problem::invalid(vec![format!("the program can't be read: {error}")]))?;
    let options = request.options(app, &HeaderMap::new())?;
    let accepted = app.engine.run(request.program(headers)?, options).await?;
    let status = if accepted.new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, accepted.execution.into()))
}
