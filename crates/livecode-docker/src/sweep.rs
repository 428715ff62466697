//! What dead workers left.

use std::time::{Duration, SystemTime};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum as State};
use livecode_core::Result;

use crate::container::{Common, GROUP};

/// Removes what nobody looks after any more. One that runs ends by itself: with its worker's end it's told so, it doesn't wait for
/// ever, and its programs have their time.
pub(crate) async fn sweep(common: &Common, older_than: Duration) -> Result<()> {
    for container in common.engine.list(format!("{GROUP}={}", common.group)).await? {
        if is_left(&container, older_than)
            && let Some(id) = &container.id
        {
            // One that can't be removed keeps none of the others.
            let removed = common.engine.remove(id).await;
            tracing::debug!(container = id, ?removed, "what a dead worker left");
        }
    }
    Ok(())
}

fn is_left(container: &ContainerSummary, older_than: Duration) -> bool {
    let has_ended = !matches!(
        container.state,
        Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::REMOVING)
    );
    // By the engine's clock, which in most cases is ours.
    let made = SystemTime::UNIX_EPOCH
        + Duration::from_secs(container.created.unwrap_or_default().max(0).unsigned_abs());
    has_ended && made.elapsed().is_ok_and(|age| age > older_than)
}
