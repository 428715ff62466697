//! Server-sent events.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::server::{Message, Server, request};

/// A program whose log has several events: its id, and the whole log.
async fn followed(server: &Server) -> (String, Vec<Message>) {
    let id = server.program("out one\nwait\nerr two\nwait\nraw ff fe\nexit 1").await;
    let (status, mut events) = server.follow(&id, None).await;
    assert_eq!(status, StatusCode::OK);
    let mut log = Vec::new();
    loop {
        let message = events.next().await.expect("the end comes first");
        let (event, data) = (message.event.clone(), message.data.clone());
        log.push(message);
        match event.as_str() {
            "stdout" if data["text"] == "one\n" => server.fake.release(),
            "stderr" => server.fake.release(),
            "end" => break,
            _ => {}
        }
    }
    assert_eq!(events.next().await, None, "the stream closes after the end");
    (id, log)
}

#[tokio::test]
async fn a_follower_sees_status_output_and_the_end() {
    let server = Server::start();
    let (id, log) = followed(&server).await;
    let said: Vec<_> = log.iter().map(|message| (message.event.as_str(), &message.data)).collect();
    assert_eq!(
        said[..said.len() - 1],
        [
            ("status", &json!({ "status": "QUEUED", "attempt": 1 })),
            ("status", &json!({ "status": "RUNNING", "attempt": 1 })),
            ("stdout", &json!({ "text": "one\n" })),
            ("stderr", &json!({ "text": "two\n" })),
            ("stdout", &json!({ "base64": "//4=" })),
        ]
    );
    let numbers: Vec<u64> = log.iter().map(|message| message.id.parse().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let record = server.get(&format!("/executions/{id}")).await.json();
    assert_eq!(said.last(), Some(&("end", &record)), "the end carries the whole record");
}

#[tokio::test]
async fn a_follower_resumes_after_each_id_and_misses_nothing() {
    let server = Server::start();
    let (id, log) = followed(&server).await;
    for seen in 0..log.len() {
        let (status, events) = server.follow(&id, Some(&seen.to_string())).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(events.rest().await, log[seen..], "after {seen}");
    }
    let by_query = format!("/executions/{id}/events?last_event_id=5");
    let answer = server.get(&by_query).await;
    assert!(answer.body.starts_with(b"id: 6\n"), "{answer:?}");
    let both = request(axum::http::Method::GET, &by_query, &[("last-event-id", "6")], None);
    let answer = server.send(both).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "the header wins");
}

#[tokio::test]
async fn a_reconnect_after_the_end_is_told_to_stop() {
    let server = Server::start();
    let (id, log) = followed(&server).await;
    let last = &log.last().unwrap().id;
    let (status, events) = server.follow(&id, Some(last)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(events.rest().await, []);
    assert_eq!(server.follow(&id, Some("999")).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_follower_that_resumes_while_it_runs_gets_the_rest() {
    let server = Server::start();
    let id = server.program("out one\nwait\nout two").await;
    let (_, mut events) = server.follow(&id, None).await;
    let one = events.until("stdout").await;
    drop(events);
    let (_, events) = server.follow(&id, Some(&one.id)).await;
    server.fake.release();
    let rest = events.rest().await;
    assert_eq!(rest[0].data, json!({ "text": "two\n" }));
    assert_eq!(rest[1].event, "end");
    assert_eq!(rest.len(), 2);
}

#[tokio::test]
async fn the_wish_to_cancel_is_an_event() {
    let server = Server::start();
    let id = server.program("out one\nstubborn").await;
    let (_, mut events) = server.follow(&id, None).await;
    events.until("stdout").await;
    let path = format!("/executions/{id}/cancel");
    let (_, wish) = tokio::join!(server.post(&path, json!({})), async {
        let wish = events.until("status").await;
        server.fake.release();
        wish
    });
    assert_eq!(wish.data, json!({ "status": "RUNNING", "attempt": 1, "cancel_requested": true }));
}

#[tokio::test]
async fn an_id_that_is_no_number_is_refused() {
    let server = Server::idle();
    let id = server.program("out one").await;
    let (status, _) = server.follow(&id, Some("first")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_awake_by_comments() {
    let server = Server::idle();
    let id = server.program("out one").await;
    let (_, mut events) = server.follow(&id, None).await;
    assert_eq!(events.next().await.unwrap().data["status"], "QUEUED");
    let before = tokio::time::Instant::now();
    let comment = events.next().await.unwrap();
    assert_eq!((comment.event.as_str(), &comment.data), ("", &Value::Null));
    assert_eq!(before.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn the_stream_is_told_to_be_one() {
    let server = Server::start();
    let id = server.program("out one").await;
    server.end(&id).await;
    let answer = server.get(&format!("/executions/{id}/events")).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("x-accel-buffering"), "no");
}
