//! The services before this one, as their clients asked them: one black box each, all against one server over a socket.

use std::time::Duration;

use livecode_server::{Bounds, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{quota::strict, server::Server};

/// Talks to the server as a program elsewhere does.
#[derive(Clone)]
struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// Status, headers and body of the answer.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, ureq::http::HeaderMap, Value) {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => {
                let request =
                    request.header("content-type", "application/json").body(body.to_string()).unwrap();
                self.agent.run(request)
            }
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut answer = answer.unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (answer.status().as_u16(), answer.headers().clone(), body)
    }

    fn expect(&self, status: u16, method: &str, path: &str, body: Option<Value>) -> Value {
        let (seen, _, answer) = self.ask(method, path, &[], body);
        assert_eq!(seen, status, "{method} {path}: {answer}");
        answer
    }

    /// Asks again and again, as they did, until it has ended.
    fn poll(&self, path: &str) -> Value {
        for _ in 0..2_000 {
            let record = self.expect(200, "GET", path, None);
            let status = record["status"].as_str().unwrap().to_owned();
            if !["QUEUED", "RUNNING", "pending"].contains(&status.as_str()) {
                return record;
            }
        }
        panic!("{path} doesn't end");
    }
}

fn id(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}")).to_owned()
}

/// Sessions with `sourceCode`: made with a template, autosaved, run, polled.
fn camel_case_sessions(client: &Client) {
    let made = client.expect(
        201,
        "POST",
        "/code-sessions",
        Some(json!({ "language": "python", "templateCode": "out template" })),
    );
    let session = id(&made, "session_id");
    assert_eq!(made["status"], "ACTIVE");
    let saved = client.expect(
        200,
        "PATCH",
        &format!("/code-sessions/{session}"),
        Some(json!({ "language": "python", "sourceCode": "out camel" })),
    );
    assert_eq!(saved["status"], "ACTIVE");
    let run = client.expect(202, "POST", &format!("/code-sessions/{session}/run"), None);
    assert_eq!(run["status"], "QUEUED");
    let record = client.poll(&format!("/executions/{}", id(&run, "execution_id")));
    assert_eq!(
        (&record["status"], &record["stdout"], &record["stderr"]),
        (&json!("COMPLETED"), &json!("camel\n"), &json!(""))
    );
    assert!(record["execution_time_ms"].is_u64(), "{record}");
}

/// Sessions with `source_code`, whose runs fail and take too long.
fn snake_case_sessions(client: &Client) {
    let made = client.expect(
        201,
        "POST",
        "/code-sessions",
        Some(json!({ "language": "python", "source_code": "out snake" })),
    );
    let session = id(&made, "session_id");
    for (source, status, error) in [
        ("out snake", "COMPLETED", Value::Null),
        ("err no\nexit 1", "FAILED", json!("RuntimeError")),
        ("slow", "TIMEOUT", json!("TimeoutError")),
    ] {
        client.expect(
            200,
            "PATCH",
            &format!("/code-sessions/{session}"),
            Some(json!({ "source_code": source })),
        );
        let run = client.expect(202, "POST", &format!("/code-sessions/{session}/run"), Some(json!({})));
        let record = client.poll(&format!("/executions/{}", id(&run, "execution_id")));
        assert_eq!((&record["status"], &record["error_type"]), (&json!(status), &error), "{record}");
    }
}

/// Under `/api`, with the code in the run itself.
fn code_with_the_run(client: &Client) {
    let made = client.expect(201, "POST", "/api/code-sessions", Some(json!({ "language": "python" })));
    let session = id(&made, "session_id");
    let body = json!({ "code": "out with the run", "language": "python" });
    let run = client.expect(202, "POST", &format!("/api/sessions/{session}/run"), Some(body));
    let record = client.poll(&format!("/api/executions/{}", id(&run, "execution_id")));
    assert_eq!(record["stdout"], "with the run\n");
    assert_eq!(record["id"], run["execution_id"]);
    let kept = client.expect(200, "GET", &format!("/api/code-sessions/{session}"), None);
    assert_eq!(kept["source_code"], "out with the run");
    let refused = client.expect(
        400,
        "POST",
        &format!("/api/sessions/{session}/run"),
        Some(json!({ "code": "x", "language": "cobol" })),
    );
    assert!(
        refused["error"].as_str().unwrap().contains("cobol") && refused["statusCode"] == 400,
        "{refused}"
    );
}

/// With a key that makes repeats harmless, and the history.
fn keys_and_history(client: &Client) {
    let made = client.expect(
        201,
        "POST",
        "/code-sessions",
        Some(json!({ "language": "python", "source_code": "out once" })),
    );
    let session = id(&made, "session_id");
    let path = format!("/code-sessions/{session}/run");
    let key = [("Idempotency-Key", "6b1f7d3a")];
    let (first, _, run) = client.ask("POST", &path, &key, Some(json!({})));
    let (second, _, again) = client.ask("POST", &path, &key, Some(json!({})));
    assert_eq!((first, second), (202, 200));
    assert_eq!(run["execution_id"], again["execution_id"]);
    let other = client.expect(202, "POST", &path, Some(json!({})));
    for run in [&run, &other] {
        client.poll(&format!("/executions/{}", id(run, "execution_id")));
    }
    for path in [format!("/executions/sessions/{session}"), format!("/code-sessions/{session}/executions")] {
        let history = client.expect(200, "GET", &path, None);
        let ids: Vec<_> = history.as_array().unwrap().iter().map(|record| record["id"].clone()).collect();
        assert_eq!(ids, [other["execution_id"].clone(), run["execution_id"].clone()]);
        let (_, headers, _) = client.ask("GET", &format!("{path}?limit=1"), &[], None);
        assert!(headers["link"].to_str().unwrap().ends_with("rel=\"next\""));
    }
}

/// Closed at the end: nothing runs or is saved there any more.
fn closing(client: &Client) {
    let made = client.expect(201, "POST", "/code-sessions", None);
    let path = format!("/code-sessions/{}", id(&made, "session_id"));
    let closed = json!({ "session_id": made["session_id"], "status": "INACTIVE" });
    assert_eq!(client.expect(200, "DELETE", &path, None), closed);
    assert_eq!(client.expect(200, "DELETE", &path, None), closed);
    client.expect(409, "POST", &format!("{path}/run"), None);
    client.expect(409, "PATCH", &path, Some(json!({ "source_code": "out 1" })));
}

/// Jobs: submitted, then asked for.
fn job_style(client: &Client) {
    let job =
        client.expect(201, "POST", "/submit-code", Some(json!({ "code": "out job", "language": "python" })));
    let result = client.poll(&format!("/exec-result?jobId={}", id(&job, "jobId")));
    assert_eq!((&result["status"], &result["result"]["stdout"]), (&json!("completed"), &json!("job\n")));
    let result = client.expect(200, "GET", "/exec-result?jobId=01890000-0000-7000-8000-000000000000", None);
    assert_eq!(result["status"], "not_found");
}

/// One that runs at every keystroke, and is told to run less often.
fn too_eager(client: &Client) {
    let made = client.expect(
        201,
        "POST",
        "/code-sessions",
        Some(json!({ "language": "python", "source_code": "out 1" })),
    );
    let path = format!("/code-sessions/{}", id(&made, "session_id"));
    for n in 0..3 {
        client.expect(200, "PATCH", &path, Some(json!({ "source_code": format!("out {n}") })));
        client.expect(202, "POST", &format!("{path}/run"), None);
    }
    client.expect(200, "PATCH", &path, Some(json!({ "source_code": "out more" })));
    let (status, headers, refused) = client.ask("POST", &format!("{path}/run"), &[], None);
    assert_eq!((status, &refused["statusCode"]), (429, &json!(429)), "{refused}");
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(refused["error"].as_str().unwrap().ends_with(&format!("ask again in {wait} s")), "{refused}");
    let history = client.expect(200, "GET", &format!("{path}/executions"), None);
    assert_eq!(history.as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_earlier_services_find_what_they_know() {
    let limited = [("RATE_RUNS_PER_MINUTE", 1), ("RATE_BURST", 3)];
    ask_all(
        Server::start(),
        &[camel_case_sessions, snake_case_sessions, code_with_the_run, keys_and_history, closing, job_style],
    )
    .await;
    ask_all(strict(&limited).start(), &[too_eager]).await;
}

async fn ask_all(server: Server, services: &[fn(&Client)]) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let pending = std::future::pending;
    tokio::spawn(serve(
        listener,
        server.router.clone(),
        true,
        Bounds::default(),
        server.shutdown.clone(),
        pending(),
        pending(),
    ));
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let client = Client { agent, base };
    for service in services {
        let service = *service;
        let client = client.clone();
        tokio::task::spawn_blocking(move || service(&client)).await.unwrap();
    }
}
