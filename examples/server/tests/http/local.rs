//! Who may ask over a real socket: on a loopback address, only this machine's own pages and programs.

use livecode_server::{Bounds, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::server::Server;

/// Serves on that address until the test ends; gives the port.
async fn listen(address: &str) -> u16 {
    let server = Server::idle();
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(serve(
        listener,
        server.router,
        true,
        Bounds::default(),
        server.shutdown,
        std::future::pending(),
        std::future::pending(),
    ));
    port
}

/// The whole answer to a request without a body.
async fn ask(port: u16, what: &str, headers: &[&str]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut request = format!("{what} HTTP/1.1\r\nconnection: close\r\n");
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn on_loopback_the_page_is_served_by_every_name_of_this_machine() {
    let port = listen("127.0.0.1:0").await;
    for host in
        ["localhost", "LocalHost:3000", "127.0.0.1", "[::1]", &format!("127.0.0.1:{port}"), "[::1]:80"]
    {
        let answer = ask(port, "GET /", &[&format!("host: {host}")]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        assert!(answer.contains("<!doctype html>"), "{host}: {answer}");
    }
}

#[tokio::test]
async fn on_loopback_another_host_is_refused_with_reason_and_remedy() {
    let port = listen("127.0.0.1:0").await;
    for host in [
        "host: evil.example",
        "host: evil.example:3000",
        "host: localhost.evil.example",
        "host: 127.0.0.1.evil.example",
        "host: localhost@evil.example",
        "host: 10.0.0.1",
        "host: [::2]",
        "host: ",
        "host: \u{e9}",
        "x: no host at all",
    ] {
        for what in ["GET /", "GET /languages", "POST /api/code-sessions", "GET /nothing"] {
            let answer = ask(port, what, &[host]).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{what} {host}: {answer}");
            assert!(answer.contains("content-type: application/problem+json"), "{answer}");
            assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
            assert!(answer.contains("ask it as localhost or 127.0.0.1"), "{answer}");
        }
    }
}

#[tokio::test]
async fn on_loopback_a_page_of_another_site_changes_nothing() {
    let port = listen("127.0.0.1:0").await;
    let create = async |origin: &str| ask(port, "POST /code-sessions", &["host: localhost", origin]).await;
    for origin in ["https://evil.example", "http://localhost.evil.example:3000", "null", "http://10.0.0.1"] {
        let answer = create(&format!("origin: {origin}")).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{origin}: {answer}");
        assert!(answer.contains(&format!("a page of '{origin}' asked for a change")), "{answer}");
        let read = ask(port, "GET /languages", &["host: localhost", &format!("origin: {origin}")]).await;
        assert!(read.starts_with("HTTP/1.1 200"), "it can't read the answer anyway: {read}");
    }
    for origin in ["http://localhost:5173", "http://127.0.0.1", "https://[::1]:3000"] {
        let answer = create(&format!("origin: {origin}")).await;
        assert!(answer.starts_with("HTTP/1.1 201"), "{origin}: {answer}");
    }
    let program = create("x: no browser").await;
    assert!(program.starts_with("HTTP/1.1 201"), "{program}");
}

#[tokio::test]
async fn elsewhere_the_name_is_free() {
    let port = listen("0.0.0.0:0").await;
    let headers = ["host: livecode.example", "origin: https://livecode.example"];
    let answer = ask(port, "POST /code-sessions", &headers).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}
