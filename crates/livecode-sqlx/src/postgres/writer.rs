//! Changes of concurrent callers, made together.
//!
//! A commit and the way to the server and back are what a change costs most, so changes of one kind that wait at the same
//! time become one statement, which is a transaction by itself. A lone change waits for nobody. The tasks drive every
//! statement to its end, so that no caller who loses interest can leave one half done.

use std::{future::Future, slice, sync::Arc};

use livecode_core::{Error, Result};
use sqlx::PgConnection;
use tokio::{
    sync::{
        Mutex,
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
    task::yield_now,
};

use super::connections::{Connections, in_time};
use crate::error;

/// The most changes in one statement.
const BATCH: usize = 128;

/// About how many bytes one statement carries, where no single change is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// A change that can be made together with others of its kind.
pub(super) trait Change: Send + Sync + Sized + 'static {
    /// What its caller is told.
    type Made: Send + 'static;

    /// Whether it may be in one statement with these.
    fn joins(&self, others: &[Self]) -> bool;

    /// About how many bytes it carries.
    fn bytes(&self) -> usize {
        0
    }

    /// Makes them in one transaction, and says of each what became of it. A refused one wrote nothing.
    fn make(
        changes: &[Self],
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Vec<Result<Self::Made>>, sqlx::Error>> + Send;
}

/// Makes changes of one kind.
#[derive(Debug)]
pub(super) struct Writer<C: Change> {
    changes: Sender<Asked<C>>,
}

type Caller<C> = oneshot::Sender<Result<<C as Change>::Made>>;

struct Asked<C: Change> {
    change: C,
    caller: Caller<C>,
}

impl<C: Change> Writer<C> {
    /// Starts the tasks: so many statements are under way at a time. Two, and while one waits for the disk the next is worked
    /// out. They end when the writer is dropped and all changes are made.
    pub(super) fn start(connections: &Arc<Connections>, lanes: usize) -> Self {
        let (sender, receiver) = mpsc::channel(4 * BATCH);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..lanes {
            let lane = Lane { connections: connections.clone() };
            tokio::spawn(lane.run(receiver.clone()));
        }
        Self { changes: sender }
    }

    /// Makes a change, all of it or nothing. Where this future is dropped it's made or not.
    pub(super) async fn write(&self, change: C) -> Result<C::Made> {
        let (caller, answer) = oneshot::channel();
        self.changes.send(Asked { change, caller }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> Error {
    Error::unavailable("the database is closed: the runtime that it was opened in has ended")
}

/// Makes one statement after the other.
struct Lane {
    connections: Arc<Connections>,
}

impl Lane {
    async fn run<C: Change>(self, changes: Arc<Mutex<Receiver<Asked<C>>>>) {
        let mut waiting = Vec::with_capacity(BATCH);
        while wait(&changes, &mut waiting).await {
            while !waiting.is_empty() {
                let (batch, callers) = batch(&mut waiting);
                let made = self.make(&batch).await;
                for (caller, made) in callers.into_iter().zip(made) {
                    // A caller that has gone meanwhile needs no answer.
                    caller.send(made).ok();
                }
            }
        }
    }

    /// Says of each change what became of it.
    async fn make<C: Change>(&self, batch: &[C]) -> Vec<Result<C::Made>> {
        match self.transaction(batch).await {
            Ok(made) => made,
            // One of them breaks a rule, and took the others with it: each by itself, so that it fails alone.
            Err(error) if batch.len() > 1 && error::is_refusal(&error) => {
                let mut made = Vec::with_capacity(batch.len());
                for change in batch {
                    match self.transaction(slice::from_ref(change)).await {
                        Ok(one) => made.extend(one),
                        Err(error) => made.push(Err(error::from_sqlx(error))),
                    }
                }
                made
            }
            Err(error) => {
                let error = Arc::new(error);
                batch.iter().map(|_| Err(error::shared(&error))).collect()
            }
        }
    }

    async fn transaction<C: Change>(&self, batch: &[C]) -> Result<Vec<Result<C::Made>>, sqlx::Error> {
        let mut lent = self.connections.lend().await?;
        let made = in_time(C::make(batch, &mut lent.connection)).await;
        self.connections.settle(lent, &made);
        made
    }
}

/// Waits for changes; says whether there are any, or never will be.
async fn wait<C: Change>(changes: &Mutex<Receiver<Asked<C>>>, waiting: &mut Vec<Asked<C>>) -> bool {
    let mut changes = changes.lock().await;
    if changes.recv_many(waiting, BATCH).await == 0 {
        return false;
    }
    // Callers who are answered together ask together, but one after the other: the first one's change is here while the others
    // wait for their turn to run, which is before ours.
    yield_now().await;
    while waiting.len() < BATCH
        && let Ok(asked) = changes.try_recv()
    {
        waiting.push(asked);
    }
    true
}

/// Takes out of those that wait as many as one statement may have, in their order. Where a caller has gone, nothing is the
/// better half of "made or not".
fn batch<C: Change>(waiting: &mut Vec<Asked<C>>) -> (Vec<C>, Vec<Caller<C>>) {
    let (mut batch, mut callers) = (Vec::with_capacity(waiting.len()), Vec::with_capacity(waiting.len()));
    let mut bytes = 0;
    for asked in std::mem::take(waiting) {
        if asked.caller.is_closed() {
            continue;
        }
        bytes += asked.change.bytes();
        if batch.is_empty() || bytes <= BATCH_BYTES && asked.change.joins(&batch) {
            batch.push(asked.change);
            callers.push(asked.caller);
        } else {
            waiting.push(asked);
        }
    }
    (batch, callers)
}
