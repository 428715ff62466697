//! Somebody who is told of ends, and checks by whom.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::{net::TcpListener, sync::mpsc};

/// What a receiver got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether the signature is one by this secret, as its owner would find out.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let head = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"));
        mac.update(head.as_bytes());
        mac.update(&self.body);
        let signature = self.header("webhook-signature").strip_prefix("v1,").unwrap();
        mac.verify_slice(&BASE64_STANDARD.decode(signature).unwrap()).is_ok()
    }
}

/// A receiver on this machine, and what it's told.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    got: mpsc::UnboundedReceiver<Got>,
    /// Of requests that it doesn't answer, one message for each whose connection was closed.
    pub(crate) left: mpsc::UnboundedReceiver<()>,
}

/// Answers one after the other, and 200 when they're used up; 0 is none at all.
#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<Vec<u16>>>,
    got: mpsc::UnboundedSender<Got>,
    left: mpsc::UnboundedSender<()>,
}

/// Says that its request has gone.
struct Gone(mpsc::UnboundedSender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.send(()).ok();
    }
}

async fn answer(State(script): State<Script>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    script.got.send(Got { path: uri.to_string(), headers, body }).ok();
    let answer = {
        let mut answers = script.answers.lock().unwrap();
        if answers.is_empty() { 200 } else { answers.remove(0) }
    };
    if answer == 0 {
        let _gone = Gone(script.left);
        return std::future::pending().await;
    }
    let moved = [(header::LOCATION, "/elsewhere"), (header::RETRY_AFTER, "100000")];
    let status = StatusCode::from_u16(answer).unwrap();
    if [302, 307, 429].contains(&answer) { (status, moved).into_response() } else { status.into_response() }
}

impl Receiver {
    pub(crate) async fn answering(answers: impl Into<Vec<u16>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_got, got) = mpsc::unbounded_channel();
        let (to_left, left) = mpsc::unbounded_channel();
        let script = Script { answers: Arc::new(Mutex::new(answers.into())), got: to_got, left: to_left };
        let router = Router::new().fallback(answer).with_state(script);
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, got, left }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/ended?token=hush", self.address)
    }

    pub(crate) async fn next(&mut self) -> Got {
        let got = tokio::time::timeout(Duration::from_secs(60), self.got.recv()).await;
        got.expect("a request within a minute").unwrap()
    }

    pub(crate) fn has_nothing_more(&mut self) -> bool {
        self.got.try_recv().is_err()
    }
}
