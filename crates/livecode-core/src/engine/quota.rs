//! Who may have how many runs accepted: what is open is counted, then what is asked for.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokio::sync::{Mutex, MutexGuard};

use super::Engine;
use crate::{Error, ErrorKind, Execution, Owner, Quota, Refusal, Result};

/// How long to wait where one that is open has to end first: nobody knows when it will.
const OPEN_WAIT: Duration = Duration::from_secs(5);

/// Where whoever has a bound on open executions counts and inserts, one after the other: which of them, a hash says.
pub(super) type Doors = [Mutex<()>; 32];

impl Engine {
    /// A view whose runs are accepted as far as `quota` goes, and refused with [`RateLimited`](ErrorKind::RateLimited) beyond it.
    ///
    /// They count for the view's owner; where that is nobody in particular, for the session; and for what runs without one, for
    /// `caller`, which stands for who asks: a network address, say, of at most 255 bytes without NUL. The store counts, so that
    /// what several processes accept counts together. What is refused for another reason costs nothing, nor does
    /// a repeated idempotency key; what the store fails to insert does.
    ///
    /// [`Quota::open_executions`] is about those of the execution's owner, or of its session where that is nobody in particular; what has
    /// neither isn't bounded by it. Within one process it's exact as long as nobody drops a call that is under way, which may go one
    /// over it; so may each other process that accepts at the same moment.
    ///
    /// ```
    /// # use livecode_core::*;
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::new(Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    /// let quota = Quota { rate: Some(Rate::new(6, 1)?), ..Quota::default() };
    /// let alice = engine.for_owner(Owner::new("alice")?).with_quota(quota, "");
    /// let run = || alice.run(ExecutionSpec::new("python", "1"), RunOptions::default());
    /// run().await?;
    /// let refused = run().await.unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::RateLimited);
    /// assert!(refused.retry_after().unwrap().as_secs() <= 10);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_quota(&self, quota: Quota, caller: &str) -> Self {
        Self { quota, caller: caller.into(), ..self.clone() }
    }

    /// Counts one more run that is about to be inserted, or refuses it. What it gives back is dropped when it's inserted.
    pub(super) async fn admit(&self, execution: &Execution) -> Result<Option<MutexGuard<'_, ()>>> {
        let (parts, quota) = (&self.parts, &self.quota);
        let nobody = Owner::anonymous();
        let of = (&execution.owner, execution.session_id.filter(|_| execution.owner == nobody));
        let mut door = None;
        if let Some(most) = quota.open_executions.filter(|_| of != (&nobody, None)) {
            let mut hash = DefaultHasher::new();
            of.hash(&mut hash);
            door = Some(parts.doors[hash.finish() as usize % parts.doors.len()].lock().await);
            let most = u64::from(most.get());
            if parts.store.count_open(of.0, of.1, most).await? >= most {
                return Err(refused(
                    OPEN_WAIT,
                    format!(
                        "too many runs: {most} are queued or running, which is all that may be at a time: one of them must \
                         end first, ask again in {} s",
                        OPEN_WAIT.as_secs()
                    ),
                ));
            }
        }
        if quota.is_counted() {
            let owner = self.owner.as_ref().filter(|owner| **owner != nobody);
            let who = match (owner, execution.session_id) {
                (Some(owner), _) => format!("owner:{owner}"),
                (None, Some(session)) => format!("session:{session}"),
                (None, None) => format!("caller:{}", self.caller),
            };
            if let Some(refusal) = parts.store.admit(&who, quota, execution.created_at).await? {
                return Err(self.too_many(refusal));
            }
        }
        Ok(door)
    }

    fn too_many(&self, refusal: Refusal) -> Error {
        let seconds = refusal.wait().as_millis().div_ceil(1000);
        let accepted = match (refusal, self.quota.rate, self.quota.runs_per_day) {
            (Refusal::Day(_), _, Some(most)) => {
                format!("{most} a day are accepted, which begins at midnight UTC")
            }
            (_, Some(rate), _) => {
                format!("{} a minute are accepted, {} at once", rate.runs_per_minute(), rate.burst())
            }
            (_, None, _) => "no more are accepted now".into(),
        };
        refused(refusal.wait(), format!("too many runs: {accepted}: ask again in {seconds} s"))
    }
}

fn refused(wait: Duration, sentence: String) -> Error {
    Error::new(ErrorKind::RateLimited, sentence).with_retry_after(wait)
}
