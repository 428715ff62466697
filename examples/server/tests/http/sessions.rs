//! Sessions and their revisions.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Server, Setup, request};

#[tokio::test]
async fn a_session_without_a_body_is_python_with_its_template() {
    let server = Server::idle();
    let answer = server.send(request(Method::POST, "/code-sessions", &[], None)).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("etag"), "\"1\"");
    let made = answer.json();
    assert_eq!(
        (&made["status"], &made["language"], &made["revision"]),
        (&json!("ACTIVE"), &json!("python"), &json!(1))
    );
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'), "{made}");
    let id = answer.text("session_id");
    let session = server.get(&format!("/code-sessions/{id}")).await.json();
    assert_eq!(session["source_code"], "print(\"Hello World\")\n");
    assert_eq!(session["session_id"], json!(id));
    assert_eq!(session["files"], json!([]));
}

#[tokio::test]
async fn the_source_goes_by_every_accepted_name() {
    let server = Server::idle();
    for name in ["source_code", "sourceCode", "template_code", "templateCode", "code"] {
        let body = json!({ name: "out 1", "language": "js", "unknown": { "is": "ignored" } });
        let answer = server.post("/code-sessions?unknown=ignored", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{name}: {answer:?}");
        let session = server.get(&format!("/code-sessions/{}", answer.text("session_id"))).await.json();
        assert_eq!(session["source_code"], "out 1", "{name}");
        assert_eq!(session["language"], "javascript", "an alias becomes the canonical name");
    }
    let id = server.session("out 0").await;
    for (at, name) in ["source_code", "sourceCode", "code"].into_iter().enumerate() {
        let source = format!("out {name}");
        let saved = server.patch(&format!("/code-sessions/{id}"), &[], json!({ name: source })).await;
        assert_eq!(saved.status, StatusCode::OK, "{saved:?}");
        assert_eq!(saved.json()["revision"], json!(at + 2));
    }
}

#[tokio::test]
async fn every_path_answers_under_api_as_well() {
    let server = Server::start();
    let made = server.post("/api/code-sessions", json!({ "code": "out hi" })).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let id = made.text("session_id");
    let run = server.post(&format!("/api/sessions/{id}/run"), json!({ "wait_ms": 60_000 })).await;
    assert_eq!(run.status, StatusCode::OK, "{run:?}");
    assert_eq!(run.text("stdout"), "hi\n");
    for path in ["/languages", "/health", "/health/live", "/health/ready", ""] {
        assert_eq!(server.get(&format!("/api{path}")).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(server.get("/api/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn saving_makes_revisions_that_can_be_read_again() {
    let server = Server::idle();
    let id = server.session("out 1").await;
    let path = format!("/code-sessions/{id}");
    for n in 2..=5 {
        let saved = server.patch(&path, &[], json!({ "source_code": format!("out {n}") })).await;
        assert_eq!(saved.status, StatusCode::OK);
        assert_eq!(saved.header("etag"), format!("\"{n}\""));
        let body = saved.json();
        assert_eq!(
            (&body["session_id"], &body["status"], &body["revision"]),
            (&json!(id), &json!("ACTIVE"), &json!(n))
        );
        assert!(body["updated_at"].is_string());
    }
    let unchanged = server.patch(&path, &[], json!({ "source_code": "out 5" })).await;
    assert_eq!(unchanged.json()["revision"], 5, "the same source is no new revision");

    let first = server.get(&format!("{path}/revisions?limit=3")).await;
    let numbers = |page: Value| -> Vec<u64> {
        let entries = page.as_array().unwrap().iter();
        entries.map(|entry| entry["revision"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(first.json()), [5, 4, 3]);
    assert_eq!(first.header("link"), format!("<{path}/revisions?limit=3&before=3>; rel=\"next\""));
    let second = server.get(&format!("{path}/revisions?limit=3&before=3")).await;
    assert_eq!(numbers(second.json()), [2, 1]);
    assert_eq!(second.header("link"), "");

    let third = server.get(&format!("{path}/revisions/3")).await.json();
    assert_eq!((&third["source_code"], &third["revision"]), (&json!("out 3"), &json!(3)));
    for missing in ["0", "6", "18446744073709551615"] {
        let answer = server.get(&format!("{path}/revisions/{missing}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{missing}");
    }
    assert_eq!(server.get(&format!("{path}/revisions/x")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn if_match_lets_only_the_current_revision_through() {
    let server = Server::idle();
    let path = format!("/code-sessions/{}", server.session("out 1").await);
    let save = async |tag: &str, source: &str| {
        server.patch(&path, &[("if-match", tag)], json!({ "source_code": source })).await.status
    };
    assert_eq!(save("\"1\"", "out 2").await, StatusCode::OK);
    assert_eq!(save("\"1\"", "out 3").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(save("\"abc\"", "out 3").await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        save("1", "out 3").await,
        StatusCode::PRECONDITION_FAILED,
        "without the quotes it means the same"
    );
    assert_eq!(save("abc", "out 3").await, StatusCode::BAD_REQUEST);
    assert_eq!(server.get(&path).await.text("source_code"), "out 2");
    assert_eq!(save("*", "out 3").await, StatusCode::OK);
}

#[tokio::test]
async fn a_closed_session_can_be_read_but_not_saved_or_run() {
    let server = Server::idle();
    let id = server.session("out 1").await;
    let path = format!("/code-sessions/{id}");
    for _ in 0..2 {
        let closed = server.delete(&path).await;
        assert_eq!(closed.status, StatusCode::OK);
        assert_eq!(closed.json(), json!({ "session_id": id, "status": "INACTIVE" }));
    }
    assert_eq!(server.get(&path).await.text("status"), "INACTIVE");
    let saved = server.patch(&path, &[], json!({ "code": "out 2" })).await;
    assert_eq!(saved.status, StatusCode::CONFLICT);
    for body in [json!({}), json!({ "code": "out 2" })] {
        let run = server.post(&format!("{path}/run"), body).await;
        assert_eq!(run.status, StatusCode::CONFLICT, "{run:?}");
    }
}

#[tokio::test]
async fn files_are_text_or_base64_and_come_back_so() {
    let server = Server::start();
    let files = json!([
        { "path": "data/a.txt", "content": "text" },
        { "path": "b.bin", "content_base64": "/wA=" },
    ]);
    let made = server.post("/code-sessions", json!({ "code": "files", "files": files })).await;
    let id = made.text("session_id");
    assert_eq!(server.get(&format!("/code-sessions/{id}")).await.json()["files"], files);
    let run = server.post(&format!("/code-sessions/{id}/run?wait_ms=60000"), json!({})).await;
    assert_eq!(run.text("stdout"), "main.py 5\ndata/a.txt 4\nb.bin 2\n");

    let bad = json!([
        { "path": "a" },
        { "path": "b", "content": "", "content_base64": "" },
        { "path": "c", "content_base64": "?" },
    ]);
    let refused = server.post("/code-sessions", json!({ "files": bad })).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.json()["details"].as_array().unwrap().len(), 3, "{refused:?}");
}

#[tokio::test]
async fn a_source_at_the_limit_is_taken_and_one_beyond_refused() {
    let server = Setup {
        ceiling: livecode::Ceiling { source_chars: 10, ..livecode::Ceiling::default() },
        worker: false,
        ..Setup::default()
    }
    .start();
    let at = server.post("/code-sessions", json!({ "code": "äöü4567890" })).await;
    assert_eq!(at.status, StatusCode::CREATED);
    let beyond = server.post("/code-sessions", json!({ "code": "äöü45678901" })).await;
    assert_eq!(beyond.status, StatusCode::BAD_REQUEST);
    assert_eq!(beyond.json()["details"], json!(["source_code has 11 characters, at most 10 are accepted"]));
}
