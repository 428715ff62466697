//! Clients that are slow, greedy or gone, over real sockets.

use std::{net::SocketAddr, time::Duration};

use axum::http::StatusCode;
use livecode_server::{Bounds, serve};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    quota::strict,
    server::{Server, Setup},
};

/// Short enough for a test, and longer than any honest request here takes.
const SHORT: u64 = 500;

struct Listening {
    server: Server,
    address: SocketAddr,
}

impl Listening {
    async fn start(setup: Setup, bounds: Bounds) -> Self {
        let server = setup.start();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pending = std::future::pending;
        let (router, shutdown) = (server.router.clone(), server.shutdown.clone());
        tokio::spawn(serve(listener, router, true, bounds, shutdown, pending(), pending()));
        Self { server, address }
    }

    /// A connection on which this was sent.
    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// One that follows an execution.
    async fn follow(&self, id: &str) -> TcpStream {
        self.send(&format!("GET /executions/{id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }
}

/// All that comes until the server closes; what a reset takes away isn't missed.
async fn rest(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(120), stream.read_to_end(&mut read)).await;
    end.expect("the server closes").ok();
    String::from_utf8_lossy(&read).into_owned()
}

/// What comes, up to this text.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let end = async {
        while !String::from_utf8_lossy(&read).contains(text) {
            assert!(stream.read_buf(&mut read).await.unwrap() > 0, "closed before {text}");
        }
    };
    tokio::time::timeout(Duration::from_secs(120), end).await.expect(text);
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_and_a_slow_follower_is_not() {
    let bounds = Bounds { header_timeout_ms: SHORT, body_timeout_ms: SHORT, ..Bounds::default() };
    let listening = Listening::start(Setup::default(), bounds).await;
    let id = listening.server.program("out before\nwait\nout after").await;
    let mut follower = listening.follow(&id).await;
    until(&mut follower, "before").await;
    let mut slow = listening.send("GET /health HTTP/1.1\r\nhost: localhost\r\nx-").await;
    let mut idle = listening.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    until(&mut idle, "HTTP/1.1 200").await;
    // A byte now and then doesn't help.
    let trickle = async {
        while slow.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(SHORT / 10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), trickle).await.expect("it is cut");
    rest(&mut idle).await;
    // All of that took longer than heads and bodies may; this one is alive.
    listening.server.fake.release();
    let seen = until(&mut follower, "event: end").await;
    assert!(seen.contains("after"), "{seen}");
}

#[tokio::test]
async fn a_body_that_trickles_is_told_408() {
    let bounds = Bounds { body_timeout_ms: SHORT, ..Bounds::default() };
    let listening = Listening::start(Setup::default(), bounds).await;
    for path in ["/executions", "/executions/batch", "/code-sessions"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
        );
        let mut stream = listening.send(&head).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("problem+json"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_told_431() {
    let bounds = Bounds { max_header_bytes: 8_192, ..Bounds::default() };
    let listening = Listening::start(Setup::default(), bounds).await;
    let ask = async |headers: String| {
        let mut stream = listening
            .send(&format!("GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"))
            .await;
        rest(&mut stream).await
    };
    let many = |count: usize| (0..count).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let long = |bytes: usize| format!("x: {}\r\n", "x".repeat(bytes));
    for (headers, status) in [
        (many(90), "HTTP/1.1 200"),
        (many(110), "HTTP/1.1 431"),
        (long(7_000), "HTTP/1.1 200"),
        (long(9_000), "HTTP/1.1 431"),
        (long(100_000), "HTTP/1.1 431"),
    ] {
        let answer = ask(headers).await;
        // Where much of what was sent isn't read, the reset may overtake the answer.
        assert!(answer.starts_with(status) || answer.is_empty() && status.ends_with("431"), "{answer}");
    }
}

#[tokio::test]
async fn who_comes_beyond_the_bound_waits_until_another_has_gone() {
    let bounds = Bounds { max_connections: 1, ..Bounds::default() };
    let listening = Listening::start(Setup::default(), bounds).await;
    let health = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut first = listening.send(health).await;
    until(&mut first, "HTTP/1.1 200").await;
    let mut second = listening.send(health).await;
    for _ in 0..50 {
        first.write_all(health.as_bytes()).await.unwrap();
        until(&mut first, "HTTP/1.1 200").await;
    }
    let early = second.try_read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
    drop(first);
    until(&mut second, "HTTP/1.1 200").await;
}

/// What isn't HTTP any more is a connection still.
#[tokio::test]
async fn a_websocket_counts_as_long_as_it_is_open() {
    let bounds = Bounds { max_connections: 1, ..Bounds::default() };
    let listening = Listening::start(Setup { worker: false, ..Setup::default() }, bounds).await;
    let id = listening.server.program("out 1").await;
    let upgrade = format!(
        "GET /executions/{id}/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut first = listening.send(&upgrade).await;
    // The first event, by which the request is over.
    until(&mut first, "QUEUED").await;
    let mut second = listening.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    for number in 0..50 {
        // A ping of the client's, and its answer.
        let letter = b'a' + number % 26;
        first.write_all(&[0x89, 0x81, 0, 0, 0, 0, letter]).await.unwrap();
        while first.read_u8().await.unwrap() != letter {}
    }
    let early = second.try_read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
    drop(first);
    until(&mut second, "HTTP/1.1 200").await;
}

/// The kernel of the client acknowledges as much as fits its buffer, and then says that there's no room: it's alive.
#[tokio::test]
async fn who_reads_nothing_is_cut_and_its_stream_is_free_again() {
    let bounds = Bounds { unread_timeout_ms: SHORT as u32, ..Bounds::default() };
    let listening = Listening::start(strict(&[("MAX_OPEN_STREAMS", 2)]), bounds).await;
    let body = json!({ "language": "python", "source_code": "cat\nwait", "stdin": "x".repeat(1_000_000) });
    let id = listening.server.post("/executions", body).await.text("execution_id");
    listening.server.fake.waits().await;
    let quiet = listening.server.program("out before\nwait").await;
    listening.server.fake.waits().await;
    let mut follower = listening.follow(&quiet).await;
    until(&mut follower, "before").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = socket.connect(listening.address).await.unwrap();
    let ask = format!("GET /executions/{id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    deaf.write_all(ask.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    deaf.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let cut = async {
        loop {
            let mut third = listening.follow(&id).await;
            let head = until(&mut third, "\r\n\r\n").await;
            if head.starts_with("HTTP/1.1 200") {
                return;
            }
            assert!(head.starts_with(&format!("HTTP/1.1 {}", StatusCode::TOO_MANY_REQUESTS)), "{head}");
        }
    };
    tokio::time::timeout(Duration::from_secs(120), cut).await.expect("it is cut");
    for _ in 0..2 {
        listening.server.fake.release();
    }
    until(&mut follower, "event: end").await;
}
