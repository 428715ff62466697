//! Connections: how many at a time, how large the head of a request may be, and how slow a client.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use clap::Args;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

/// How long to wait where the system has no descriptors left: others have to be closed first.
const SHORTAGE: Duration = Duration::from_secs(1);

/// What is asked of clients' connections.
#[derive(Clone, Copy, Debug, Args)]
pub struct Bounds {
    /// Connections at a time, WebSockets among them; whoever comes beyond it waits until one is closed. Each takes a descriptor, of
    /// which the process takes as many as it may have (`ulimit -Hn`)
    #[arg(long, env, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Bytes of a request's head: its line and headers, of which there may be 100. Beyond it requests get 431
    #[arg(long, env, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(8_192..=1_048_576))]
    pub max_header_bytes: u32,

    /// How long the head of a request may take, in milliseconds, and how long a connection may be idle before the next
    #[arg(long, env, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub header_timeout_ms: u64,

    /// How long the body of a request may take, in milliseconds; beyond it requests get 408
    #[arg(long, env, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub body_timeout_ms: u64,

    /// How long a client may leave unread what it's sent, in milliseconds, before its connection is cut
    #[arg(long, env, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(100..))]
    pub unread_timeout_ms: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_header_bytes: 32_768,
            header_timeout_ms: 30_000,
            body_timeout_ms: 60_000,
            unread_timeout_ms: 60_000,
        }
    }
}

impl Bounds {
    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }
}

/// What a connection has of all that there may be, also when it isn't HTTP any more.
#[derive(Clone, Debug)]
pub(crate) struct Slot(#[expect(dead_code, reason = "it's held")] Option<Arc<OwnedSemaphorePermit>>);

/// Serves what connects until `stopping`, then closes the listener and returns when all that is open is answered.
pub(crate) async fn serve_all(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stopping: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(bounds.max_connections as usize));
    let connections = TaskTracker::new();
    loop {
        let (slot, stream, peer) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = stopping.cancelled() => break,
        };
        connections.spawn(serve_one(
            stream,
            peer,
            Slot(slot.map(Arc::new)),
            router.clone(),
            bounds,
            stopping.clone(),
        ));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, when there's room for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (Option<OwnedSemaphorePermit>, TcpStream, SocketAddr) {
    // The semaphore is never closed.
    let slot = slots.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (slot, stream, peer),
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(SHORTAGE).await;
            }
        }
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    slot: Slot,
    router: Router,
    bounds: Bounds,
    stopping: CancellationToken,
) {
    // The kernel sees what we don't: whether a peer takes what was written, or has gone without a word.
    if let Err(error) = set_tcp_user_timeout(&stream, bounds.unread_timeout_ms) {
        tracing::debug!(%error, "who reads nothing isn't cut off");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(bounds);
        request.extensions_mut().insert(slot.clone());
        let mut router = router.clone();
        async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(bounds.header_timeout_ms))
        .max_header_size(bounds.max_header_bytes as usize)
        // One that never ends takes no more memory than one that is accepted.
        .max_buf_size(bounds.max_header_bytes as usize)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection is cut off");
    }
}
