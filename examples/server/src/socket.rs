//! An execution, followed live and talked to: a WebSocket.
//!
//! Text frames both ways, each a JSON object. To the client: the events of the event stream by the same names, `{"id": "3", "event":
//! "stdout", "data": {"text": "hi\\n"}}`, and `error`, which has no id, where a frame of the client's can't be followed. From the client:
//! `{"stdin": "…"}`, `{"stdin_eof": true}`, `{"cancel": true}`.

use std::time::Duration;

use axum::{
    Extension,
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use futures_util::{StreamExt, stream::BoxStream};
use livecode::{Event, ExecutionId, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    app::Shared,
    auth::Caller,
    connections::Slot,
    events::{Resume, last_event_id, told},
    extract::{Id, Params},
    metrics::OpenStream,
    openapi,
    problem::Problem,
};

/// The most bytes of a frame that is followed.
const MAX_FRAME: usize = 1024 * 1024;

/// The most bytes of a frame that is read to its end, so that it can be answered. A longer one ends the connection.
const MAX_READ: usize = 4 * MAX_FRAME;

/// Proxies close what is silent for longer.
const PING_EVERY: Duration = Duration::from_secs(15);

/// A client that neither says nor takes anything for so long, pings and their answers included, is gone.
const GONE_AFTER: Duration = Duration::from_secs(60);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(connect))
}

/// Follow an execution and talk to it
///
/// A WebSocket of text frames, each a JSON object. From the server the events of the stream, as `{"id": "3", "event": "stdout", "data":
/// {"text": "hi"}}`; to it `{"stdin": "…"}` and `{"stdin_eof": true}` for a program that was run with `stdin_open`, and `{"cancel": true}`.
#[utoipa::path(
    get,
    path = "/executions/{id}/ws",
    tag = "executions",
    params(("id" = openapi::Id, Path, description = "The execution"), Resume),
    responses(
        (status = 101, description = "The events follow"),
        (status = 403, description = "A page of another site asks"),
        (status = 429, description = "Too many streams: Retry-After says when to come back"),
    ),
)]
async fn connect(
    Caller(app): Caller,
    Id(id): Id<ExecutionId>,
    Params(resume): Params<Resume>,
    headers: HeaderMap,
    slot: Option<Extension<Slot>>,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> std::result::Result<Response, Problem> {
    refuse_other_sites(&headers, &app.origins)?;
    let after = last_event_id(&headers, resume)?;
    let events = app.engine.events(id, after).await?;
    let held = (app.shutdown.hold(), app.streams.open()?, OpenStream::begin(), slot);
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(rejection.status(), format!("this is for WebSocket clients: {}", rejection.body_text()))
    })?;
    Ok(upgrade.max_message_size(MAX_READ).max_frame_size(MAX_READ).on_upgrade(async move |socket| {
        let connection = Connection { socket, app, id };
        if let Err(error) = connection.serve(events).await {
            tracing::debug!(execution = %id, %error, "a WebSocket is gone");
        }
        drop(held);
    }))
}

/// Browsers open WebSockets for every page, whatever its site, with the user's cookies and from the user's network.
fn refuse_other_sites(headers: &HeaderMap, allowed: &[HeaderValue]) -> std::result::Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN).filter(|origin| !allowed.contains(origin)) else {
        return Ok(());
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let uri: Option<Uri> = text(header::ORIGIN).parse().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    if authority.is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(text(header::HOST))) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        format!(
            "a page of '{}' asked for a WebSocket of '{}': only this server's own pages and those of CORS_ORIGINS may; a \
             proxy in front of it has to pass Host on",
            String::from_utf8_lossy(origin.as_bytes()),
            text(header::HOST)
        ),
    ))
}

/// What a client asks for.
#[derive(Debug, Deserialize)]
struct Frame {
    stdin: Option<String>,
    stdin_eof: Option<bool>,
    cancel: Option<bool>,
}

impl Frame {
    fn parse(text: &str) -> std::result::Result<Self, Problem> {
        let invalid = |reason: String| {
            let remedy = "send {\"stdin\": \"…\"}, {\"stdin_eof\": true} or {\"cancel\": true}";
            Problem::invalid(vec![format!("the frame can't be read: {reason}; {remedy}")])
        };
        if text.len() > MAX_FRAME {
            return Err(invalid(format!("it has {} bytes, at most {MAX_FRAME} are accepted", text.len())));
        }
        // An array would fill the members in their order.
        if !text.trim_start().starts_with('{') {
            return Err(invalid("it is not a JSON object".into()));
        }
        match serde_json::from_str(text) {
            Ok(Self { stdin: None, stdin_eof: None, cancel: None }) => {
                Err(invalid("it asks for nothing".into()))
            }
            Ok(frame) => Ok(frame),
            Err(error) => Err(invalid(error.to_string())),
        }
    }
}

struct Connection {
    socket: WebSocket,
    app: App,
    id: ExecutionId,
}

impl Connection {
    async fn serve(
        mut self,
        mut events: BoxStream<'static, Result<Event>>,
    ) -> std::result::Result<(), axum::Error> {
        let shutdown = self.app.shutdown.clone();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.stopping() => {
                    return self.close(close_code::RESTART, "the server is shutting down: connect again").await;
                }
                // Before events, so that a program that never stops writing can be cancelled.
                frame = self.socket.recv() => {
                    heard = Instant::now();
                    match frame {
                        None | Some(Ok(Message::Close(_))) => return Ok(()),
                        Some(Ok(Message::Text(text))) => self.obey(&text).await?,
                        Some(Ok(Message::Binary(_))) => {
                            let problem = Problem::invalid(vec!["the frame is binary: send text".into()]);
                            self.refuse(&problem).await?;
                        }
                        // Answered where it's read.
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Err(error)) => {
                            let reason = "a frame is too long or is none";
                            self.close(close_code::POLICY, reason).await.ok();
                            return Err(error);
                        }
                    }
                }
                event = events.next() => {
                    let told = match event {
                        None => return self.close(close_code::NORMAL, "").await,
                        Some(Ok(event)) => told(&self.app, event).await,
                        Some(Err(error)) => Err(error),
                    };
                    match told {
                        Ok(told) => self.say(&json!(told)).await?,
                        Err(error) => {
                            tracing::warn!(execution = %self.id, %error, "a follower is cut off");
                            return self.close(close_code::AGAIN, "events can't be read: connect again").await;
                        }
                    }
                }
                _ = pings.tick() => {
                    if heard.elapsed() > GONE_AFTER {
                        return Err(axum::Error::new("it says nothing any more"));
                    }
                    self.send(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    /// Does what a frame asks for; where that can't be done the client is told and the run goes on.
    async fn obey(&mut self, text: &str) -> std::result::Result<(), axum::Error> {
        match self.try_obey(text).await {
            Ok(()) => Ok(()),
            Err(problem) => self.refuse(&problem).await,
        }
    }

    async fn try_obey(&mut self, text: &str) -> std::result::Result<(), Problem> {
        let Frame { stdin, stdin_eof, cancel } = Frame::parse(text)?;
        let (engine, id) = (&self.app.engine, self.id);
        if let Some(stdin) = stdin {
            engine.send_input(id, stdin).await?;
        }
        if stdin_eof == Some(true) {
            engine.end_input(id).await?;
        }
        if cancel == Some(true) {
            engine.cancel(id).await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, problem: &Problem) -> std::result::Result<(), axum::Error> {
        self.say(&json!({ "event": "error", "data": problem.told() })).await
    }

    async fn say(&mut self, message: &Value) -> std::result::Result<(), axum::Error> {
        self.send(Message::text(message.to_string())).await
    }

    async fn close(mut self, code: u16, reason: &'static str) -> std::result::Result<(), axum::Error> {
        self.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        // Until the client has answered: what is closed before that may lose what it was sent.
        let answer = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        timeout(Duration::from_secs(1), answer).await.ok();
        Ok(())
    }

    /// A client that takes nothing holds up neither memory nor the end of the server.
    async fn send(&mut self, message: Message) -> std::result::Result<(), axum::Error> {
        let is_close = matches!(message, Message::Close(_));
        let shutdown = self.app.shutdown.clone();
        tokio::select! {
            biased;
            sent = timeout(GONE_AFTER, self.socket.send(message)) => {
                sent.unwrap_or_else(|_| Err(axum::Error::new("it takes nothing any more")))
            }
            () = shutdown.stopping(), if !is_close => Err(axum::Error::new("it takes nothing while the server ends")),
        }
    }
}
