//! Internals, for who develops or mends this service: off unless DEBUG_ROUTES is set, only for the role admin, in no description.

use axum::{Json, Router, routing::get};
use serde_json::{Value, json};

use crate::{app::Shared, auth::Admin, problem::Problem};

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/debug/state", get(state))
}

/// What this process is made of and what it sees. Nothing that a client or the environment gave: no source, no URL, no secret.
async fn state(Admin(app): Admin) -> Result<Json<Value>, Problem> {
    let [store, queue] = app.backends;
    let stats = app.engine.queue_stats().await?;
    let oldest = stats.oldest_waiting.map(|age| age.as_secs_f64());
    let sandbox = app.sandbox.as_ref().map(|sandbox| sandbox.capabilities());
    let languages: Vec<_> = app.engine.known_languages().iter().map(|language| &language.name).collect();
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "draining": app.shutdown.is_draining(),
        "store": store,
        "queue": {
            "name": queue,
            "waiting": stats.waiting,
            "delayed": stats.delayed,
            "leased": stats.leased,
            "oldest_waiting_seconds": oldest,
        },
        "sandbox": sandbox.map(|it| json!({ "name": it.name, "enforced": it.enforced, "missing": it.missing })),
        "languages": languages,
        "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
    })))
}
