//! A server to ask, and its answers.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, BodyDataStream},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
};
use bytes::Bytes;
use futures_util::StreamExt;
use livecode::{Ceiling, Clock, Engine, MemoryQueue, MemoryStore, Runner, Store, SystemClock, Worker};
use livecode_server::{App, Auth, Shutdown, Tiers, Webhooks, app, deliver_webhooks};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::fake::Fake;

/// The whole server but for its socket. Its worker ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) fake: Arc<Fake>,
    pub(crate) shutdown: Shutdown,
}

/// How a test wants its server.
pub(crate) struct Setup {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ceiling: Ceiling,
    pub(crate) max_queued: u64,
    /// Without a worker everything stays queued.
    pub(crate) worker: bool,
    /// How callers are known.
    pub(crate) auth: Auth,
    /// Whose pages may ask.
    pub(crate) origins: Vec<HeaderValue>,
    /// Whether internals are told.
    pub(crate) debug_routes: bool,
    /// How much callers may ask for.
    pub(crate) tiers: Tiers,
    pub(crate) clock: Arc<dyn Clock>,
    /// How receivers are told.
    pub(crate) webhooks: Option<Webhooks>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            store: Arc::new(MemoryStore::default()),
            ceiling: Ceiling::default(),
            max_queued: 1_000,
            worker: true,
            auth: Auth::default(),
            origins: Vec::new(),
            debug_routes: false,
            tiers: Tiers::default(),
            clock: Arc::new(SystemClock),
            webhooks: None,
        }
    }
}

impl Setup {
    pub(crate) fn start(self) -> Server {
        let queue = Arc::new(MemoryQueue::default());
        let fake = Arc::new(Fake::default());
        let runner = Runner::shared(fake.clone()).ceiling(self.ceiling);
        let engine = Engine::new(self.store.clone(), queue.clone())
            .ceiling(self.ceiling)
            .max_queued(self.max_queued)
            .clock(self.clock);
        let shutdown = Shutdown::default();
        if self.worker {
            let worker = Worker::new(self.store, queue, runner.clone()).concurrency(4);
            #[cfg(feature = "otel")]
            let worker = worker.join_traces(livecode_server::otel::join_attempt);
            let draining = shutdown.draining();
            tokio::spawn(async move { worker.run(draining).await });
        }
        let state = App::new(engine, Some(runner), shutdown.clone())
            .auth(self.auth)
            .origins(self.origins)
            .debug_routes(self.debug_routes)
            .tiers(self.tiers)
            .webhooks(self.webhooks);
        tokio::spawn(deliver_webhooks(state.clone(), shutdown.draining()));
        Server { router: app(state), fake, shutdown }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Setup::default().start()
    }

    /// Where nothing runs: what is queued stays so.
    pub(crate) fn idle() -> Self {
        Setup { worker: false, ..Setup::default() }.start()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[], None)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        self.send(request(Method::POST, path, headers, Some(body))).await
    }

    pub(crate) async fn patch(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        self.send(request(Method::PATCH, path, headers, Some(body))).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request(Method::DELETE, path, &[], None)).await
    }

    /// A new session with this source: its id.
    pub(crate) async fn session(&self, source: &str) -> String {
        let answer = self.post("/code-sessions", json!({ "source_code": source })).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.text("session_id")
    }

    /// Queues this program: its id.
    pub(crate) async fn program(&self, source: &str) -> String {
        let body = json!({ "language": "python", "source_code": source });
        let answer = self.post("/executions", body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.text("execution_id")
    }

    /// The record at its end.
    pub(crate) async fn end(&self, id: &str) -> Value {
        let record = self.get(&format!("/executions/{id}?wait_ms=60000")).await.json();
        assert_ne!(record["completed_at"], Value::Null, "{record}");
        record
    }

    /// The event stream after this id.
    pub(crate) async fn follow(&self, id: &str, last_event_id: Option<&str>) -> (StatusCode, Events) {
        let header = last_event_id.map(|id| ("last-event-id", id));
        let request = request(Method::GET, &format!("/executions/{id}/events"), header.as_slice(), None);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, Events::new(response.into_body()))
    }
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
        None => request.body(Body::empty()).unwrap(),
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A member of the body that is a string.
    pub(crate) fn text(&self, member: &str) -> String {
        let body = self.json();
        let text = body[member].as_str();
        text.unwrap_or_else(|| panic!("no {member} in {body}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    body: BodyDataStream,
    read: String,
}

/// One of them, or a comment, which has no event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), read: String::new() }
    }

    /// The next message; none when the stream has closed.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((message, rest)) = self.read.split_once("\n\n") {
                let mut next = Message::default();
                for line in message.lines() {
                    match line.split_once(':').unwrap() {
                        ("id", id) => next.id = id.trim().to_owned(),
                        ("event", event) => next.event = event.trim().to_owned(),
                        ("data", data) => next.data = serde_json::from_str(data).unwrap(),
                        ("", _) => {}
                        (field, _) => panic!("an unexpected field {field}"),
                    }
                }
                self.read = rest.to_owned();
                return Some(next);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.body.next()).await;
            let chunk = chunk.expect("a message or the end within a minute")?.unwrap();
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next message of that name, skipping others.
    pub(crate) async fn until(&mut self, event: &str) -> Message {
        loop {
            let message = self.next().await;
            let message = message.unwrap_or_else(|| panic!("the stream closed before {event}"));
            if message.event == event {
                return message;
            }
        }
    }

    /// All messages until the stream closes.
    pub(crate) async fn rest(mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            messages.push(message);
        }
        messages
    }
}
