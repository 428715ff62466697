//! What the description promises, route by route: a route that is new can't be forgotten here.

use std::{collections::BTreeSet, convert::Infallible, fs, sync::Arc};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use bytes::Bytes;
use futures_util::stream;
use livecode::{ErrorKind, Owner};
use livecode_server::{Bounds, KeyRole, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    auth::keyed,
    fake::Broken,
    quota::strict,
    server::{Answer, Server, Setup, request},
};

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

/// The method, the path, and what is said of them.
type Operation = (Method, String, Value);

async fn operations(server: &Server) -> Vec<Operation> {
    let description = server.get("/openapi.json").await.json();
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            operations.push((method, path.clone(), operation.clone()));
        }
    }
    assert!(operations.len() > 20, "{operations:?}");
    operations
}

/// A body that the operation accepts.
fn body(method: &Method, path: &str) -> Option<Value> {
    let program = json!({ "language": "python", "source_code": "out 1" });
    match (method.as_str(), path) {
        ("POST", "/executions/batch") => Some(json!([program])),
        ("POST", "/executions") => Some(program),
        ("POST", "/submit-code") => Some(json!({ "code": "out 1" })),
        ("POST", path) if path.ends_with("/cancel") => None,
        ("POST", _) => Some(json!({})),
        ("PATCH", _) => Some(json!({ "source_code": "out 2" })),
        _ => None,
    }
}

/// The path with these ids in it.
fn filled(path: &str, session: &str, execution: &str) -> String {
    let is_session = path.contains("session") && !path.contains("/executions/{id}/");
    let path = path.replace("{id}", if is_session { session } else { execution }).replace("{n}", "1");
    if path == "/exec-result" { format!("{path}?jobId={execution}") } else { path }
}

async fn ask(server: &Server, key: &str, method: &Method, path: &str, body: Option<Value>) -> Answer {
    server.send(request(method.clone(), path, &[("authorization", &format!("Bearer {key}"))], body)).await
}

/// Its status, and its body without what names the thing that was asked for.
fn seen(answer: &Answer, ids: &[&str]) -> (StatusCode, String) {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    (answer.status, ids.iter().fold(text, |text, id| text.replace(id, "ID")))
}

#[tokio::test]
async fn nothing_of_one_owner_is_seen_by_another() {
    let (_, file, directory) = keyed();
    let keys = ["alice", "bob"].map(|owner| file.create(Owner::new(owner).unwrap(), KeyRole::User).unwrap());
    let [alice, bob] = &keys;
    let server = crate::auth::of_keys(&directory);
    // What belongs to nobody in particular, or is made by asking.
    let mut others: BTreeSet<String> = [
        "GET /health",
        "GET /health/live",
        "GET /health/ready",
        "GET /languages",
        "GET /metrics",
        "POST /code-sessions",
        "POST /executions",
        "POST /executions/batch",
        "POST /submit-code",
    ]
    .map(Into::into)
    .into();
    for (method, path, _) in operations(&server).await {
        if others.remove(&format!("{method} {path}")) {
            continue;
        }
        let made =
            ask(&server, alice, &Method::POST, "/code-sessions", Some(json!({ "source_code": "wait" })))
                .await;
        let session = made.text("session_id");
        let run = ask(&server, alice, &Method::POST, &format!("/sessions/{session}/run"), None).await;
        let execution = run.text("execution_id");
        let to = filled(&path, &session, &execution);
        assert!(
            to.contains(&session) || to.contains(&execution),
            "say whether {method} {path} shows what is somebody's"
        );
        let not_there = filled(&path, UNKNOWN, UNKNOWN);
        let ids = [session.as_str(), execution.as_str(), UNKNOWN];
        for prefix in ["", "/api"] {
            let [of_alice, of_nobody] = [&to, &not_there].map(|to| {
                let (server, path) = (&server, format!("{prefix}{to}"));
                let (method, body) = (&method, body(&method, &path));
                async move { ask(server, bob, method, &path, body).await }
            });
            let (of_alice, of_nobody) = (of_alice.await, of_nobody.await);
            let is_told = of_alice.status == StatusCode::NOT_FOUND || of_alice.text("status") == "not_found";
            assert!(is_told, "{method} {prefix}{to}: {of_alice:?}");
            assert_eq!(seen(&of_alice, &ids), seen(&of_nobody, &ids), "{method} {path}");
        }
        // Bob's wish had no effect: it still runs, and the session is open.
        let record =
            ask(&server, alice, &Method::GET, &format!("/executions/{execution}"), None).await.json();
        assert!(
            ["QUEUED", "RUNNING"].contains(&record["status"].as_str().unwrap()),
            "{method} {path}: {record}"
        );
        let whole =
            ask(&server, alice, &Method::GET, &format!("/code-sessions/{session}"), None).await.json();
        assert_eq!((&whole["status"], &whole["source_code"]), (&json!("ACTIVE"), &json!("wait")));
        server.fake.release();
    }
    assert!(others.is_empty(), "these routes are gone: {others:?}");
}

/// The answer to a request over a socket to go on as a WebSocket.
async fn upgraded(server: Server, path: &str) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pending = std::future::pending;
    tokio::spawn(serve(
        listener,
        server.router,
        true,
        Bounds::default(),
        server.shutdown,
        pending(),
        pending(),
    ));
    let (_, response) = tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.unwrap();
    Answer { status: response.status(), headers: response.headers().clone(), body: Default::default() }
}

/// What a request has to be like for this status.
async fn provoke(method: &Method, path: &str, status: &str) -> Option<Answer> {
    let usual = body(method, path);
    let server = match status {
        "403" if path.ends_with("/ws") => Server::start(),
        "403" => {
            let (_, file, directory) = keyed();
            let key = file.create(Owner::new("user").unwrap(), KeyRole::User).unwrap();
            return Some(ask(&crate::auth::of_keys(&directory), &key, method, path, usual).await);
        }
        "429" => {
            let server =
                strict(&[("RATE_RUNS_PER_MINUTE", 1), ("RATE_BURST", 1), ("MAX_OPEN_STREAMS", 1)]).start();
            let session = server.session("wait").await;
            // It takes the only token of who runs without a session.
            let execution = server.program("wait").await;
            let (_, _open) = server.follow(&execution, None).await;
            let mut to = filled(path, &session, &execution);
            if path == "/executions/{id}" {
                to.push_str("?wait_ms=1");
            }
            if path.ends_with("/run") {
                server.post(&to, json!({})).await;
            }
            let answer = server.send(request(method.clone(), &to, &[], usual)).await;
            assert_ne!(answer.header("retry-after"), "", "{answer:?}");
            return Some(answer);
        }
        "408" => {
            let mut request = request(method.clone(), &filled(path, UNKNOWN, UNKNOWN), &[], None);
            request.headers_mut().insert("content-type", "application/json".parse().unwrap());
            request.extensions_mut().insert(Bounds { body_timeout_ms: 1, ..Bounds::default() });
            *request.body_mut() = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
            return Some(Server::start().send(request).await);
        }
        "401" => {
            return Some(
                keyed().0.send(request(method.clone(), &filled(path, UNKNOWN, UNKNOWN), &[], usual)).await,
            );
        }
        "503"
            if path == "/health/ready"
                || usual.is_none()
                || !path.contains("executions") && !path.contains("run") =>
        {
            let store = Arc::new(Broken { kind: ErrorKind::Unavailable, accepts: false });
            Setup { store, ..Setup::default() }.start()
        }
        _ => Server::start(),
    };
    let ask =
        async |path: &str, body: Option<Value>| server.send(request(method.clone(), path, &[], body)).await;
    if status == "503" {
        server.shutdown.draining().cancel();
        return Some(ask(&filled(path, UNKNOWN, UNKNOWN), usual).await);
    }
    let raw = async |content_type: &str, bytes: String| {
        let to = filled(path, UNKNOWN, UNKNOWN);
        let request = Request::builder().method(method.clone()).uri(to).header("content-type", content_type);
        server.send(request.body(Body::from(bytes)).unwrap()).await
    };
    let session = server.session("out 1").await;
    let execution = server.program("out 1").await;
    server.end(&execution).await;
    let to = filled(path, &session, &execution);
    Some(match status {
        "101" => upgraded(server, &to).await,
        "403" => {
            server.send(request(Method::GET, &to, &[("origin", "https://elsewhere.example")], None)).await
        }
        "200" | "201" | "202" | "207" => match path {
            "/executions" if status == "200" => ask("/executions?wait_ms=60000", usual).await,
            path if path.ends_with("/run") && status == "200" => {
                ask(&format!("{to}?wait_ms=60000"), usual).await
            }
            _ => ask(&to, usual).await,
        },
        "204" => {
            let events = server.follow(&execution, None).await.1.rest().await;
            let last = events.last().unwrap().id.clone();
            ask(&format!("{to}?last_event_id={last}"), usual).await
        }
        "400" if path.contains('{') => ask(&filled(path, "seven", "seven"), usual).await,
        "400" if path == "/exec-result" => ask(path, None).await,
        "400" => raw("application/json", "{".into()).await,
        "404" => ask(&filled(path, UNKNOWN, UNKNOWN), usual).await,
        "409" if path == "/executions" => {
            let key = [("idempotency-key", "k")];
            server.post_with(path, &key, usual.unwrap()).await;
            let other = json!({ "language": "python", "source_code": "out 2" });
            server.post_with(path, &key, other).await
        }
        "409" => {
            server.delete(&format!("/code-sessions/{session}")).await;
            ask(&to, usual).await
        }
        "412" => server.patch(&to, &[("if-match", "\"7\"")], usual.unwrap()).await,
        "413" => raw("application/json", format!("{{\"x\":\"{}\"}}", "x".repeat(23 << 20))).await,
        "415" => raw("text/plain", "{}".into()).await,
        _ => return None,
    })
}

#[tokio::test]
async fn every_documented_status_is_given() {
    let (with_keys, _file, _directory) = keyed();
    for (method, path, operation) in operations(&with_keys).await {
        for (status, said) in operation["responses"].as_object().unwrap() {
            let answer = provoke(&method, &path, status).await;
            let answer = answer.unwrap_or_else(|| panic!("say how {method} {path} comes to answer {status}"));
            assert_eq!(answer.status.as_str(), status, "{method} {path}: {answer:?}");
            let content =
                said["content"].as_object().into_iter().flatten().next().map(|(kind, _)| kind.as_str());
            let media = answer.header("content-type").split(';').next().unwrap();
            assert_eq!(media, content.unwrap_or(""), "{method} {path}: {answer:?}");
            assert!(!said["description"].as_str().unwrap().is_empty());
        }
    }
}

/// Of these `http-api.md`, which clients rely on, says more than that they are there.
#[tokio::test]
async fn the_description_has_every_route_and_no_other() {
    let server = Server::start();
    let found: BTreeSet<String> =
        operations(&server).await.into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let expected = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/routes.txt")).unwrap();
    let expected: BTreeSet<String> = expected.lines().map(Into::into).collect();
    assert_eq!(found, expected);
    let description = server.get("/api/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"), "{description}");
    let languages = &description["components"]["schemas"]["Language"]["enum"];
    assert!(languages.as_array().unwrap().contains(&json!("javascript")), "{languages}");
    assert!(!description.to_string().contains("/debug"));
}

#[tokio::test]
async fn the_viewer_needs_nothing_from_elsewhere() {
    let server = Server::start();
    for prefix in ["", "/api"] {
        let page = server.get(&format!("{prefix}/api-docs/")).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let text = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
        for part in text.split(['"', '\'']).filter(|part| part.starts_with("./")) {
            let asset = server.get(&format!("{prefix}/api-docs/{}", &part[2..])).await;
            assert_eq!(asset.status, StatusCode::OK, "{part}");
        }
        let script = server.get(&format!("{prefix}/api-docs/swagger-initializer.js")).await;
        let script = String::from_utf8(script.body.to_vec()).unwrap();
        assert!(script.contains(&format!("{prefix}/api-docs/openapi.json")), "{script}");
        assert_eq!(server.get(&format!("{prefix}/api-docs/openapi.json")).await.status, StatusCode::OK);
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
    }
    assert_eq!(server.get("/api-docs").await.status, StatusCode::SEE_OTHER);
}
