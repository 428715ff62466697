//! `RETAIN_DAYS`: what ended longer ago than that is deleted.

use std::{future::pending, time::Duration};

use livecode::Engine;

/// How often there is a look for what has become too old.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Deletes the executions that ended longer ago than `retain`, now and every hour; never returns. Without `retain` all are
/// kept.
pub async fn prune_forever(engine: Engine, retain: Option<Duration>) {
    let Some(retain) = retain else {
        return pending().await;
    };
    loop {
        match engine.prune(retain, 0).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "executions that ended before RETAIN_DAYS are deleted"),
            Err(error) => {
                tracing::warn!(%error, "old executions can't be deleted: the next try is in an hour")
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
