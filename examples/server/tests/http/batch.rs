//! Many programs in one call.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::server::{Server, Setup};

#[tokio::test]
async fn each_program_is_accepted_or_refused_on_its_own() {
    let server = Server::start();
    let programs = json!([
        { "language": "python", "source_code": "out 1" },
        { "language": "cobol", "source_code": "out 2" },
        7,
        { "language": "python" },
        { "language": "python", "code": "out 3", "stdin": "x" },
        { "language": "python", "code": 5 },
    ]);
    for body in [programs.clone(), json!({ "executions": programs })] {
        let answer = server.post("/executions/batch", body).await;
        assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{answer:?}");
        let entries = answer.json();
        let codes: Vec<_> = entries.as_array().unwrap().iter().map(|entry| &entry["status_code"]).collect();
        assert_eq!(codes, [202, 400, 400, 400, 202, 400]);
        for (at, output) in [(0, "1\n"), (4, "3\n")] {
            let id = entries[at]["execution"]["execution_id"].as_str().unwrap();
            assert_eq!(server.end(id).await["stdout"], output);
            assert_eq!(entries[at]["problem"], Value::Null);
        }
        for (at, sentence) in
            [(1, "cobol"), (2, "JSON object"), (3, "source_code is required"), (5, "integer `5`")]
        {
            assert_eq!(entries[at]["execution"], Value::Null);
            let detail = entries[at]["problem"]["detail"].as_str().unwrap();
            assert!(detail.contains(sentence), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_program_of_a_batch_has_its_own_key() {
    let server = Server::start();
    let program = |source: &str| json!({ "language": "python", "code": source, "idempotency_key": "k" });
    let entries = server
        .post("/executions/batch", json!([program("out 1"), program("out 1"), program("out 2")]))
        .await
        .json();
    let mut codes: Vec<_> = (0..3).map(|at| entries[at]["status_code"].as_u64().unwrap()).collect();
    assert_eq!(entries[0]["execution"]["execution_id"], entries[1]["execution"]["execution_id"], "{entries}");
    codes.sort_unstable();
    assert_eq!(codes, [200, 202, 409]);
}

#[tokio::test]
async fn a_batch_has_at_most_a_hundred() {
    let server = Server::idle();
    let programs = |count: usize| json!(vec![json!({ "language": "python", "code": "out 1" }); count]);
    assert_eq!(server.post("/executions/batch", programs(100)).await.json().as_array().unwrap().len(), 100);
    let refused = server.post("/executions/batch", programs(101)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text("detail").contains("101 programs, at most 100"), "{refused:?}");
    assert_eq!(server.post("/executions/batch", json!([])).await.json(), json!([]));
    assert_eq!(server.post("/executions/batch", json!({})).await.status, StatusCode::BAD_REQUEST);
    let full = Setup { max_queued: 0, worker: false, ..Setup::default() }.start();
    assert_eq!(full.post("/executions/batch", programs(1)).await.json()[0]["status_code"], 503);
}
