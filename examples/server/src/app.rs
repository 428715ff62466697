//! The routes, and what all handlers share.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::Response,
};
use livecode::{Engine, Runner, Sandbox};

use crate::{
    events, executions, extract::MAX_BODY_BYTES, health, languages, languages::Toolchains, page,
    problem::Problem, serve::Shutdown, sessions, socket,
};

/// What all handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) engine: Engine,
    pub(crate) toolchains: Arc<Toolchains>,
    pub(crate) sandbox: Option<Arc<dyn Sandbox>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) backends: [&'static str; 2],
}

impl App {
    /// Over this engine. The runner tells the versions of the languages; none where programs run in other processes.
    pub fn new(engine: Engine, runner: Option<Runner>, shutdown: Shutdown) -> Self {
        Self {
            sandbox: runner.as_ref().map(|runner| runner.sandbox().clone()),
            toolchains: Arc::new(Toolchains::new(runner)),
            engine,
            shutdown,
            backends: ["memory"; 2],
        }
    }

    /// The same, calling store and queue so where their health is told.
    #[must_use]
    pub fn backends(mut self, names: [&'static str; 2]) -> Self {
        self.backends = names;
        self
    }

    /// Asks every language for its version; `GET /languages` waits for that, and asks only what this left open.
    pub async fn probe_languages(&self) {
        self.toolchains.probe(self.engine.known_languages()).await;
    }
}

/// The whole API, once more under `/api`, and the page.
pub fn app(state: App) -> Router {
    let api = Router::new()
        .merge(sessions::routes())
        .merge(executions::routes())
        .merge(events::routes())
        .merge(socket::routes())
        .merge(languages::routes())
        .merge(health::routes())
        .merge(page::routes());
    finish(api, state)
}

/// What a process that only runs programs answers: its health.
pub fn worker_app(state: App) -> Router {
    finish(health::routes(), state)
}

fn finish(routes: Router<App>, state: App) -> Router {
    Router::new()
        .nest("/api", routes.clone())
        .merge(routes)
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(on_every_answer))
        .with_state(state)
}

async fn unknown(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {}", uri.path()))
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} can't be asked with {method}: see the header Allow", uri.path()),
    )
}

async fn on_every_answer(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = next.run(request).await;
    tracing::debug!(%method, path = uri.path(), status = response.status().as_u16(), "answered");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
