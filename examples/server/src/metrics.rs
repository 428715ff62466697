//! `GET /metrics`: what is counted, as Prometheus reads it.
//!
//! Most is counted where it happens, by the library ([`livecode::describe_metrics`]) and below. What can be asked at any
//! moment is asked when somebody reads.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    http::{Method, header},
    response::{IntoResponse, Response},
};
use livecode::{CompileCache, CompileCacheStats, docker::DockerSandbox, process::ProcessSandbox};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::Shared, auth::Admin, problem::Problem};

/// The upper bounds of all histograms' buckets, in seconds: from what a warm start takes to what a client may wait.
const BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How long the queue may take to say how much is in it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often what histograms were given is sorted into their buckets, which else only who reads them does: where nobody
/// does, it would pile up.
const SORTED_EVERY: Duration = Duration::from_secs(5);

const QUEUE_UP: &str = "livecode_queue_up";
const QUEUE_JOBS: &str = "livecode_queue_jobs";
const QUEUE_OLDEST: &str = "livecode_queue_oldest_waiting_seconds";
const REQUESTS: &str = "livecode_http_requests_total";
const REQUEST_SECONDS: &str = "livecode_http_request_duration_seconds";
const EVENT_STREAMS: &str = "livecode_http_event_streams";
const WARM_WAITING: &str = "livecode_warm_waiting";
const WARM_HITS: &str = "livecode_warm_hits_total";
const WARM_MISSES: &str = "livecode_warm_misses_total";
const WARM_FAILURES: &str = "livecode_warm_failures_total";
const WEBHOOKS: &str = "livecode_webhook_tries_total";
const CACHE_HITS: &str = "livecode_compile_cache_hits_total";
const CACHE_MISSES: &str = "livecode_compile_cache_misses_total";
const CACHE_ENTRIES: &str = "livecode_compile_cache_entries";
const CACHE_BYTES: &str = "livecode_compile_cache_bytes";

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(scrape))
}

/// The process's one recorder, from the first call on; none where another was installed before.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let install = || match install() {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "metrics are not collected");
            None
        }
    };
    RECORDER.get_or_init(install).as_ref()
}

fn install() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new();
    let handle =
        builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?.install_recorder()?;
    livecode::describe_metrics();
    metrics_process::Collector::default().describe();
    describe_gauge!(QUEUE_UP, "1 where the queue answered just now");
    describe_gauge!(
        QUEUE_JOBS,
        "Jobs in the queue, the same from every process that shares it; NaN while it's down"
    );
    describe_gauge!(
        QUEUE_OLDEST,
        Unit::Seconds,
        "How long the job that has waited longest could have been claimed, 0 where none waits; NaN while the queue is down"
    );
    describe_counter!(REQUESTS, "Requests that were answered");
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "Until an answer began: what is held back by wait_ms counts"
    );
    describe_gauge!(EVENT_STREAMS, "Event streams that are open");
    describe_gauge!(
        WARM_WAITING,
        "Sandboxes or containers that wait for a program, as of the last word about it"
    );
    describe_counter!(WARM_HITS, "Programs that found one waiting");
    describe_counter!(WARM_MISSES, "Programs that found none");
    describe_counter!(WARM_FAILURES, "Sandboxes or containers that could not be started ahead");
    describe_counter!(CACHE_HITS, "Programs that began from what an earlier compile step had left");
    describe_counter!(CACHE_MISSES, "Programs that were compiled and might have begun so");
    describe_gauge!(CACHE_ENTRIES, "Compile steps of which something is kept");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "What is kept of compile steps");
    describe_counter!(WEBHOOKS, "Tries to tell a receiver of an execution's end");
    gauge!(EVENT_STREAMS).increment(0.0);
    for result in ["delivered", "retried", "failed"] {
        counter!(WEBHOOKS, "result" => result).increment(0);
    }
    // There from the first look on, and 0 where programs run elsewhere.
    tell_warm(0, 0, 0, 0);
    tell_cache(CompileCacheStats::default());
    Ok(handle)
}

/// Keeps the memory bounded that metrics take where nobody reads them; never returns.
pub async fn keep_metrics() {
    let mut ticks = tokio::time::interval(SORTED_EVERY);
    loop {
        ticks.tick().await;
        if let Some(recorder) = recorder() {
            recorder.run_upkeep();
        }
    }
}

/// What programs run in, where it counts for itself.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Interpreters that boot ahead.
    pub process: Option<ProcessSandbox>,
    /// Containers that wait.
    pub docker: Option<DockerSandbox>,
    /// Compile steps that are kept.
    pub cache: Option<Arc<CompileCache>>,
}

impl Watched {
    fn tell(&self) {
        if let Some(process) = &self.process {
            let stats = process.warm_stats();
            tell_warm(stats.waiting, stats.hits, stats.misses, stats.failures);
        }
        if let Some(docker) = &self.docker {
            let stats = docker.pool_stats();
            tell_warm(stats.waiting, stats.hits, stats.misses, stats.failures);
        }
        if let Some(cache) = &self.cache {
            tell_cache(cache.stats());
        }
    }
}

fn tell_cache(stats: CompileCacheStats) {
    counter!(CACHE_HITS).absolute(stats.hits);
    counter!(CACHE_MISSES).absolute(stats.misses);
    gauge!(CACHE_ENTRIES).set(stats.entries as f64);
    gauge!(CACHE_BYTES).set(stats.bytes as f64);
}

fn tell_warm(waiting: u64, hits: u64, misses: u64, failures: u64) {
    gauge!(WARM_WAITING).set(waiting as f64);
    counter!(WARM_HITS).absolute(hits);
    counter!(WARM_MISSES).absolute(misses);
    counter!(WARM_FAILURES).absolute(failures);
}

/// Read the metrics
///
/// As Prometheus does. Where callers sign in it's for the role admin.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "All of them, as text", body = String, content_type = "text/plain")),
)]
async fn scrape(Admin(app): Admin) -> Response {
    let Some(recorder) = recorder() else {
        return Problem::unavailable(
            "metrics are not collected: another recorder was installed in this process",
        )
        .into_response();
    };
    let stats = tokio::time::timeout(PATIENCE, app.engine.queue_stats()).await;
    let stats = stats.ok().and_then(Result::ok);
    gauge!(QUEUE_UP).set(if stats.is_some() { 1.0 } else { 0.0 });
    let of = |count: Option<u64>| count.map_or(f64::NAN, |count| count as f64);
    gauge!(QUEUE_JOBS, "state" => "waiting").set(of(stats.map(|stats| stats.waiting)));
    gauge!(QUEUE_JOBS, "state" => "delayed").set(of(stats.map(|stats| stats.delayed)));
    gauge!(QUEUE_JOBS, "state" => "leased").set(of(stats.map(|stats| stats.leased)));
    let oldest = stats.map(|stats| stats.oldest_waiting.unwrap_or_default());
    gauge!(QUEUE_OLDEST).set(oldest.map_or(f64::NAN, |oldest| oldest.as_secs_f64()));
    app.watched.tell();
    metrics_process::Collector::default().collect();
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], recorder.render()).into_response()
}

/// Counts a request. `route` is the template that it met, never its path.
pub(crate) fn answered(method: &Method, route: &str, status: u16, took: Duration) {
    // A client may invent others.
    let method = match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let route = route.to_owned();
    histogram!(REQUEST_SECONDS, "method" => method, "route" => route.clone()).record(took);
    counter!(REQUESTS, "method" => method, "route" => route, "status" => status.to_string()).increment(1);
}

/// Counts a try: `delivered`, `retried` where there will be another one, `failed` where it was the last.
pub(crate) fn webhook(result: &'static str) {
    counter!(WEBHOOKS, "result" => result).increment(1);
}

/// An event stream, for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenStream(());

impl OpenStream {
    pub(crate) fn begin() -> Self {
        gauge!(EVENT_STREAMS).increment(1.0);
        Self(())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        gauge!(EVENT_STREAMS).decrement(1.0);
    }
}
