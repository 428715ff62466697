//! What is the same of each request: its id, its span, its line in the log, its place in the metrics.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use livecode::Trace;
use tracing::{Instrument, Span};

use crate::metrics;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// As much of a path as a line of the log repeats.
const SHOWN: usize = 256;

/// Where an execution comes from that this request makes. The headers are those that [`observe`] has put in order.
pub(crate) fn trace(headers: &HeaderMap) -> Trace {
    Trace {
        request_id: valid(headers, &X_REQUEST_ID, Trace::is_request_id),
        traceparent: valid(headers, &TRACEPARENT, Trace::is_traceparent),
    }
}

fn valid(headers: &HeaderMap, name: &HeaderName, is_valid: impl Fn(&str) -> bool) -> Option<String> {
    headers.get(name)?.to_str().ok().filter(|text| is_valid(text)).map(str::to_owned)
}

/// Gives the request an id where it brings none that can be one, answers with it, and does all else within a span that has it.
pub(crate) async fn observe(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = valid(request.headers(), &X_REQUEST_ID, Trace::is_request_id)
        .unwrap_or_else(|| format!("{:032x}", fastrand::u128(..)));
    let id_header = HeaderValue::try_from(id.as_str()).ok();
    if let Some(id) = &id_header {
        request.headers_mut().insert(X_REQUEST_ID, id.clone());
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", |matched| {
        let path = matched.as_str();
        path.strip_prefix("/api").filter(|rest| rest.starts_with('/')).unwrap_or(path)
    });
    let span = span(&id, method.as_str(), route);
    #[cfg(feature = "otel")]
    crate::otel::join_request(&span, request.headers_mut());
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    metrics::answered(&method, route, status, took);
    if let Some(id) = id_header {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    let path: String = uri.path().chars().take(SHOWN).collect();
    let ms = took.as_micros() as f64 / 1e3;
    span.in_scope(|| {
        // What machines ask again and again would be most of the log.
        if route == "/metrics" || route.starts_with("/health") {
            tracing::debug!(path, status, ms, "answered");
        } else {
            tracing::info!(path, status, ms, "answered");
        }
    });
    response
}

#[cfg(not(feature = "otel"))]
fn span(id: &str, method: &str, route: &str) -> Span {
    tracing::info_span!("request", request_id = id, method, route)
}

#[cfg(feature = "otel")]
fn span(id: &str, method: &str, route: &str) -> Span {
    let name = format!("{method} {route}");
    tracing::info_span!("request", request_id = id, method, route, otel.kind = "server", otel.name = name)
}
