//! Running, reading, waiting, history, cancelling.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use futures_util::future::join_all;
use livecode::ErrorKind;
use serde_json::{Value, json};

use crate::{
    fake::Broken,
    server::{Server, Setup, request},
};

/// All members of a record, sorted.
const MEMBERS: [&str; 26] = [
    "attempt",
    "callback",
    "compile_output",
    "completed_at",
    "cpu_time_ms",
    "created_at",
    "error_message",
    "error_type",
    "execution_id",
    "execution_time_ms",
    "exit_code",
    "id",
    "language",
    "max_points",
    "memory_peak_bytes",
    "points",
    "revision",
    "session_id",
    "signal",
    "started_at",
    "status",
    "stderr",
    "stderr_truncated",
    "stdout",
    "stdout_truncated",
    "tests",
];

fn members(record: &Value) -> Vec<&str> {
    record.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_run_ends_with_a_complete_record() {
    let server = Server::start();
    let id = server.session("out hi\nerr oh").await;
    let run = server.post(&format!("/code-sessions/{id}/run"), json!({})).await;
    assert_eq!(run.status, StatusCode::ACCEPTED);
    let receipt = run.json();
    assert_eq!(
        (&receipt["status"], &receipt["session_id"], &receipt["revision"]),
        (&json!("QUEUED"), &json!(id), &json!(1))
    );
    let record = server.end(&run.text("execution_id")).await;
    assert_eq!(members(&record), MEMBERS);
    let expected = json!({
        "execution_id": receipt["execution_id"], "id": receipt["execution_id"], "session_id": id, "revision": 1,
        "language": "python", "status": "COMPLETED", "attempt": 1, "stdout": "hi\n", "stderr": "oh\n",
        "stdout_truncated": false, "stderr_truncated": false, "exit_code": 0, "signal": null, "error_type": null,
        "error_message": null, "compile_output": null, "execution_time_ms": 12, "cpu_time_ms": 10,
        "memory_peak_bytes": 9_437_184, "created_at": record["created_at"], "started_at": record["started_at"],
        "completed_at": record["completed_at"], "tests": null, "points": null, "max_points": null, "callback": null,
    });
    assert_eq!(record, expected);
    for at in ["created_at", "started_at", "completed_at"] {
        assert!(record[at].as_str().unwrap().ends_with('Z'), "{record}");
    }
}

#[tokio::test]
async fn a_queued_record_has_all_members_too() {
    let server = Server::idle();
    let id = server.program("out hi").await;
    let record = server.get(&format!("/executions/{id}")).await.json();
    assert_eq!(members(&record), MEMBERS);
    assert_eq!((&record["status"], &record["stdout"]), (&json!("QUEUED"), &json!("")));
    for absent in ["session_id", "revision", "exit_code", "started_at", "execution_time_ms"] {
        assert_eq!(record[absent], Value::Null, "{absent}");
    }
}

#[tokio::test]
async fn every_end_has_its_status_and_error_type() {
    let server = Server::start();
    for (source, status, error_type, exit_code, signal) in [
        ("exit 3", "FAILED", "RuntimeError", json!(3), Value::Null),
        ("kill", "FAILED", "RuntimeError", Value::Null, json!(11)),
        ("slow", "TIMEOUT", "TimeoutError", Value::Null, Value::Null),
        ("hungry", "FAILED", "MemoryLimitError", Value::Null, Value::Null),
        ("uncompilable", "FAILED", "CompileError", Value::Null, Value::Null),
    ] {
        let record = server.end(&server.program(&format!("out before\n{source}")).await).await;
        assert_eq!(record["status"], status, "{source}");
        assert_eq!(record["error_type"], error_type, "{source}");
        assert!(record["error_message"].is_string(), "{source}");
        assert_eq!((&record["exit_code"], &record["signal"]), (&exit_code, &signal), "{source}");
        assert_eq!(record["stdout"], "before\n", "{source}");
    }
    let record = server.end(&server.program("uncompilable").await).await;
    assert_eq!(record["compile_output"], "main.c:1: no");
}

#[tokio::test]
async fn a_missing_protection_is_named_in_the_record() {
    let server = Server::start();
    let record = server.end(&server.program("unprotected").await).await;
    assert_eq!(record["unprotected"], json!(["memory: no cgroup"]));
}

#[tokio::test]
async fn output_so_far_is_there_while_it_runs() {
    let server = Server::start();
    let id = server.program("out early\nwait\nout late").await;
    let (_, mut events) = server.follow(&id, None).await;
    events.until("stdout").await;
    let record = server.get(&format!("/executions/{id}")).await.json();
    assert_eq!((&record["status"], &record["stdout"]), (&json!("RUNNING"), &json!("early\n")));
    server.fake.release();
    assert_eq!(server.end(&id).await["stdout"], "early\nlate\n");
}

#[tokio::test]
async fn a_run_takes_input_arguments_environment_and_limits() {
    let server = Server::start();
    let body = json!({
        "language": "py", "code": "cat\nargs\nenv\nlimits", "stdin": "typed\n", "args": ["-v"], "env": { "NAME": "value" },
        "limits": { "wall_time_ms": 2_500 }, "priority": -3, "delay_ms": 1,
    });
    let answer = server.post("/executions?wait_ms=60000", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let stdout = answer.text("stdout");
    assert!(stdout.starts_with("typed\n"), "{stdout}");
    assert!(stdout.contains("main.py\n-v\nNAME=value\n2.5s\n"), "{stdout}");
}

#[tokio::test]
async fn source_in_a_run_is_saved_first() {
    let server = Server::start();
    let id = server.session("out 1").await;
    let body = json!({ "code": "out 2", "language": "javascript" });
    let run = server.post(&format!("/code-sessions/{id}/run?wait_ms=60000"), body).await;
    assert_eq!((run.text("stdout"), &run.json()["revision"]), ("2\n".into(), &json!(2)));
    let session = server.get(&format!("/code-sessions/{id}")).await.json();
    assert_eq!((&session["source_code"], &session["language"]), (&json!("out 2"), &json!("javascript")));
}

#[tokio::test]
async fn output_that_is_not_utf_8_is_replaced_in_json_and_exact_in_raw() {
    let server = Server::start();
    let id = server.program("raw 61 ff 00\nerr e").await;
    assert_eq!(server.end(&id).await["stdout"], "a\u{FFFD}\0");
    let stdout = server.get(&format!("/executions/{id}/stdout")).await;
    assert_eq!(stdout.header("content-type"), "application/octet-stream");
    assert_eq!(stdout.body, b"a\xff\0"[..]);
    assert_eq!(server.get(&format!("/executions/{id}/stderr")).await.body, "e\n");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_its_time_is_up() {
    let server = Server::start();
    let id = server.program("wait").await;
    let read = server.get(&format!("/executions/{id}?wait_ms=1000")).await;
    assert_eq!((read.status, read.text("status")), (StatusCode::OK, "RUNNING".into()));
    let body = json!({ "language": "python", "source_code": "wait" });
    let run = server.post("/executions?wait_ms=1000", body).await;
    assert_eq!((run.status, run.text("status")), (StatusCode::ACCEPTED, "RUNNING".into()));
    let too_long = server.get(&format!("/executions/{id}?wait_ms=60001")).await;
    assert_eq!(too_long.status, StatusCode::BAD_REQUEST);
    let in_the_body = json!({ "language": "python", "source_code": "wait", "wait_ms": 60_001 });
    assert_eq!(server.post("/executions", in_the_body).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_accepted_run_that_cannot_be_waited_for_is_accepted_all_the_same() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Internal] {
        let store = Arc::new(Broken { kind, accepts: true });
        let server = Setup { store, worker: false, ..Setup::default() }.start();
        let body = json!({ "language": "python", "source_code": "out 1", "wait_ms": 60_000 });
        let run = server.post("/executions", body).await;
        assert_eq!((run.status, run.text("status")), (StatusCode::ACCEPTED, "QUEUED".into()));
        assert!(!run.text("execution_id").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_with_one_idempotency_key_make_one_execution() {
    let server = Server::start();
    let id = server.session("out hi").await;
    let path = format!("/code-sessions/{id}/run");
    let answers = join_all((0..50).map(|_| {
        let request = request(Method::POST, &path, &[("idempotency-key", "k")], Some(json!({})));
        let router = server.router.clone();
        tokio::spawn(async move {
            let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            (status, body["execution_id"].clone())
        })
    }))
    .await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let accepted = answers.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).count();
    let seen = answers.iter().filter(|(status, _)| *status == StatusCode::OK).count();
    assert_eq!((accepted, seen), (1, 49));
    assert!(answers.iter().all(|(_, id)| *id == answers[0].1));
    let history = server.get(&format!("/code-sessions/{id}/executions")).await.json();
    assert_eq!(history.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_reused_for_a_different_program_is_a_conflict() {
    let server = Server::idle();
    let key = [("idempotency-key", "k")];
    let program = |source: &str| json!({ "language": "python", "source_code": source });
    let first = server.post_with("/executions", &key, program("out 1")).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    let again = server.post_with("/executions", &key, program("out 1")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.text("execution_id"), first.text("execution_id"));
    let other = server.post_with("/executions", &key, program("out 2")).await;
    assert_eq!(other.status, StatusCode::CONFLICT);
    let unprintable = server.post_with("/executions", &[("idempotency-key", "ä")], program("out 1")).await;
    assert_eq!(unprintable.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn history_is_newest_first_in_pages_that_link_on() {
    let server = Server::idle();
    let id = server.session("out 1").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(server.post(&format!("/sessions/{id}/run"), json!({})).await.text("execution_id"));
    }
    made.reverse();
    for path in [format!("/code-sessions/{id}/executions"), format!("/api/executions/sessions/{id}")] {
        let mut found = Vec::new();
        let mut next = Some(format!("{path}?limit=2"));
        let mut pages = 0;
        while let Some(page) = next {
            let answer = server.get(&page).await;
            let entries = answer.json();
            assert_eq!(members(&entries[0]), MEMBERS);
            found.extend(
                entries.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()),
            );
            let link = answer.header("link");
            next = link.split_once('>').map(|(target, rel)| {
                assert_eq!(rel, "; rel=\"next\"");
                target.trim_start_matches('<').to_owned()
            });
            pages += 1;
        }
        assert_eq!((pages, &found), (3, &made));
    }
    let empty = server.session("out 1").await;
    assert_eq!(server.get(&format!("/code-sessions/{empty}/executions")).await.json(), json!([]));
    for limit in ["0", "201", "-1", "x"] {
        let answer = server.get(&format!("/code-sessions/{id}/executions?limit={limit}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{limit}");
    }
}

#[tokio::test]
async fn a_page_of_history_is_bounded_by_its_output() {
    let server = Server::start();
    // As long as the limit on output allows: 1 MiB each.
    let id = server.session("cat").await;
    let body = json!({ "stdin": "x".repeat(1024 * 1024), "wait_ms": 60_000 });
    for _ in 0..12 {
        let run = server.post(&format!("/sessions/{id}/run"), body.clone()).await;
        assert_eq!(run.status, StatusCode::OK);
    }
    let page = server.get(&format!("/code-sessions/{id}/executions")).await;
    assert_eq!(page.json().as_array().unwrap().len(), 9, "8 MiB and the record that went over it");
    let rest = page.header("link").split(['<', '>']).nth(1).unwrap().to_owned();
    let rest = server.get(&rest).await;
    assert_eq!(rest.json().as_array().unwrap().len(), 3);
    assert_eq!(rest.header("link"), "");
}

#[tokio::test]
async fn a_cancel_ends_what_is_queued_and_what_runs_and_changes_nothing_later() {
    let idle = Server::idle();
    let queued = idle.program("out 1").await;
    let cancelled =
        idle.send(request(Method::POST, &format!("/executions/{queued}/cancel"), &[], None)).await;
    assert_eq!((cancelled.status, cancelled.text("status")), (StatusCode::OK, "CANCELLED".into()));
    assert_eq!(cancelled.text("error_type"), "Cancelled");

    let server = Server::start();
    let running = server.program("out before\nwait").await;
    let (_, mut events) = server.follow(&running, None).await;
    events.until("stdout").await;
    let cancelled = server.post(&format!("/executions/{running}/cancel"), json!({})).await.json();
    assert_eq!((&cancelled["status"], &cancelled["stdout"]), (&json!("CANCELLED"), &json!("before\n")));

    let ended = server.end(&server.program("out 1").await).await;
    let path = format!("/executions/{}/cancel", ended["id"].as_str().unwrap());
    assert_eq!(server.post(&path, json!({})).await.json(), ended);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_takes_long_answers_with_the_running_record() {
    let server = Server::start();
    let id = server.program("out before\nstubborn").await;
    let (_, mut events) = server.follow(&id, None).await;
    events.until("stdout").await;
    let cancelled = server.post(&format!("/executions/{id}/cancel"), json!({})).await;
    assert_eq!((cancelled.status, cancelled.text("status")), (StatusCode::OK, "RUNNING".into()));
}

#[tokio::test]
async fn a_whole_number_may_be_written_with_a_fraction() {
    let server = Server::start();
    let program = |limit: Value| json!({ "language": "python", "source_code": "limits", "limits": { "wall_time_ms": limit } });
    let accepted = server.post("/executions", program(json!(3000.0))).await;
    assert_eq!(server.end(&accepted.text("execution_id")).await["stdout"], "3s\n");
    let refused = server.post("/executions", program(json!(3000.5))).await;
    assert!(
        refused.text("detail").contains("limits.wall_time_ms: invalid type: floating point `3000.5`"),
        "{refused:?}"
    );
}
