//! `GET /metrics`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use axum::http::{Method, StatusCode};
use livecode::{Engine, Error, Job, Lease, MemoryQueue, MemoryStore, Queue, QueueStats, Result};
use livecode_server::{App, Shutdown, worker_app};
use serde_json::{Value, json};

use crate::{
    exposition::{self, Family},
    fake::Fake,
    server::{Answer, Server, request},
    until,
};

/// What is there after a run, by name and kind.
const PROMISED: [(&str, &str); 31] = [
    ("livecode_queue_up", "gauge"),
    ("livecode_queue_jobs", "gauge"),
    ("livecode_queue_oldest_waiting_seconds", "gauge"),
    ("livecode_executions_accepted_total", "counter"),
    ("livecode_executions_ended_total", "counter"),
    ("livecode_executions_given_up_total", "counter"),
    ("livecode_execution_wait_seconds", "histogram"),
    ("livecode_execution_run_seconds", "histogram"),
    ("livecode_attempts_started_total", "counter"),
    ("livecode_attempts_retried_total", "counter"),
    ("livecode_attempts_lost_total", "counter"),
    ("livecode_programs_running", "gauge"),
    ("livecode_sandbox_errors_total", "counter"),
    ("livecode_warm_waiting", "gauge"),
    ("livecode_warm_hits_total", "counter"),
    ("livecode_warm_misses_total", "counter"),
    ("livecode_warm_failures_total", "counter"),
    ("livecode_webhook_tries_total", "counter"),
    ("livecode_compile_cache_hits_total", "counter"),
    ("livecode_compile_cache_misses_total", "counter"),
    ("livecode_compile_cache_entries", "gauge"),
    ("livecode_compile_cache_bytes", "gauge"),
    ("livecode_http_requests_total", "counter"),
    ("livecode_http_request_duration_seconds", "histogram"),
    ("livecode_http_event_streams", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_threads", "gauge"),
];

fn families(answer: &Answer) -> BTreeMap<String, Family> {
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    exposition::parse(std::str::from_utf8(&answer.body).unwrap())
}

async fn scrape(server: &Server) -> BTreeMap<String, Family> {
    families(&server.get("/metrics").await)
}

/// The families as soon as this many runs of that kind are in them.
async fn ended(server: &Server, labels: &[(&str, &str)], runs: f64) -> BTreeMap<String, Family> {
    until("the runs are counted", async || {
        let families = scrape(server).await;
        let counted = families.get("livecode_executions_ended_total")?.value(labels);
        (counted >= runs).then_some(families)
    })
    .await
}

#[tokio::test]
async fn what_is_promised_is_there_after_a_run() {
    let server = Server::start();
    let id = server.program("out 1").await;
    server.end(&id).await;
    let families = ended(&server, &[("status", "COMPLETED"), ("error_type", "none")], 1.0).await;
    for (name, kind) in PROMISED {
        assert_eq!(families.get(name).map(|family| family.kind.as_str()), Some(kind), "{name}");
    }
    assert_eq!(families["livecode_queue_up"].value(&[]), 1.0);
    let states = families["livecode_queue_jobs"].samples.iter().map(|sample| sample.labels["state"].as_str());
    assert_eq!(states.collect::<BTreeSet<_>>(), ["delayed", "leased", "waiting"].into());
    // Twelve milliseconds, as the fake says of every program.
    let runs = &families["livecode_execution_run_seconds"];
    let within = |bound: &str| {
        let bucket = |sample: &&exposition::Sample| {
            sample.labels.get("le").is_some_and(|le| le == bound)
                && sample.labels["status"] == "COMPLETED"
                && sample.labels["language"] == "python"
        };
        runs.samples.iter().find(bucket).unwrap().value
    };
    assert_eq!(within("0.01"), 0.0);
    assert!(within("0.025") >= 1.0);
}

#[tokio::test]
async fn runs_are_counted_by_language_and_outcome() {
    let server = Server::start();
    let body = json!({ "language": "rb", "source_code": "hungry" });
    let accepted = server.post("/executions", body).await;
    server.end(&accepted.text("execution_id")).await;
    let labels = [("language", "ruby"), ("status", "FAILED"), ("error_type", "MemoryLimitError")];
    let families = ended(&server, &labels, 1.0).await;
    assert_eq!(families["livecode_execution_run_seconds"].value(&labels), 1.0);
    assert_eq!(families["livecode_execution_wait_seconds"].value(&labels[..1]), 1.0);
    assert_eq!(families["livecode_executions_accepted_total"].value(&labels[..1]), 1.0);
}

#[tokio::test]
async fn requests_are_counted_by_template_and_nothing_that_clients_make_up_is_a_label() {
    let server = Server::idle();
    let id = server.program("out 1").await;
    server.get(&format!("/executions/{id}")).await;
    server.get(&format!("/api/executions/{id}")).await;
    server.get("/made/up").await;
    server.get("/api/made/up").await;
    server.send(request(Method::from_bytes(b"MADEUP").unwrap(), "/health/live", &[], None)).await;
    let families = scrape(&server).await;
    let requests = &families["livecode_http_requests_total"];
    let read = [("method", "GET"), ("route", "/executions/{id}")];
    assert!(requests.value(&[read[0], read[1], ("status", "200")]) >= 2.0, "with /api and without");
    assert!(families["livecode_http_request_duration_seconds"].value(&read) >= 2.0);
    assert!(requests.value(&[("route", "unmatched"), ("status", "404")]) >= 2.0);
    assert_eq!(requests.value(&[("method", "other"), ("route", "/health/live"), ("status", "405")]), 1.0);
    for sample in families.values().flat_map(|family| &family.samples) {
        for (label, value) in &sample.labels {
            assert!(!value.contains(&id) && !value.contains("made") && !value.contains("MADE"), "{sample:?}");
            assert_ne!(label, "owner");
        }
    }
}

#[tokio::test]
async fn open_event_streams_are_counted_until_they_close() {
    let server = Server::start();
    let open = async || scrape(&server).await["livecode_http_event_streams"].value(&[]);
    assert_eq!(open().await, 0.0);
    let id = server.program("wait").await;
    let (_, first) = server.follow(&id, None).await;
    let (_, second) = server.follow(&id, None).await;
    assert_eq!(open().await, 2.0);
    drop(first);
    assert_eq!(open().await, 1.0);
    server.fake.release();
    second.rest().await;
    assert_eq!(open().await, 0.0);
}

/// Is down.
#[derive(Debug)]
struct Down;

#[async_trait]
impl Queue for Down {
    async fn push(&self, _: &[Job]) -> Result<()> {
        Err(Error::unavailable("the queue is down"))
    }

    async fn claim(&self, _: usize, _: std::time::Duration, _: std::time::Duration) -> Result<Vec<Lease>> {
        Err(Error::unavailable("the queue is down"))
    }

    async fn extend(&self, _: &[Lease], _: std::time::Duration) -> Result<Vec<Lease>> {
        Err(Error::unavailable("the queue is down"))
    }

    async fn ack(&self, _: &[Lease]) -> Result<()> {
        Err(Error::unavailable("the queue is down"))
    }

    async fn stats(&self) -> Result<QueueStats> {
        Err(Error::unavailable("the queue is down"))
    }
}

/// What a worker alone answers with.
fn worker_alone(queue: impl Queue) -> Server {
    let engine = Engine::new(Arc::new(MemoryStore::default()), Arc::new(queue));
    Server {
        router: worker_app(App::new(engine, None, Shutdown::default())),
        fake: Arc::new(Fake::default()),
        shutdown: Shutdown::default(),
    }
}

#[tokio::test]
async fn a_worker_alone_tells_its_metrics_and_those_of_its_queue() {
    let queue = MemoryQueue::default();
    let owner = livecode::Owner::anonymous();
    let id = livecode::ExecutionId::generate(livecode::Clock::now(&livecode::SystemClock));
    let job = Job { id, attempt: 1, owner, delay: std::time::Duration::from_secs(9), priority: 0 };
    queue.push(&[job]).await.unwrap();
    let server = worker_alone(queue);
    // Others in this process look at queues of their own.
    until("the queue of this worker is told", async || {
        let families = scrape(&server).await;
        (families["livecode_queue_jobs"].value(&[("state", "delayed")]) == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_is_down_is_told_and_nothing_else_is_missing() {
    let server = worker_alone(Down);
    until("the queue is down", async || {
        let families = scrape(&server).await;
        let is_unknown = families["livecode_queue_jobs"].value(&[("state", "waiting")]).is_nan();
        (families["livecode_queue_up"].value(&[]) == 0.0 && is_unknown).then_some(())
    })
    .await;
    assert!(scrape(&server).await.contains_key("process_open_fds"));
}

/// All texts of the dashboard that are queries.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(query) if name == "expr" || name == "query" => found.push(query.clone()),
                    member => queries(member, found),
                }
            }
        }
        Value::Array(members) => members.iter().for_each(|member| queries(member, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_are_there() {
    let dashboard: Value = serde_json::from_str(include_str!("../../grafana-dashboard.json")).unwrap();
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    assert!(found.len() > 10, "{found:?}");
    let mut asked = BTreeSet::new();
    for query in &found {
        let words = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        for word in words.filter(|word| word.starts_with("livecode_") || word.starts_with("process_")) {
            let is_there = PROMISED.iter().any(|(name, kind)| match word.strip_prefix(name) {
                Some("") => *kind != "histogram",
                Some("_bucket" | "_sum" | "_count") => *kind == "histogram",
                Some(_) | None => false,
            });
            assert!(is_there, "{word} in {query}");
            asked.insert(word);
        }
    }
    assert!(asked.len() > 15, "{asked:?}");
}
