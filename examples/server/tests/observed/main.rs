//! What operators see of the API and its worker: metrics, the log, traces. A process of its own, since all three are one for
//! each process.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod exposition;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../http/fake.rs"]
mod fake;
mod logs;
mod metrics;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../http/server.rs"]
mod server;
#[cfg(feature = "otel")]
mod traces;

use std::time::Duration;

/// Waits for what is told soon after an answer, such as the line of an attempt whose end the answer shows.
async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect(what)
}
