//! The job style.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn a_job_is_pending_until_it_has_a_result() {
    let server = Server::start();
    let answer = server.post("/submit-code", json!({ "code": "out 1\nwait" })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let id = answer.text("jobId");
    let asked = format!("/exec-result?jobId={id}");
    let pending = server.get(&asked).await.json();
    assert_eq!(pending, json!({ "jobId": id, "status": "pending", "result": null }));
    server.fake.release();
    server.end(&id).await;
    let done = server.get(&asked).await.json();
    assert_eq!((&done["jobId"], &done["status"]), (&json!(id), &json!("completed")));
    assert_eq!((&done["result"]["stdout"], &done["result"]["exit_code"]), (&json!("1\n"), &json!(0)));

    for source in ["exit 3", "slow", "kill"] {
        let id = server.post("/submit-code", json!({ "code": source, "language": "py" })).await.text("jobId");
        server.end(&id).await;
        let failed = server.get(&format!("/exec-result?jobId={id}")).await.json();
        assert_eq!(failed["status"], "failed", "{failed}");
        assert_ne!(failed["result"]["error_message"], Value::Null);
    }
    let unknown = server.get("/exec-result?jobId=01890000-0000-7000-8000-000000000000").await.json();
    assert_eq!((&unknown["status"], &unknown["result"]), (&json!("not_found"), &Value::Null));
}

#[tokio::test]
async fn what_is_no_job_is_refused() {
    let server = Server::idle();
    for (body, sentence) in [
        (json!({}), "code is required"),
        (json!({ "code": "" }), "source_code is empty"),
        (json!({ "code": "out 1", "language": "cobol" }), "cobol"),
    ] {
        let refused = server.post("/submit-code", body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text("detail").contains(sentence), "{refused:?}");
    }
    for path in ["/exec-result", "/exec-result?jobId=seven"] {
        assert_eq!(server.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
}
