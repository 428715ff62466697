//! Traces by OpenTelemetry (feature `otel`): a request's span under its caller's, an attempt's under its request's.

use std::{collections::HashMap, env};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use livecode::{Error, Result, Trace};
use opentelemetry::{Context, propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

const TRACEPARENT: &str = "traceparent";

/// What exports spans in batches, by OTLP over HTTP, where the environment names an endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT`, or
/// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) and doesn't say that nothing shall be exported.
pub(crate) fn tracer() -> Result<Option<SdkTracerProvider>> {
    let is_set = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
    let is = |name: &str, word: &str| env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case(word));
    let has_endpoint = is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    if !has_endpoint || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_http().build().map_err(|error| {
        Error::invalid("traces can't be exported: see OTEL_EXPORTER_OTLP_ENDPOINT and its like")
            .with_source(error)
    })?;
    let resource = Resource::builder();
    let named = is_set("OTEL_SERVICE_NAME")
        || env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|attributes| attributes.contains("service.name="));
    let resource = if named { resource } else { resource.with_service_name("livecode-server") }.build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

/// What makes spans of ours OpenTelemetry's.
pub fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Ours only, or the exporter's own would be exported. "claimed" is over before it's known which trace it belongs to.
    let is_told = |metadata: &Metadata<'_>| {
        *metadata.level() <= Level::INFO
            && metadata.target().starts_with("livecode")
            && metadata.name() != "claimed"
    };
    tracing_opentelemetry::layer().with_tracer(provider.tracer("livecode")).with_filter(filter_fn(is_told))
}

/// Puts the span of an attempt under that of the request that its execution comes from: for
/// [`Worker::join_traces`](livecode::Worker::join_traces).
pub fn join_attempt(span: &Span, trace: &Trace) {
    if let Some(traceparent) = &trace.traceparent {
        set_parent(span, traceparent.clone());
    }
}

/// Puts the span of a request under its caller's, and itself in the place of the caller's in the headers: that's what the
/// executions belong under which it makes.
pub(crate) fn join_request(span: &Span, headers: &mut HeaderMap) {
    if let Some(traceparent) = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()) {
        set_parent(span, traceparent.to_owned());
    }
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    let own = carrier.remove(TRACEPARENT).and_then(|own| HeaderValue::try_from(own).ok());
    // None where no traces are exported: then the caller's is handed on.
    if let Some(own) = own {
        headers.insert(HeaderName::from_static(TRACEPARENT), own);
    }
}

fn set_parent(span: &Span, traceparent: String) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent)]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    if let Err(error) = span.set_parent(context) {
        tracing::debug!(%error, "a span has no parent");
    }
}
