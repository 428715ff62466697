//! Every refusal: its status, its body, its sentence.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use livecode::ErrorKind;
use serde_json::{Value, json};

use crate::{
    fake::{Broken, SECRET},
    server::{Answer, Server, Setup, request},
};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// Checks that this is a problem of that status, whole; gives its sentence.
fn problem(answer: &Answer, status: StatusCode) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    assert_eq!((&body["status"], &body["statusCode"]), (&json!(status.as_u16()), &json!(status.as_u16())));
    assert_eq!(body["title"], status.canonical_reason().unwrap());
    assert_eq!(body["type"], "about:blank");
    assert_eq!((&body["error"], &body["message"]), (&body["detail"], &body["detail"]));
    answer.text("detail")
}

#[tokio::test]
async fn what_cannot_be_accepted_is_refused_with_the_reason() {
    let server = Server::idle();
    let id = server.session("out 1").await;
    let run = format!("/code-sessions/{id}/run");
    let session = format!("/code-sessions/{id}");
    let program = |member: &str, value: Value| {
        let mut body = json!({ "language": "python", "source_code": "out 1" });
        body[member] = value;
        body
    };
    for (method, path, body, sentence) in [
        (Method::GET, "/code-sessions/seven", None, "'seven' is not a session id"),
        (Method::GET, "/executions/seven", None, "'seven' is not an execution id"),
        (Method::GET, "/executions/%ff", None, "the path can't be read"),
        (
            Method::POST,
            "/code-sessions",
            Some(json!({ "language": "cobol" })),
            "known are: bash, c, cpp, go, java, javascript, perl, php, python, ruby, rust, typescript",
        ),
        (Method::PATCH, &session, Some(json!({})), "one of source_code, language and files is required"),
        (Method::POST, "/executions", Some(json!({})), "language is required; source_code is required"),
        (Method::POST, "/executions", Some(program("language", json!("cobol"))), "'cobol' is unknown"),
        (Method::POST, "/executions", Some(program("source_code", json!(""))), "source_code is empty"),
        (
            Method::POST,
            "/executions",
            Some(program("source_code", json!("x".repeat(65_537)))),
            "at most 65536",
        ),
        (
            Method::POST,
            "/executions",
            Some(program("source_code", json!(5))),
            "source_code: invalid type: integer `5`",
        ),
        (
            Method::POST,
            "/executions",
            Some(program("limits", json!({ "wall_time_ms": 0 }))),
            "limits.wall_time_ms is 0",
        ),
        (
            Method::POST,
            "/executions",
            Some(program("limits", json!({ "wall_time_ms": -1 }))),
            "limits.wall_time_ms: invalid value",
        ),
        (
            Method::POST,
            "/executions",
            Some(program("limits", json!({ "memory_bytes": 1_u64 << 60 }))),
            "at most 134217728",
        ),
        (
            Method::POST,
            "/executions",
            Some(program("limits", json!({ "wall_time_ms": 1e99 }))),
            "limits.wall_time_ms: invalid",
        ),
        (
            Method::POST,
            "/executions",
            Some(program("compile_limits", json!({ "processes": 0 }))),
            "compile_limits.processes is 0",
        ),
        (
            Method::POST,
            "/executions",
            Some(program("files", json!([{ "path": "../a", "content": "" }]))),
            "\"../a\"",
        ),
        (Method::POST, "/executions", Some(program("env", json!({ "A=B": "" }))), "env has a variable"),
        (Method::POST, "/executions", Some(program("args", json!(["a\0"]))), "NUL"),
        (Method::POST, "/executions", Some(program("delay_ms", json!(u64::MAX))), "longer than 24 hours"),
        (Method::POST, "/executions", Some(program("priority", json!(40_000))), "priority: invalid value"),
        (Method::POST, &run, Some(json!({ "wait_ms": 60_001 })), "at most 60000"),
        (Method::POST, &run, Some(json!({ "code": "" })), "source_code is empty"),
        (Method::POST, "/executions?wait_ms=x", Some(json!({})), "wait_ms: invalid digit"),
    ] {
        let answer = server.send(request(method, path, &[], body.clone())).await;
        let detail = problem(&answer, StatusCode::BAD_REQUEST);
        assert!(detail.contains(sentence), "{path} {body:?}: {detail}");
        assert!(!answer.json()["details"].as_array().unwrap().is_empty(), "{answer:?}");
    }
    let both = server.post("/executions", json!({})).await.json();
    assert_eq!(both["details"], json!(["language is required", "source_code is required"]));
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_refused() {
    let server = Server::idle();
    let post = |content_type: Option<&str>, body: &[u8]| {
        let mut request = Request::builder().method("POST").uri("/code-sessions");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        server.send(request.body(Body::from(body.to_vec())).unwrap())
    };
    for body in [&b"{"[..], b"[]", b"null", b"\"a\"", b"{\"code\": \"\xff\"}", b"{} {}", b" ", b"\0"] {
        let detail = problem(&post(Some("application/json"), body).await, StatusCode::BAD_REQUEST);
        assert!(detail.contains("the body can't be read"), "{detail}");
    }
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")]
    {
        let answer = post(content_type, b"{}").await;
        let detail = problem(&answer, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(detail.contains("send application/json"), "{detail}");
    }
    for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"] {
        assert_eq!(post(Some(content_type), b"{}").await.status, StatusCode::CREATED, "{content_type}");
    }
    for content_type in [None, Some("text/plain")] {
        let empty = post(content_type, b"").await;
        assert_eq!(empty.status, StatusCode::CREATED, "no body needs no content type");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = Server::idle();
    let most = livecode::ExecutionSpec::MAX_TOTAL_BYTES;
    let files =
        |bytes: usize| json!({ "files": [{ "path": "a", "content_base64": "AAAA".repeat(bytes / 3) }] });
    // Beside the files there is the template.
    let fits = server.post("/code-sessions", files(most - 1024)).await;
    assert_eq!(fits.status, StatusCode::CREATED, "the largest program fits");
    let answer = server.post("/code-sessions", files(most + most / 4)).await;
    let detail = problem(&answer, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(detail.contains("larger than"), "{detail}");
}

#[tokio::test]
async fn what_is_unknown_is_not_found_on_every_route() {
    let server = Server::idle();
    for (method, path) in [
        (Method::GET, format!("/code-sessions/{UNKNOWN}")),
        (Method::DELETE, format!("/code-sessions/{UNKNOWN}")),
        (Method::GET, format!("/code-sessions/{UNKNOWN}/revisions")),
        (Method::GET, format!("/code-sessions/{UNKNOWN}/revisions/1")),
        (Method::POST, format!("/code-sessions/{UNKNOWN}/run")),
        (Method::POST, format!("/sessions/{UNKNOWN}/run")),
        (Method::GET, format!("/code-sessions/{UNKNOWN}/executions")),
        (Method::GET, format!("/executions/sessions/{UNKNOWN}")),
        (Method::GET, format!("/executions/{UNKNOWN}")),
        (Method::GET, format!("/executions/{UNKNOWN}?wait_ms=1000")),
        (Method::POST, format!("/executions/{UNKNOWN}/cancel")),
        (Method::GET, format!("/executions/{UNKNOWN}/events")),
        (Method::GET, format!("/executions/{UNKNOWN}/stdout")),
        (Method::GET, format!("/executions/{UNKNOWN}/stderr")),
        (Method::GET, "/nothing".to_owned()),
    ] {
        let answer = server.send(request(method, &path, &[], None)).await;
        problem(&answer, StatusCode::NOT_FOUND);
    }
    let path = format!("/code-sessions/{UNKNOWN}");
    let saved = server.patch(&path, &[("if-match", "\"1\"")], json!({ "code": "1" })).await;
    problem(&saved, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused_with_those_it_has() {
    let server = Server::idle();
    for prefix in ["", "/api"] {
        let answer = server.delete(&format!("{prefix}/executions")).await;
        let detail = problem(&answer, StatusCode::METHOD_NOT_ALLOWED);
        assert!(detail.contains("DELETE"), "{detail}");
        assert_eq!(answer.header("allow"), "POST");
    }
}

#[tokio::test]
async fn conflicts_and_failed_preconditions_are_problems() {
    let server = Server::idle();
    let path = format!("/code-sessions/{}", server.session("out 1").await);
    let stale = server.patch(&path, &[("if-match", "\"7\"")], json!({ "code": "1" })).await;
    let detail = problem(&stale, StatusCode::PRECONDITION_FAILED);
    assert!(detail.contains("is at revision 1, not at 7"), "{detail}");
    server.delete(&path).await;
    problem(&server.post(&format!("{path}/run"), json!({})).await, StatusCode::CONFLICT);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_when_to_come_back() {
    let server = Setup { max_queued: 1, worker: false, ..Setup::default() }.start();
    server.program("out 1").await;
    // The engine's count is up to 100 ms old.
    tokio::time::advance(std::time::Duration::from_millis(150)).await;
    let body = json!({ "language": "python", "source_code": "out 1" });
    let answer = server.post("/executions", body).await;
    problem(&answer, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn our_own_failures_do_not_tell_the_internals() {
    for (kind, status) in [
        (ErrorKind::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        (ErrorKind::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let store = Arc::new(Broken { kind, accepts: false });
        let server = Setup { store, worker: false, ..Setup::default() }.start();
        for path in ["/executions", "/code-sessions"] {
            let answer = server.get(&format!("{path}/{UNKNOWN}")).await;
            let detail = problem(&answer, status);
            assert!(!detail.contains(SECRET), "{detail}");
            assert_eq!(answer.header("retry-after").is_empty(), kind == ErrorKind::Internal);
        }
    }
}

#[tokio::test]
async fn every_answer_forbids_guessing_its_type() {
    let server = Server::idle();
    for path in ["/", "/languages", "/nothing", "/health/ready"] {
        assert_eq!(server.get(path).await.header("x-content-type-options"), "nosniff", "{path}");
    }
}
