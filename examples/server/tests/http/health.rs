//! Health and languages.

use std::sync::{Arc, atomic::Ordering};

use axum::http::StatusCode;
use livecode::ErrorKind;
use livecode::{Engine, MemoryQueue, MemoryStore};
use livecode_server::{App, Shutdown, worker_app};
use serde_json::{Value, json};

use crate::{
    fake::{Broken, Fake, SECRET},
    server::{Server, Setup},
};

#[tokio::test]
async fn a_server_that_lives_says_so() {
    let server = Server::idle();
    for path in ["/health", "/health/live"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.text("status")), (StatusCode::OK, "ok".into()));
    }
}

#[tokio::test]
async fn ready_names_every_part() {
    let server = Server::idle();
    server.program("out 1").await;
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(
        ready.json(),
        json!({ "status": "ok", "parts": {
            "store": { "status": "ok", "name": "memory" },
            "queue": { "status": "ok", "name": "memory", "waiting": 1, "delayed": 0, "leased": 0 },
            "sandbox": { "status": "ok", "name": "fake", "missing": ["everything: it is a fake"] },
        } })
    );
}

#[tokio::test]
async fn ready_is_503_and_names_the_part_that_is_down() {
    let store = Arc::new(Broken { kind: ErrorKind::Unavailable, accepts: false });
    let server = Setup { store, worker: false, ..Setup::default() }.start();
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.text("detail"), "the store (memory) is down");
    assert_eq!(ready.json()["parts"]["store"]["status"], "down");
    assert_eq!(ready.json()["parts"]["queue"]["status"], "ok");
    assert_ne!(ready.header("retry-after"), "");
    assert!(!String::from_utf8_lossy(&ready.body).contains(SECRET));
    assert_eq!(server.get("/health/live").await.status, StatusCode::OK, "it lives all the same");
}

/// The entry of one language in what `/languages` gives.
fn entry<'a>(languages: &'a Value, name: &str) -> &'a Value {
    languages.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap()
}

#[tokio::test]
async fn languages_come_with_version_template_and_limits() {
    let server = Server::idle();
    let languages = server.get("/languages").await.json();
    assert_eq!(languages.as_array().unwrap().len(), 12);
    let [python, javascript, c] = ["python", "javascript", "c"].map(|name| entry(&languages, name));
    assert_eq!(python["aliases"], json!(["python3", "py"]));
    assert_eq!((&python["available"], &python["version"]), (&json!(true), &json!("Python 3.13.1")));
    assert_eq!(python["file_name"], "main.py");
    assert_eq!(python["template"], "print(\"Hello World\")\n");
    assert_eq!(python["limits"]["wall_time_ms"], 10_000);
    assert_eq!((&python["compile_limits"], &python["unavailable_reason"]), (&Value::Null, &Value::Null));
    assert_eq!(c["compile_limits"]["wall_time_ms"], 30_000);
    assert_eq!((&javascript["available"], &javascript["version"]), (&json!(false), &Value::Null));
    assert_eq!(javascript["unavailable_reason"], "node isn't installed here: install it");
}

#[tokio::test]
async fn a_language_that_failed_for_now_is_asked_again_and_the_others_are_not() {
    let server = Server::idle();
    server.fake.overloaded.store(true, Ordering::Relaxed);
    let languages = server.get("/languages").await.json();
    let python = entry(&languages, "python");
    assert_eq!(python["available"], false);
    assert_eq!(python["unavailable_reason"], "the fake is overloaded", "without its cause");
    server.fake.overloaded.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        let languages = server.get("/languages").await.json();
        let [python, javascript] = ["python", "javascript"].map(|name| entry(&languages, name));
        assert_eq!((&python["available"], &python["version"]), (&json!(true), &json!("Python 3.13.1")));
        assert_eq!(javascript["unavailable_reason"], "node isn't installed here: install it");
    }
    assert_eq!(server.fake.asked.load(Ordering::Relaxed), 1 + 2 * 11, "javascript once, the others twice");
}

#[tokio::test]
async fn a_process_that_runs_nothing_does_not_claim_to_know_versions() {
    let engine = Engine::new(Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let server = Server {
        router: livecode_server::app(App::new(engine, None, Shutdown::default())),
        fake: Arc::new(Fake::default()),
        shutdown: Shutdown::default(),
    };
    let languages = server.get("/languages").await.json();
    let python = entry(&languages, "python");
    assert_eq!((&python["available"], &python["version"]), (&Value::Null, &Value::Null));
    assert_eq!(server.get("/health/ready").await.json()["parts"]["sandbox"], Value::Null);
}

#[tokio::test]
async fn a_worker_alone_answers_for_its_health_only() {
    let engine = Engine::new(Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let server = Server {
        router: worker_app(App::new(engine, None, Shutdown::default())),
        fake: Arc::new(Fake::default()),
        shutdown: Shutdown::default(),
    };
    assert_eq!(server.get("/health/ready").await.status, StatusCode::OK);
    assert_eq!(server.get("/languages").await.status, StatusCode::NOT_FOUND);
}
