//! The log: request ids, from the API to the worker.

use std::{
    io::Write,
    sync::{Arc, LazyLock, Mutex},
};

use axum::http::StatusCode;
use clap::Parser;
use livecode::ErrorKind;
use livecode_server::{Config, LogFormat, Webhooks, log_layer};
use serde_json::{Value, json};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    fake::{Broken, SECRET},
    server::{Server, Setup},
    until,
};

/// What was written so far.
#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// All lines with that text in them.
    fn grep(&self, text: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        lines.filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

/// What all tests of this process write, in both formats.
#[derive(Debug, Default)]
pub(crate) struct Log {
    text: Written,
    json: Written,
}

/// What is written, from the first call on.
pub(crate) fn log() -> &'static Log {
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let log = Log::default();
        let (text, json) = (log.text.clone(), log.json.clone());
        let layers = vec![
            log_layer(LogFormat::Text, false, move || text.clone()).with_filter(LevelFilter::INFO).boxed(),
            // Whatever an operator may ask for.
            log_layer(LogFormat::Json, false, move || json.clone()).with_filter(LevelFilter::TRACE).boxed(),
        ];
        let registry = tracing_subscriber::registry().with(layers);
        #[cfg(feature = "otel")]
        let registry = registry.with(crate::traces::layer());
        registry.init();
        log
    });
    &LOG
}

/// Runs a program under this request id, and waits until its worker has told the end.
async fn run(server: &Server, request_id: &str, source: &str) {
    let body = json!({ "language": "python", "source_code": source, "wait_ms": 60_000 });
    let answer = server.post_with("/executions", &[("x-request-id", request_id)], body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("x-request-id"), request_id);
    until("the worker's line", async || {
        log().text.grep(request_id).iter().any(|line| line.contains("ended")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_id_finds_the_lines_of_the_api_and_of_the_worker() {
    log();
    let server = Server::start();
    run(&server, "from-a-client/1", "exit 3").await;
    for written in [&log().text, &log().json] {
        let lines = written.grep("from-a-client/1");
        assert!(
            lines.iter().any(|line| line.contains("answered") && line.contains("/executions")),
            "{lines:?}"
        );
        assert!(lines.iter().any(|line| line.contains("ended") && line.contains("FAILED")), "{lines:?}");
    }
    let lines = log().json.grep("from-a-client/1");
    let ended = lines.iter().find(|line| line.contains("\"ended\"")).unwrap();
    let ended: Value = serde_json::from_str(ended).unwrap();
    assert_eq!((&ended["message"], &ended["level"]), (&json!("ended"), &json!("INFO")));
    assert_eq!(ended["error_type"], "RuntimeError");
    assert_eq!(ended["span"]["request_id"], "from-a-client/1");
    assert_eq!((&ended["span"]["name"], &ended["span"]["language"]), (&json!("attempt"), &json!("python")));
}

#[tokio::test]
async fn a_request_without_a_good_id_gets_a_new_one() {
    log();
    let server = Server::start();
    let long = "x".repeat(129);
    let mut given = Vec::new();
    for sent in [None, Some(""), Some("two words"), Some("caf\u{e9}"), Some("tab\tbed"), Some(long.as_str())]
    {
        let header = sent.map(|id| ("x-request-id", id));
        let answer = server.send(crate::server::request(
            axum::http::Method::GET,
            "/languages",
            header.as_slice(),
            None,
        ));
        let id = answer.await.header("x-request-id").to_owned();
        assert_eq!(id.len(), 32, "{sent:?}");
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(!given.contains(&id), "{id}");
        assert!(!log().text.grep(&id).is_empty());
        given.push(id);
    }
    let longest = "x".repeat(128);
    let answer = server.post_with("/code-sessions", &[("x-request-id", &longest)], json!({})).await;
    assert_eq!(answer.header("x-request-id"), longest);
    assert_eq!(server.get("/nothing/here").await.header("x-request-id").len(), 32, "whatever is answered");
}

#[tokio::test]
async fn a_repeated_request_may_have_another_id() {
    log();
    let server = Server::idle();
    let body = json!({ "language": "python", "source_code": "out 1" });
    let send = async |id| {
        let headers = [("idempotency-key", "k"), ("x-request-id", id)];
        server.post_with("/executions", &headers, body.clone()).await
    };
    let (first, second) = (send("first").await, send("second").await);
    assert_eq!((first.status, second.status), (StatusCode::ACCEPTED, StatusCode::OK));
    assert_eq!(first.text("execution_id"), second.text("execution_id"));
}

#[tokio::test]
async fn why_a_request_failed_is_in_the_log_under_its_id_and_not_in_its_answer() {
    log();
    let store = Arc::new(Broken { kind: ErrorKind::Internal, accepts: false });
    let server = Setup { store, worker: false, ..Setup::default() }.start();
    let body = json!({ "language": "python", "source_code": "out 1" });
    let answer = server.post_with("/executions", &[("x-request-id", "unlucky")], body).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.header("x-request-id"), "unlucky");
    assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET));
    let lines = log().text.grep("unlucky");
    assert!(lines.iter().any(|line| line.contains("ERROR") && line.contains(SECRET)), "{lines:?}");
}

#[tokio::test]
async fn what_clients_send_is_not_in_the_log_at_any_level() {
    log();
    let secret = ["", "--webhook-secret", "hunter2-hunter2-hunter2-hunter2-hunter2"];
    let webhooks = ["--webhook-allow", "127.0.0.0/8", "--webhook-attempts", "1"];
    let config = Config::parse_from(secret.iter().chain(&webhooks));
    let server = Setup { webhooks: Webhooks::open(&config.webhooks).unwrap(), ..Setup::default() }.start();
    let body = json!({
        "callback_url": "http://127.0.0.1:1/hunter2-path?token=hunter2-token",
        "language": "python", "source_code": "out hunter2-source\nerr hunter2-stderr\nenv\nexit 1", "stdin": "hunter2-stdin",
        "args": ["hunter2-arg"], "env": { "TOKEN": "hunter2-env" }, "files": [{ "path": "a", "content": "hunter2-file" }],
        "wait_ms": 60_000,
    });
    let headers = [
        ("authorization", "Bearer hunter2-token"),
        ("cookie", "s=hunter2-cookie"),
        ("x-request-id", "secretive"),
        ("idempotency-key", "hunter2-key"),
    ];
    let answer = server.post_with("/executions?token=hunter2-query", &headers, body).await;
    assert_eq!(answer.text("stdout").lines().next(), Some("hunter2-source"));
    let read = format!("/executions/{}", answer.text("id"));
    until("the end of its delivery", async || {
        let record = server.get(&read).await.json();
        (record["callback"]["status"] == "FAILED").then_some(())
    })
    .await;
    assert!(!log().json.grep("a receiver could not be reached").is_empty());
    run(&server, "after-it", "out 1").await;
    assert!(!log().json.grep("secretive").is_empty());
    for written in [&log().text, &log().json] {
        assert_eq!(written.grep("hunter2"), Vec::<String>::new());
    }
}
