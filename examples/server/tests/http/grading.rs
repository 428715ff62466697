//! Test cases: asked, run, judged, refused.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{Answer, Server, request};

/// A program whose standard input says what it does, and the cases for it.
fn graded(tests: Value) -> Value {
    json!({ "language": "python", "source_code": "obey", "tests": tests })
}

async fn run(server: &Server, body: Value) -> Value {
    let answer = server.post("/executions?wait_ms=60000", body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

fn verdicts(record: &Value) -> Vec<&str> {
    record["tests"].as_array().unwrap().iter().map(|case| case["verdict"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_case_is_judged_and_the_execution_completes_whatever_the_answers() {
    let server = Server::start();
    let tests = json!([
        { "stdin": "out 42", "expected_stdout": "42" },
        { "stdin": "out 41\nerr why", "expected_stdout": "42\n", "points": 10 },
        { "stdin": "out 42\nexit 3", "expected_stdout": "42\n" },
        { "stdin": "kill", "expected_stdout": "" },
        { "stdin": "slow", "expected_stdout": "" },
        { "stdin": "hungry", "expected_stdout": "" },
        { "expected_stdout": "\n", "points": 5 },
    ]);
    let record = run(&server, graded(tests)).await;
    let expected = [
        "accepted",
        "wrong_answer",
        "runtime_error",
        "runtime_error",
        "time_limit_exceeded",
        "memory_limit_exceeded",
        "accepted",
    ];
    assert_eq!(verdicts(&record), expected);
    assert_eq!((&record["status"], &record["error_type"]), (&json!("COMPLETED"), &Value::Null));
    assert_eq!((&record["exit_code"], &record["stdout"]), (&Value::Null, &json!("")));
    assert_eq!((&record["points"], &record["max_points"]), (&json!(6), &json!(20)));
    assert_eq!((&record["execution_time_ms"], &record["cpu_time_ms"]), (&json!(84), &json!(70)));
    assert_eq!(record["memory_peak_bytes"], 9_437_184);
    let wrong = json!({
        "verdict": "wrong_answer", "points": 0, "max_points": 10, "exit_code": 0, "signal": null,
        "error_message": null, "execution_time_ms": 12, "cpu_time_ms": 10, "memory_peak_bytes": 9_437_184,
        "stdout": "41\n", "stderr": "why\n", "stdout_truncated": false, "stderr_truncated": false,
    });
    assert_eq!(record["tests"][1], wrong);
    assert_eq!((&record["tests"][2]["exit_code"], &record["tests"][3]["signal"]), (&json!(3), &json!(11)));
    assert_eq!(
        record["tests"][4]["error_message"],
        "the program was still running after its wall time limit of 10000 ms"
    );
}

#[tokio::test]
async fn a_session_is_graded_and_its_followers_see_the_end_alone() {
    let server = Server::start();
    let id = server.session("cat").await;
    let tests =
        json!([{ "stdin": "a", "expected_stdout": "a" }, { "stdin": "b", "expected_stdout": "hunter2" }]);
    let run = server.post(&format!("/code-sessions/{id}/run"), json!({ "tests": tests })).await;
    assert_eq!(run.status, StatusCode::ACCEPTED, "{run:?}");
    let (_, events) = server.follow(&run.text("execution_id"), None).await;
    let events = events.rest().await;
    let names: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert!(names.iter().all(|name| ["status", "end"].contains(name)), "{names:?}");
    let record = &events.last().unwrap().data;
    assert_eq!(verdicts(record), ["accepted", "wrong_answer"]);
    assert!(!record.to_string().contains("hunter2"), "what is expected is told to nobody");
    let history = server.get(&format!("/code-sessions/{id}/executions")).await.json();
    assert_eq!(&history[0], record);
}

#[tokio::test]
async fn answers_are_compared_as_the_request_says() {
    let server = Server::start();
    for (compare, verdict) in [
        (json!(null), "wrong_answer"),
        (json!("exact"), "wrong_answer"),
        (json!("trimmed_lines"), "wrong_answer"),
        (json!("tokens"), "wrong_answer"),
        (json!({ "tolerance": { "absolute": 1e-3 } }), "accepted"),
        (json!({ "tolerance": { "relative": 1e-9 } }), "wrong_answer"),
    ] {
        let mut body = graded(json!([{ "stdin": "out area 3.1415", "expected_stdout": "area\n3.14159" }]));
        body["compare"] = compare.clone();
        assert_eq!(verdicts(&run(&server, body).await), [verdict], "{compare}");
    }
    for (compare, verdict) in
        [("exact", "wrong_answer"), ("trimmed_lines", "accepted"), ("tokens", "accepted")]
    {
        let mut body = graded(json!([{ "stdin": "out a", "expected_stdout": "a" }]));
        body["compare"] = json!(compare);
        assert_eq!(verdicts(&run(&server, body).await), [verdict], "{compare}");
    }
}

#[tokio::test]
async fn the_rest_is_skipped_after_a_failure_where_that_is_asked_for() {
    let server = Server::start();
    let tests = json!([
        { "stdin": "out 1", "expected_stdout": "1" },
        { "stdin": "exit 1", "expected_stdout": "" },
        { "stdin": "out 1", "expected_stdout": "1" },
    ]);
    let mut body = graded(tests);
    body["stop_at_first_failure"] = json!(true);
    let record = run(&server, body).await;
    assert_eq!(verdicts(&record), ["accepted", "runtime_error", "skipped"]);
    let skipped = &record["tests"][2];
    for absent in ["exit_code", "signal", "error_message", "execution_time_ms", "cpu_time_ms"] {
        assert_eq!(skipped[absent], Value::Null, "{absent}");
    }
    assert_eq!((&record["status"], &record["points"]), (&json!("COMPLETED"), &json!(1)));
}

#[tokio::test]
async fn a_compile_error_fails_the_execution() {
    let server = Server::start();
    let body =
        json!({ "language": "c", "source_code": "uncompilable", "tests": [{ "expected_stdout": "" }] });
    let record = run(&server, body).await;
    assert_eq!((&record["status"], &record["error_type"]), (&json!("FAILED"), &json!("CompileError")));
    assert_eq!((&record["compile_output"], verdicts(&record)), (&json!("main.c:1: no"), vec!["skipped"]));
    assert_eq!((&record["points"], &record["max_points"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn what_a_hidden_case_writes_is_not_told() {
    let server = Server::start();
    let tests =
        json!([{ "stdin": "out secret input\nerr secret input", "expected_stdout": "1", "hidden": true }]);
    let record = run(&server, graded(tests)).await;
    assert_eq!(verdicts(&record), ["wrong_answer"]);
    assert!(!record.to_string().contains("secret"), "{record}");
}

#[tokio::test]
async fn a_cancelled_one_keeps_the_cases_that_were_run() {
    let server = Server::start();
    let tests = json!([
        { "stdin": "out 1", "expected_stdout": "1" },
        { "stdin": "wait", "expected_stdout": "" },
        { "stdin": "out 1", "expected_stdout": "1" },
    ]);
    let id = server.post("/executions", graded(tests)).await.text("execution_id");
    server.fake.waits().await;
    let cancel = request(Method::POST, &format!("/executions/{id}/cancel"), &[], None);
    let record = server.send(cancel).await.json();
    assert_eq!(
        (&record["status"], verdicts(&record)),
        (&json!("CANCELLED"), vec!["accepted", "skipped", "skipped"])
    );
}

#[tokio::test]
async fn what_cannot_be_judged_is_refused_by_its_name() {
    let server = Server::idle();
    let case = json!({ "stdin": "1", "expected_stdout": "1" });
    let four = |fourth: Value| json!({ "tests": [case, case, case, fourth] });
    for (members, detail) in [
        (four(json!({ "stdin": "1" })), "tests[3]: missing field `expected_stdout`"),
        (four(json!({ "stdin": 1, "expected_stdout": "" })), "tests[3].stdin: invalid type: integer `1`"),
        (four(json!({ "expected_stdout": "", "points": -1 })), "tests[3].points: invalid value"),
        (four(json!({ "expected_stdout": "", "hidden": "no" })), "tests[3].hidden: invalid type"),
        (
            four(json!({ "expected_stdout": "x".repeat(1_048_577) })),
            "tests[3].expected_stdout has 1048577 bytes",
        ),
        (json!({ "tests": [] }), "tests is empty"),
        (json!({ "tests": {} }), "tests: invalid type: map"),
        (json!({ "tests": vec![case.clone(); 101] }), "tests has 101 cases, at most 100 are accepted"),
        (json!({ "tests": [case], "stdin": "1" }), "stdin is there beside tests"),
        (json!({ "tests": [case], "compare": "fuzzy" }), "compare: unknown variant `fuzzy`"),
        (json!({ "tests": [case], "compare": { "tolerance": {} } }), "compare.tolerance"),
        (
            json!({ "tests": [case], "compare": { "tolerance": { "absolute": -1 } } }),
            "compare.tolerance.absolute is -1",
        ),
        (json!({ "tests": [case], "stop_at_first_failure": 1 }), "stop_at_first_failure: invalid type"),
    ] {
        let mut body = members;
        body["language"] = json!("python");
        body["source_code"] = json!("obey");
        let refused: Answer = server.post("/executions", body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{detail}: {refused:?}");
        let details = refused.json()["details"].to_string();
        assert!(details.contains(detail), "{details} for {detail}");
    }
}

#[tokio::test]
async fn a_key_stands_for_its_test_cases_as_well() {
    let server = Server::idle();
    let key = [("idempotency-key", "k")];
    let body = |expected: &str| {
        let mut body = graded(json!([{ "stdin": "1", "expected_stdout": expected }]));
        body["compare"] = json!({ "tolerance": { "absolute": 0.30000000000000004 } });
        body
    };
    let first = server.post_with("/executions", &key, body("1")).await;
    let again = server.post_with("/executions", &key, body("1")).await;
    assert_eq!((first.status, again.status), (StatusCode::ACCEPTED, StatusCode::OK));
    let mut otherwise = body("1");
    otherwise["stop_at_first_failure"] = json!(true);
    let plain = json!({ "language": "python", "source_code": "obey" });
    for other in [body("2"), otherwise, plain] {
        assert_eq!(server.post_with("/executions", &key, other).await.status, StatusCode::CONFLICT);
    }
}
