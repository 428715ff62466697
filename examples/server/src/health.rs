//! Whether the server lives, and whether it can do its work.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use livecode::Result;
use serde_json::{Value, json};

use crate::{App, problem::Problem};

/// A part that takes longer to answer counts as down.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/health", get(live))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
}

async fn live() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

async fn ready(State(app): State<App>) -> Response {
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
