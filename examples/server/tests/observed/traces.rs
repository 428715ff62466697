//! Traces by OpenTelemetry.

use std::sync::{Arc, LazyLock, Mutex};

use opentelemetry::{
    SpanId,
    trace::{SpanKind, TraceId},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use serde_json::json;
use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

use crate::{logs, server::Server, until};

/// Keeps what it's to export.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(spans);
        Ok(())
    }
}

static KEPT: LazyLock<Kept> = LazyLock::new(Kept::default);

/// What exports the spans of this process.
pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let provider = SdkTracerProvider::builder().with_simple_exporter(KEPT.clone()).build();
    livecode_server::otel::layer(&provider)
}

/// The spans of a trace as soon as there is an attempt among them that has ended.
async fn spans_of(trace: &str) -> Vec<SpanData> {
    let trace = TraceId::from_hex(trace).unwrap();
    until("the span of the attempt", async || {
        let kept = KEPT.0.lock().unwrap();
        let spans: Vec<_> =
            kept.iter().filter(|span| span.span_context.trace_id() == trace).cloned().collect();
        spans.iter().any(|span| span.name == "attempt").then_some(spans)
    })
    .await
}

async fn run(traceparent: &str) {
    logs::log();
    let server = Server::start();
    let body = json!({ "language": "python", "source_code": "out 1", "wait_ms": 60_000 });
    server.post_with("/executions", &[("traceparent", traceparent)], body).await;
}

#[tokio::test]
async fn an_attempt_is_in_the_trace_of_its_request_under_the_requests_span() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    run(&format!("00-{trace}-00f067aa0ba902b7-01")).await;
    let spans = spans_of(trace).await;
    let named = |name: &str| {
        spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:?}"))
    };
    let (request, attempt) = (named("POST /executions"), named("attempt"));
    assert_eq!(request.parent_span_id, SpanId::from_hex("00f067aa0ba902b7").unwrap(), "under its caller's");
    assert_eq!(request.span_kind, SpanKind::Server);
    assert_eq!(attempt.parent_span_id, request.span_context.span_id());
    assert!(spans.iter().all(|span| span.name != "claimed"));
}

#[tokio::test]
async fn a_caller_who_does_not_want_a_trace_gets_none() {
    let trace = "5bf92f3577b34da6a3ce929d0e0e4736";
    run(&format!("00-{trace}-00f067aa0ba902b7-00")).await;
    let other = "6bf92f3577b34da6a3ce929d0e0e4736";
    run(&format!("00-{other}-00f067aa0ba902b7-01")).await;
    spans_of(other).await;
    let kept = KEPT.0.lock().unwrap();
    let trace = TraceId::from_hex(trace).unwrap();
    assert!(kept.iter().all(|span| span.span_context.trace_id() != trace));
}
