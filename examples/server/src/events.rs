//! An execution, followed live: server-sent events.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderName, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Message, KeepAlive},
    },
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, future::ready, stream};
use livecode::{Error, Event, EventKind, ExecutionId, Output, Result, Seq, State, Stdio};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    app::Shared,
    auth::Caller,
    extract::{Id, Params},
    metrics::OpenStream,
    openapi,
    problem::Problem,
    record::record,
};

/// Proxies close what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(follow))
}

/// `?last_event_id=` for a first request; a browser that reconnects sends the header, which wins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Resume {
    /// The event after which to begin, where the header can't be sent.
    #[param(pattern = "^[0-9]{1,18}$")]
    last_event_id: Option<String>,
}

/// Follow an execution
///
/// Server-sent events: `status`, `stdout`, `stderr`, and `end` with the whole record, after which the stream closes.
#[utoipa::path(
    get,
    path = "/executions/{id}/events",
    tag = "executions",
    params(
        ("id" = openapi::Id, Path, description = "The execution"),
        ("Last-Event-ID" = Option<String>, Header, description = "The event after which to begin", pattern = "^[0-9]{1,18}$"),
        Resume,
    ),
    responses(
        (status = 200, description = "The stream", body = openapi::StreamEvent, content_type = "text/event-stream"),
        (status = 204, description = "The caller has seen the end"),
        (status = 429, description = "Too many streams: Retry-After says when to come back"),
    ),
)]
async fn follow(
    Caller(app): Caller,
    Id(id): Id<ExecutionId>,
    Params(resume): Params<Resume>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_event_id(&headers, resume)?;
    let ended = app.engine.execution(id).await?.state.is_terminal();
    let mut events = app.engine.events(id, after).await?;
    let mut first = None;
    if ended {
        first = events.next().await;
        if first.is_none() {
            // The client has seen the end. This is what stops an EventSource from asking again.
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
    let shutdown = app.shutdown.clone();
    let open = (app.streams.open()?, OpenStream::begin());
    let messages = stream::iter(first)
        .chain(events)
        .then(move |event| message(app.clone(), event))
        // Cut off by an error, the client comes back and resumes after the last event that it saw.
        .inspect(move |message| {
            // It's open for as long as this is there.
            let _open = &open;
            if let Err(error) = message {
                tracing::warn!(execution = %id, %error, "a follower is cut off");
            }
        })
        .take_until({
            let shutdown = shutdown.clone();
            async move { shutdown.stopping().await }
        })
        .chain(stream::once(async move { shutdown.is_stopping().then(come_back) }).filter_map(ready).map(Ok));
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    let body = Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([unbuffered], body).into_response())
}

/// To a client whose stream ends before its program does. Many may follow: they come back over a second, not all at once.
fn come_back() -> Message {
    let wait = Duration::from_millis(fastrand::u64(500..1_500));
    Message::default().retry(wait).comment("the server is shutting down: connect again")
}

pub(crate) fn last_event_id(headers: &HeaderMap, resume: Resume) -> Result<Seq, Problem> {
    let text = match headers.get("last-event-id") {
        Some(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        None => resume.last_event_id,
    };
    match text.map(|text| text.parse()) {
        None => Ok(Seq::START),
        Some(Ok(seq)) => Ok(Seq(seq)),
        Some(Err(_)) => Err(Problem::invalid(vec![
            "Last-Event-ID is not the number of an event: send an id of this stream, or none".into(),
        ])),
    }
}

/// What a `status` event says; that somebody asked for the end only where it's so.
#[derive(Serialize)]
struct Status {
    status: State,
    attempt: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cancel_requested: bool,
}

/// An event as clients see it.
#[derive(Serialize)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) event: &'static str,
    pub(crate) data: Value,
}

async fn message(app: App, event: Result<Event>) -> Result<Message> {
    let Told { id, event, data } = told(&app, event?).await?;
    Message::default().id(id).event(event).json_data(data).map_err(not_json)
}

pub(crate) async fn told(app: &App, event: Event) -> Result<Told> {
    let (name, data) = match event.kind {
        EventKind::Status { state, attempt, cancel_requested } => {
            ("status", serde_json::to_value(Status { status: state, attempt, cancel_requested }))
        }
        EventKind::Output { output: Output { stdio, bytes }, .. } => {
            let name = match stdio {
                Stdio::Stdout => "stdout",
                Stdio::Stderr => "stderr",
            };
            (
                name,
                Ok(match std::str::from_utf8(&bytes) {
                    Ok(text) => json!({ "text": text }),
                    Err(_) => json!({ "base64": BASE64_STANDARD.encode(&bytes) }),
                }),
            )
        }
        EventKind::End(execution) => ("end", serde_json::to_value(record(app, *execution).await?)),
    };
    let data = data.map_err(not_json)?;
    Ok(Told { id: event.seq.to_string(), event: name, data })
}

fn not_json(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("an event can't be written as JSON").with_source(error)
}
