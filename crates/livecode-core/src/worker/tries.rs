//! How often a change to a record is tried anew, and after which pause.

use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use crate::{Error, ErrorKind};

/// How often a change is tried anew because somebody else changed the record first.
const CONTENDED_TRIES: u32 = 32;

/// How often a change is tried anew where the store has a failure that waiting may not mend.
const BROKEN_TRIES: u32 = 6;

/// The tries of one change to a record.
#[derive(Debug, Default)]
pub(super) struct Tries {
    conflicts: u32,
    broken: u32,
    backoff: Backoff,
}

impl Tries {
    /// Says, after a pause where one is due, whether to read the record again and try anew; not where `stop` fires.
    pub(super) async fn again(&mut self, failed: &Error, stop: &CancellationToken) -> bool {
        match failed.kind() {
            ErrorKind::Conflict => {
                self.conflicts += 1;
                self.conflicts < CONTENDED_TRIES
            }
            ErrorKind::Unavailable | ErrorKind::QueueFull | ErrorKind::RateLimited => {
                self.backoff.pause(stop).await
            }
            ErrorKind::Internal => {
                self.broken += 1;
                self.broken < BROKEN_TRIES && self.backoff.pause(stop).await
            }
            ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::PreconditionFailed
            | ErrorKind::Unsupported => false,
        }
    }
}
