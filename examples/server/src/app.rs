//! The routes, and what all handlers share.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{Next, from_fn},
    response::Response,
};
use livecode::{Engine, Runner, Sandbox};
use tower::util::option_layer;
use tower_http::cors::CorsLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    Auth, batch, debug, events, executions,
    extract::MAX_BODY_BYTES,
    health, jobs, languages,
    languages::Toolchains,
    metrics::{self, Watched},
    openapi, page,
    problem::Problem,
    request,
    serve::Shutdown,
    sessions, socket,
    streams::Streams,
    tiers::{Tier, Tiers},
    webhooks::Webhooks,
};

/// As the router has it, which clones its state several times for each request.
pub(crate) type Shared = Arc<App>;

/// What all handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) engine: Engine,
    pub(crate) toolchains: Arc<Toolchains>,
    pub(crate) sandbox: Option<Arc<dyn Sandbox>>,
    pub(crate) shutdown: Shutdown,
    pub(crate) backends: [&'static str; 2],
    pub(crate) auth: Arc<Auth>,
    pub(crate) origins: Vec<HeaderValue>,
    pub(crate) watched: Watched,
    pub(crate) has_debug_routes: bool,
    pub(crate) streams: Streams,
    pub(crate) tiers: Arc<Tiers>,
    pub(crate) webhooks: Option<Webhooks>,
}

impl App {
    /// Over this engine. The runner tells the versions of the languages; none where programs run in other processes.
    ///
    /// From now on metrics are collected, for the whole process: before a worker of it begins.
    pub fn new(engine: Engine, runner: Option<Runner>, shutdown: Shutdown) -> Self {
        metrics::recorder();
        Self {
            sandbox: runner.as_ref().map(|runner| runner.sandbox().clone()),
            toolchains: Arc::new(Toolchains::new(runner)),
            engine,
            shutdown,
            backends: ["memory"; 2],
            auth: Arc::default(),
            origins: Vec::new(),
            watched: Watched::default(),
            has_debug_routes: false,
            streams: Streams::default(),
            tiers: Arc::default(),
            webhooks: None,
        }
    }

    /// The same for callers who may ask for so much.
    #[must_use]
    pub fn tiers(mut self, tiers: Tiers) -> Self {
        self.tiers = Arc::new(tiers);
        self
    }

    /// The same as the tier of that name sees it, for whom `who` stands, and `caller` where nobody is known.
    pub(crate) fn within(mut self, tier: Option<&str>, who: &str, caller: &str) -> Result<Self, Problem> {
        if let Some(Tier { quota, open_streams, ceiling }) = self.tiers.get(tier)? {
            self.streams = self.streams.of(who, *open_streams);
            self.engine = self.engine.with_quota(*quota, caller).ceiling(*ceiling);
        }
        Ok(self)
    }

    /// The same for callers who are known in this way.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Arc::new(auth);
        self
    }

    /// The same for pages of these origins as well.
    #[must_use]
    pub fn origins(mut self, origins: Vec<HeaderValue>) -> Self {
        self.origins = origins;
        self
    }

    /// The same, telling receivers of ends: [`deliver_webhooks`](crate::deliver_webhooks) does it.
    #[must_use]
    pub fn webhooks(mut self, webhooks: Option<Webhooks>) -> Self {
        self.webhooks = webhooks;
        self
    }

    /// The same, with metrics of what programs run in.
    #[must_use]
    pub fn watching(mut self, watched: Watched) -> Self {
        self.watched = watched;
        self
    }

    /// The same, telling administrators of its internals under `/debug` where `on`.
    #[must_use]
    pub fn debug_routes(mut self, on: bool) -> Self {
        self.has_debug_routes = on;
        self
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

/// The whole API, once more under `/api`, its description, and the page.
pub fn app(state: App) -> Router {
    let (api, description) = api().split_for_parts();
    let description = openapi::complete(description, &state);
    let mut api = api.merge(openapi::routes(&description)).merge(page::routes());
    if state.has_debug_routes {
        api = api.merge(debug::routes());
    }
    finish(api, state).merge(openapi::viewer(description))
}

/// All routes that are part of the API, with their descriptions.
fn api() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(sessions::routes())
        .merge(executions::routes())
        .merge(batch::routes())
        .merge(jobs::routes())
        .merge(events::routes())
        .merge(socket::routes())
        .merge(languages::routes())
        .merge(health::routes())
        .merge(metrics::routes())
}

/// What a process that only runs programs answers: its health and its metrics.
pub fn worker_app(state: App) -> Router {
    finish(health::routes().merge(metrics::routes()).split_for_parts().0, state)
}

fn finish(routes: Router<Shared>, state: App) -> Router {
    let cross_origin = (!state.origins.is_empty()).then(|| cross_origin(&state.origins));
    Router::new()
        .nest("/api", routes.clone())
        .merge(routes)
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        // From the outermost to the innermost, as one: the router boxes what it calls once for each layer that it's given.
        .layer((
            from_fn(request::observe),
            from_fn(on_every_answer),
            option_layer(cross_origin),
            DefaultBodyLimit::max(MAX_BODY_BYTES),
        ))
        .with_state(Arc::new(state))
}

/// Pages of these origins may ask as this server's own may. Credentials that a browser adds by itself aren't used here.
fn cross_origin(origins: &[HeaderValue]) -> CorsLayer {
    let expected =
        ["authorization", "content-type", "idempotency-key", "if-match", "last-event-id", "x-api-key"];
    CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(expected.map(HeaderName::from_static))
        .expose_headers([header::ETAG, header::LINK, header::RETRY_AFTER])
        .max_age(Duration::from_secs(600))
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
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // What a program wrote is never run where somebody opens it; the page has a policy of its own.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
