//! A WebSocket: the events of the stream, and a program that is talked to.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use futures_util::{SinkExt, StreamExt};
use livecode_server::{Bounds, serve};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::CloseFrame},
};

use crate::server::{Server, Setup};

/// A server behind a socket. It ends with the test's runtime.
struct Listening {
    server: Server,
    host: String,
}

impl Listening {
    async fn start(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let router = server.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { server, host }
    }

    fn request(&self, path: &str) -> Request<()> {
        format!("ws://{}{path}", self.host).into_client_request().unwrap()
    }

    async fn try_connect(&self, request: Request<()>) -> Result<Client, Error> {
        let stream = TcpStream::connect(&self.host).await.unwrap();
        Ok(Client { socket: client_async(request, stream).await?.0 })
    }

    async fn connect(&self, id: &str) -> Client {
        self.try_connect(self.request(&format!("/executions/{id}/ws"))).await.unwrap()
    }

    /// What a client is told that isn't let in.
    async fn refusal(&self, request: Request<()>) -> (StatusCode, Value) {
        match self.try_connect(request).await.map(|_| ()) {
            Err(Error::Http(response)) => {
                let body = response
                    .body()
                    .as_deref()
                    .map(|body| serde_json::from_slice(body).unwrap_or(Value::Null));
                (response.status(), body.unwrap_or(Value::Null))
            }
            other => panic!("it isn't refused: {other:?}"),
        }
    }

    /// Queues a program that takes input: its id.
    async fn open_program(&self, source: &str) -> String {
        let body = json!({ "language": "python", "source_code": source, "stdin_open": true });
        let answer = self.server.post("/executions", body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.text("execution_id")
    }
}

struct Client {
    socket: WebSocketStream<TcpStream>,
}

impl Client {
    async fn send(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next message, or how the connection was closed.
    async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(60), self.socket.next()).await;
            match frame.expect("a message or the end within a minute") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(frame),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message of that name, skipping others.
    async fn until(&mut self, event: &str) -> Value {
        loop {
            let message = self.next().await.unwrap();
            if message["event"] == event {
                return message;
            }
        }
    }

    /// The text that is written next.
    async fn written(&mut self) -> String {
        self.until("stdout").await["data"]["text"].as_str().unwrap().to_owned()
    }

    /// All messages until it's closed, and the code of that.
    async fn rest(mut self) -> (Vec<Value>, u16) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Ok(message) => messages.push(message),
                Err(frame) => return (messages, frame.unwrap().code.into()),
            }
        }
    }
}

#[tokio::test]
async fn a_program_reads_a_line_answers_and_reads_again() {
    let listening = Listening::start(Server::start()).await;
    let id = listening.open_program("out ready\nread\nread\nread").await;
    let mut client = listening.connect(&id).await;
    assert_eq!(client.written().await, "ready\n");
    for line in ["one", "two é"] {
        client.send(json!({ "stdin": line })).await;
        assert_eq!(client.written().await, format!("{line}\n"));
    }
    client.send(json!({ "stdin_eof": true })).await;
    assert_eq!(client.written().await, "eof\n");
    let (rest, code) = client.rest().await;
    assert_eq!(rest.last().unwrap()["event"], "end");
    assert_eq!(rest.last().unwrap()["data"]["status"], "COMPLETED");
    assert_eq!(rest.last().unwrap()["data"]["stdout"], "ready\none\ntwo é\neof\n");
    assert_eq!(code, 1000);
}

#[tokio::test]
async fn its_messages_are_those_of_the_event_stream_and_it_resumes_as_that_does() {
    let listening = Listening::start(Server::start()).await;
    let id = listening.server.program("out a\nerr b\nraw FF\nexit 3").await;
    listening.server.end(&id).await;
    let (_, events) = listening.server.follow(&id, None).await;
    let streamed: Vec<Value> = events
        .rest()
        .await
        .into_iter()
        .map(|message| json!({ "id": message.id, "event": message.event, "data": message.data }))
        .collect();
    let (whole, code) = listening.connect(&id).await.rest().await;
    assert_eq!((&whole, code), (&streamed, 1000));
    for seen in 1..=whole.len() {
        let path = format!("/api/executions/{id}/ws?last_event_id={seen}");
        let client = listening.try_connect(listening.request(&path)).await.unwrap();
        assert_eq!(client.rest().await, (whole[seen..].to_vec(), 1000), "after {seen}");
    }
}

#[tokio::test]
async fn a_frame_that_can_not_be_followed_is_answered_and_the_run_goes_on() {
    let listening = Listening::start(Server::start()).await;
    let id = listening.open_program("out ready\nread").await;
    let mut client = listening.connect(&id).await;
    client.until("stdout").await;
    let large = json!({ "stdin": "x".repeat(1024 * 1024) }).to_string();
    let frames = ["", "{", "[\"x\"]", "{}", "null", "{\"stdin\": 1}", "{\"stdin_eof\": \"yes\"}", &large];
    for frame in frames {
        client.socket.send(Message::text(frame.to_owned())).await.unwrap();
        let error = client.until("error").await;
        assert_eq!(error["data"]["status"], 400, "{error}");
        assert!(error["data"]["error"].as_str().unwrap().contains("stdin_eof"), "{error}");
        assert_eq!(error["id"], Value::Null);
    }
    client.socket.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(client.until("error").await["data"]["status"], 400);
    client.send(json!({ "stdin": "still here", "unknown": 1 })).await;
    assert_eq!(client.written().await, "still here\n");
    assert_eq!(client.until("end").await["data"]["status"], "COMPLETED");
}

#[tokio::test]
async fn input_that_nobody_will_read_is_answered_with_an_error() {
    let listening = Listening::start(Server::start()).await;
    let id = listening.server.program("out ready\nwait").await;
    let mut closed = listening.connect(&id).await;
    closed.until("stdout").await;
    closed.send(json!({ "stdin": "x" })).await;
    let error = closed.until("error").await;
    assert_eq!(error["data"]["status"], 409);
    assert!(error["data"]["error"].as_str().unwrap().contains("stdin_open"), "{error}");
    let mut open = listening.connect(&listening.open_program("wait").await).await;
    open.send(json!({ "stdin_eof": true })).await;
    open.send(json!({ "stdin": "x" })).await;
    assert_eq!(open.until("error").await["data"]["status"], 409);
}

#[tokio::test]
async fn a_run_is_cancelled_by_a_frame() {
    let listening = Listening::start(Server::start()).await;
    let id = listening.open_program("out ready\nread").await;
    let mut client = listening.connect(&id).await;
    client.until("stdout").await;
    client.send(json!({ "cancel": true })).await;
    assert_eq!(client.until("end").await["data"]["status"], "CANCELLED");
}

#[tokio::test]
async fn a_client_that_goes_leaves_the_run_alone_and_another_goes_on() {
    let listening = Listening::start(Server::start()).await;
    let id = listening.open_program("out ready\nread\nread").await;
    let mut first = listening.connect(&id).await;
    assert_eq!(first.written().await, "ready\n");
    first.send(json!({ "stdin": "one" })).await;
    assert_eq!(first.written().await, "one\n");
    drop(first);
    let mut second = listening.connect(&id).await;
    second.until("stdout").await;
    second.send(json!({ "stdin": "two" })).await;
    assert_eq!(second.until("end").await["data"]["stdout"], "ready\none\ntwo\n");
}

#[tokio::test]
async fn a_repeated_key_with_other_input_ways_is_another_program() {
    let server = Server::idle();
    let body = |open: bool| json!({ "language": "python", "source_code": "1", "stdin_open": open });
    let key = [("idempotency-key", "k")];
    assert_eq!(server.post_with("/executions", &key, body(true)).await.status, StatusCode::ACCEPTED);
    assert_eq!(server.post_with("/executions", &key, body(true)).await.status, StatusCode::OK);
    assert_eq!(server.post_with("/executions", &key, body(false)).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let listening = Listening::start(Server::idle()).await;
    let id = listening.server.program("out 1").await;
    let path = format!("/executions/{id}/ws");
    let with_origin = |origin: &str| {
        let mut request = listening.request(&path);
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request
    };
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "", "http://127.0.0.1"] {
        assert_eq!(listening.refusal(with_origin(origin)).await.0, StatusCode::FORBIDDEN, "{origin}");
    }
    for origin in [format!("http://{}", listening.host), format!("HTTPS://{}", listening.host)] {
        listening.try_connect(with_origin(&origin)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_execution_or_no_websocket_is_told_before_there_is_one() {
    let listening = Listening::start(Setup { worker: false, ..Setup::default() }.start()).await;
    let id = listening.server.program("out 1").await;
    let unknown = listening.request("/executions/01890a5d-ac96-774b-bcce-b302099a8057/ws");
    assert_eq!(listening.refusal(unknown).await.0, StatusCode::NOT_FOUND);
    let path = format!("/executions/{id}/ws?last_event_id=x");
    assert_eq!(listening.refusal(listening.request(&path)).await.0, StatusCode::BAD_REQUEST);
    let plain = listening.server.get(&format!("/executions/{id}/ws")).await;
    assert!(plain.status.is_client_error(), "{plain:?}");
    assert!(plain.text("detail").contains("WebSocket"));
}

#[tokio::test]
async fn a_websocket_ends_with_the_server_and_says_come_again() {
    let server = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (router, shutdown) = (server.router.clone(), server.shutdown.clone());
    let (signal, signalled) = tokio::sync::oneshot::channel::<()>();
    let signalled = async { signalled.await.unwrap() };
    let draining = shutdown.draining().cancelled_owned();
    let serving = serve(listener, router, true, Bounds::default(), shutdown, draining, signalled);
    let listening = Listening { server, host };
    let talk = async {
        let id = listening.open_program("out before\nstubborn").await;
        let mut client = listening.connect(&id).await;
        assert_eq!(client.written().await, "before\n");
        signal.send(()).unwrap();
        let (messages, code) = client.rest().await;
        assert_eq!((messages, code), (vec![], 1012));
    };
    let (served, ()) = tokio::join!(serving, talk);
    served.unwrap();
}
