//! Calls of concurrent callers, made together.
//!
//! A commit and the way to the server and back are what a call costs most, so those of one kind that wait at the same time, changes
//! or looks at one row, become one statement, which is a transaction by itself. A lone one waits for nobody. The tasks
//! drive every statement to its end, so that no caller who loses interest can leave one half done.

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

/// The most calls in one statement.
const BATCH: usize = 128;

/// About how many bytes one statement carries, where no single change is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// A change, or a look, that can be made together with others of its kind.
pub(super) trait Call: Send + Sync + Sized + 'static {
    /// What its caller is told.
    type Made: Send + 'static;

    /// Whether it may be in one statement with these.
    fn joins(&self, others: &[Self]) -> bool;

    /// About how many bytes it carries to the server.
    fn bytes(&self) -> usize {
        0
    }

    /// Makes them in one transaction, and says of each what became of it. A refused one wrote nothing.
    fn make(
        calls: &[Self],
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Vec<Result<Self::Made>>, sqlx::Error>> + Send;
}

/// Where calls of one kind are made.
#[derive(Debug)]
pub(super) struct Lanes<C: Call> {
    calls: Sender<Asked<C>>,
}

type Caller<C> = oneshot::Sender<Result<<C as Call>::Made>>;

struct Asked<C: Call> {
    call: C,
    caller: Caller<C>,
}

impl<C: Call> Lanes<C> {
    /// Starts the tasks: so many statements are under way at a time. Two, and while one waits for the disk the next is worked
    /// out. They end when this is dropped and all calls are made.
    pub(super) fn start(connections: &Arc<Connections>, lanes: usize) -> Self {
        let (sender, receiver) = mpsc::channel(4 * BATCH);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..lanes {
            let lane = Lane { connections: connections.clone() };
            tokio::spawn(lane.run(receiver.clone()));
        }
        Self { calls: sender }
    }

    /// Makes a call, all of it or nothing. Where this future is dropped it's made or not.
    pub(super) async fn make(&self, call: C) -> Result<C::Made> {
        let (caller, answer) = oneshot::channel();
        self.calls.send(Asked { call, caller }).await.map_err(|_| gone())?;
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
    async fn run<C: Call>(self, calls: Arc<Mutex<Receiver<Asked<C>>>>) {
        let mut waiting = Vec::with_capacity(BATCH);
        while wait(&calls, &mut waiting).await {
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

    /// Says of each call what became of it.
    async fn make<C: Call>(&self, batch: &[C]) -> Vec<Result<C::Made>> {
        match self.transaction(batch).await {
            Ok(made) => made,
            // One of them breaks a rule, and took the others with it: each by itself, so that it fails alone.
            Err(error) if batch.len() > 1 && error::is_refusal(&error) => {
                let mut made = Vec::with_capacity(batch.len());
                for call in batch {
                    match self.transaction(slice::from_ref(call)).await {
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

    async fn transaction<C: Call>(&self, batch: &[C]) -> Result<Vec<Result<C::Made>>, sqlx::Error> {
        let mut lent = self.connections.lend().await?;
        let made = in_time(C::make(batch, &mut lent.connection)).await;
        self.connections.settle(lent, &made);
        made
    }
}

/// Waits for calls; says whether there are any, or never will be.
async fn wait<C: Call>(calls: &Mutex<Receiver<Asked<C>>>, waiting: &mut Vec<Asked<C>>) -> bool {
    let mut calls = calls.lock().await;
    if calls.recv_many(waiting, BATCH).await == 0 {
        return false;
    }
    // Callers who are answered together ask together, but one after the other: the first one's call is here while the others
    // wait for their turn to run, which is before ours.
    yield_now().await;
    while waiting.len() < BATCH
        && let Ok(asked) = calls.try_recv()
    {
        waiting.push(asked);
    }
    true
}

/// Takes out of those that wait as many as one statement may have, in their order. Where a caller has gone, nothing is the
/// better half of "made or not".
fn batch<C: Call>(waiting: &mut Vec<Asked<C>>) -> (Vec<C>, Vec<Caller<C>>) {
    let (mut batch, mut callers) = (Vec::with_capacity(waiting.len()), Vec::with_capacity(waiting.len()));
    let mut bytes = 0;
    for asked in std::mem::take(waiting) {
        if asked.caller.is_closed() {
            continue;
        }
        bytes += asked.call.bytes();
        if batch.is_empty() || bytes <= BATCH_BYTES && asked.call.joins(&batch) {
            batch.push(asked.call);
            callers.push(asked.caller);
        } else {
            waiting.push(asked);
        }
    }
    (batch, callers)
}
