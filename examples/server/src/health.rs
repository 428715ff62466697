//! Whether the server lives, and whether it can do its work.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use livecode::Result;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::Shared, problem::Problem};

/// A part that takes longer to answer counts as down.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(live)).routes(routes!(ready))
}

/// That the server lives.
#[derive(Serialize, ToSchema)]
struct Live {
    /// Always `ok`.
    status: &'static str,
    /// The server's.
    version: &'static str,
}

/// Whether the server lives
#[utoipa::path(
    get,
    path = "/health",
    tag = "service",
    responses((status = 200, description = "It lives", body = Live)),
)]
async fn health() -> Json<Live> {
    live().await
}

/// Whether the server lives, by the name of probes
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "service",
    responses((status = 200, description = "It lives", body = Live)),
)]
async fn live() -> Json<Live> {
    Json(Live { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Whether the server can do its work
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "service",
    responses(
        (status = 200, description = "Each part and how it is", body = Object),
        (status = 503, description = "A part is down, or the server is ending"),
    ),
)]
async fn ready(State(app): State<Shared>) -> Response {
    let [store_name, queue_name] = app.backends;
    let (store, queue) = tokio::join!(
        part("store", store_name, app.engine.check_store()),
        part("queue", queue_name, app.engine.queue_stats()),
    );
    let status = |part: &Result<_, _>| if part.is_ok() { "ok" } else { "down" };
    let mut parts = json!({
        "store": { "status": status(&store.as_ref().map(drop)), "name": store_name },
        "queue": { "status": status(&queue.as_ref().map(drop)), "name": queue_name },
    });
    if let Ok(stats) = &queue {
        parts["queue"]["waiting"] = json!(stats.waiting);
        parts["queue"]["delayed"] = json!(stats.delayed);
        parts["queue"]["leased"] = json!(stats.leased);
    }
    if let Some(sandbox) = &app.sandbox {
        // That it's there is enough: it was tried out before this server listened.
        let capabilities = sandbox.capabilities();
        parts["sandbox"] =
            json!({ "status": "ok", "name": capabilities.name, "missing": capabilities.missing });
    }
    let mut reasons: Vec<String> = [store.err(), queue.err()].into_iter().flatten().collect();
    if app.shutdown.is_draining() {
        reasons.insert(0, "the server is shutting down".into());
    }
    if reasons.is_empty() {
        Json(json!({ "status": "ok", "parts": parts })).into_response()
    } else {
        Problem::unavailable(reasons.join("; ")).with("parts", parts).into_response()
    }
}

/// What the part answers, or a sentence for people; the reason is for the log alone.
async fn part<T>(part: &str, name: &str, answer: impl Future<Output = Result<T>>) -> Result<T, String> {
    let reason = match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    tracing::warn!(part, name, reason, "a part is down");
    Err(format!("the {part} ({name}) is down"))
}
