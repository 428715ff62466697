//! From the first connection to the last: serving, and ending without losing anything.

use std::time::Duration;

use axum::{Router, middleware::from_fn};
use livecode::{Error, Result};
use tokio::net::TcpListener;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{
    connections::{Bounds, serve_all},
    local::only_this_machine,
    problem::Problem,
};

/// How long the workers may take to finish or give back what runs. Theirs to keep; beyond it they are dropped, which
/// kills their programs, and their leases lapse.
const WORKERS_END: Duration = Duration::from_secs(8);

/// How long open requests may take after that.
const REQUESTS_END: Duration = Duration::from_millis(1_500);

/// How far the end of this process has come. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    stopping: CancellationToken,
    /// What goes on when its connection isn't HTTP any more: the listener doesn't know of it.
    sockets: TaskTracker,
}

impl Shutdown {
    /// Fires when nothing new is begun any more: the token that workers stop by.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// The end waits until this is dropped, for a moment.
    pub(crate) fn hold(&self) -> TaskTrackerToken {
        self.sockets.token()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Returns when answers may not be held back any longer: streams end, waits answer.
    pub(crate) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    pub(crate) fn refuse_while_draining(&self) -> Result<(), Problem> {
        if self.is_draining() {
            return Err(Problem::unavailable("the server is shutting down: try again"));
        }
        Ok(())
    }
}

/// Serves until `signal` is ready, then ends in this order, within 10 s: ready says 503, new runs are refused and the
/// workers drain (they are to stop by [`Shutdown::draining`]); the listener closes, event streams and WebSockets end; what is open
/// is answered. What it asks of connections is in `bounds`.
///
/// Where callers are `anonymous`, on a loopback address it refuses with 403 what browsers ask on behalf of other sites' pages.
///
/// # Errors
///
/// Where the listener has no address, where it or the workers end by themselves, or the workers don't end in time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    anonymous: bool,
    bounds: Bounds,
    shutdown: Shutdown,
    workers: impl Future<Output = ()> + Send + 'static,
    signal: impl Future<Output = ()>,
) -> Result<()> {
    let address = listener.local_addr();
    let address =
        address.map_err(|error| Error::internal("the listener has no address").with_source(error))?;
    // Where nobody signs in, who reaches the address is who may run programs. Elsewhere ALLOW_ANONYMOUS says that it's meant.
    let router = if anonymous && address.ip().is_loopback() {
        router.layer(from_fn(only_this_machine))
    } else {
        router
    };
    let mut http = tokio::spawn(serve_all(listener, router, bounds, shutdown.stopping.clone()));
    let mut workers = tokio::spawn(workers);
    let early = tokio::select! {
        () = signal => None,
        ended = &mut workers => Some(format!("the workers ended by themselves: {ended:?}")),
        ended = &mut http => Some(format!("the listener ended by itself: {ended:?}")),
    };
    tracing::info!("shutting down: finishing what runs");
    shutdown.draining.cancel();
    let drained =
        if workers.is_finished() { Ok(()) } else { ended("the workers", WORKERS_END, &mut workers).await };
    shutdown.stopping.cancel();
    let sockets = shutdown.sockets.clone();
    sockets.close();
    let sockets = tokio::spawn(tokio::time::timeout(REQUESTS_END, async move { sockets.wait().await }));
    if !http.is_finished() {
        match ended("the listener", REQUESTS_END, &mut http).await {
            Ok(()) => {}
            // A client that doesn't read its answer is no failure of ours.
            Err(error) => tracing::warn!(%error, "connections are cut off"),
        }
    }
    if !matches!(sockets.await, Ok(Ok(()))) {
        tracing::warn!("WebSockets are cut off");
    }
    match early {
        Some(reason) => Err(Error::internal(reason)),
        None => drained,
    }
}

async fn ended<T>(what: &str, within: Duration, task: &mut tokio::task::JoinHandle<T>) -> Result<T> {
    match tokio::time::timeout(within, &mut *task).await {
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(error)) => Err(Error::internal(format!("{what} failed")).with_source(error)),
        Err(_) => {
            task.abort();
            Err(Error::internal(format!("{what} didn't end within {} ms", within.as_millis())))
        }
    }
}
