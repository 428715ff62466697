//! The end: over a real socket, from the signal to the closed listener.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::http::StatusCode;
use livecode::Result;
use livecode_server::{Bounds, serve};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use crate::server::Server;

/// A server behind a socket whose workers end when the test says so.
struct Running {
    server: Server,
    address: SocketAddr,
    signal: Arc<Notify>,
    drained: Arc<Notify>,
    serving: JoinHandle<Result<()>>,
}

impl Running {
    async fn start() -> Self {
        let server = Server::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (signal, drained) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let workers = {
            let drained = drained.clone();
            async move { drained.notified().await }
        };
        let on_signal = {
            let signal = signal.clone();
            async move { signal.notified().await }
        };
        let serving = tokio::spawn(serve(
            listener,
            server.router.clone(),
            true,
            Bounds::default(),
            server.shutdown.clone(),
            workers,
            on_signal,
        ));
        Self { server, address, signal, drained, serving }
    }

    /// Sends the signal; returns when the server drains.
    async fn drain(&self) {
        self.signal.notify_one();
        soon(self.server.shutdown.draining().cancelled()).await;
    }

    async fn connect(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

/// What comes at once, or else only with the end of a wait of 60 s, or never: then the test fails instead of hanging.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("it comes")
}

#[tokio::test]
async fn while_draining_ready_is_503_and_new_runs_are_refused_but_reads_are_answered() {
    let running = Running::start().await;
    let server = &running.server;
    let id = server.program("out 1").await;
    running.drain().await;
    let ready = server.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text("detail").contains("shutting down"));
    let body = json!({ "language": "python", "source_code": "out 1" });
    let refused = server.post("/executions", body).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_ne!(refused.header("retry-after"), "");
    let session = server.session("out 1").await;
    let refused = server.post(&format!("/sessions/{session}/run"), json!({})).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.get(&format!("/executions/{id}")).await.status, StatusCode::OK);

    // The listener is still open, so that whoever balances the load sees it.
    let mut stream = running.connect("/health/ready").await;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 503");

    running.drained.notify_one();
    running.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn streams_and_waits_end_with_the_server_though_the_program_runs_on() {
    let running = Running::start().await;
    let id = running.server.program("out before\nstubborn").await;
    let (_, mut events) = running.server.follow(&id, None).await;
    events.until("stdout").await;
    let mut stream = running.connect(&format!("/executions/{id}/events")).await;
    let mut wait = running.connect(&format!("/executions/{id}?wait_ms=60000")).await;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    running.drain().await;
    running.drained.notify_one();
    let (mut streamed, mut waited) = (String::new(), String::new());
    soon(stream.read_to_string(&mut streamed)).await.unwrap();
    soon(wait.read_to_string(&mut waited)).await.unwrap();
    assert!(streamed.ends_with("0\r\n\r\n"), "the stream ends whole: {streamed}");
    assert!(!streamed.contains("event: end"), "{streamed}");
    assert!(streamed.contains("retry: ") && streamed.contains("connect again"), "{streamed}");
    assert!(waited.contains("\"status\":\"RUNNING\""), "{waited}");
    running.serving.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn workers_that_do_not_end_do_not_keep_the_server_up() {
    let running = Running::start().await;
    let before = tokio::time::Instant::now();
    running.drain().await;
    let error = running.serving.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the workers didn't end"), "{error}");
    assert!(before.elapsed().as_secs() < 10);
}

#[tokio::test]
async fn a_server_whose_workers_end_by_themselves_ends_with_an_error() {
    let server = Server::idle();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let never = std::future::pending();
    let (router, shutdown) = (server.router.clone(), server.shutdown.clone());
    let error = serve(listener, router, true, Bounds::default(), shutdown, std::future::ready(()), never)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the workers ended by themselves"), "{error}");
}
