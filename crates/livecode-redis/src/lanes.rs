//! Requests of concurrent callers, made together.
//!
//! The way to the server and back, and a call of a script, cost more than what one request needs of it: those that are there at the same
//! time become one call. A lone one waits for nobody. The tasks drive every call to its end, so that no caller who loses
//! interest can leave one half done.

use std::{future::Future, sync::Arc};

use livecode_core::{Error, Result};
use tokio::{
    sync::{
        Mutex,
        mpsc::{self, Receiver, Sender},
        oneshot,
    },
    task::yield_now,
    time::timeout,
};

use crate::{connection::ANSWER_TIMEOUT, scripts::Scripts};

/// The most requests in one call, and about the most jobs that one is about: more keeps the server from others for longer and saves
/// nothing.
const BATCH: usize = 128;
pub(crate) const BATCH_JOBS: usize = 1_000;

/// What can be made together with others of its kind.
pub(crate) trait Request: Send + Sized + 'static {
    /// How many jobs it's about.
    fn jobs(&self) -> usize;

    /// Whether its caller is still there. Where not, nothing is the better half of "made or not".
    fn is_wanted(&self) -> bool;

    /// Makes them all in one call, and answers their callers.
    fn make(requests: Vec<Self>, scripts: &Scripts) -> impl Future<Output = ()> + Send;
}

/// Where requests of a kind are made.
#[derive(Debug)]
pub(crate) struct Lanes<R> {
    requests: Sender<R>,
}

impl<R: Request> Lanes<R> {
    /// Starts the tasks: so many calls are under way at a time. Two, and while one is worked out the next is written. They end when
    /// this is dropped and all requests are made.
    pub(crate) fn start(scripts: &Arc<Scripts>, lanes: usize) -> Self {
        let (requests, receiver) = mpsc::channel(4 * BATCH);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..lanes {
            tokio::spawn(run(receiver.clone(), scripts.clone()));
        }
        Self { requests }
    }

    /// Makes the request that `of` makes of its caller. Where this future is dropped it's made or not.
    pub(crate) async fn ask<T>(&self, of: impl FnOnce(oneshot::Sender<Result<T>>) -> R) -> Result<T> {
        let (caller, answer) = oneshot::channel();
        in_time(async {
            self.requests.send(of(caller)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        })
        .await
    }
}

/// An answer, whatever it waits for.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        Err(Error::unavailable(format!("Redis gives no answer within {} s", ANSWER_TIMEOUT.as_secs())))
    })
}

fn gone() -> Error {
    Error::unavailable("the queue is closed: the runtime that it was opened in has ended")
}

async fn run<R: Request>(requests: Arc<Mutex<Receiver<R>>>, scripts: Arc<Scripts>) {
    let mut waiting = Vec::with_capacity(BATCH);
    while wait(&requests, &mut waiting).await {
        loop {
            waiting.retain(R::is_wanted);
            if waiting.is_empty() {
                break;
            }
            let mut jobs = 0;
            let fits = waiting.iter().take_while(|request| {
                jobs += request.jobs();
                jobs <= BATCH_JOBS
            });
            let fits = fits.count().max(1);
            R::make(waiting.drain(..fits).collect(), &scripts).await;
        }
    }
}

/// Waits for requests; says whether there are any, or never will be.
async fn wait<R>(requests: &Mutex<Receiver<R>>, waiting: &mut Vec<R>) -> bool {
    let mut requests = requests.lock().await;
    if requests.recv_many(waiting, BATCH).await == 0 {
        return false;
    }
    // Callers who are answered together ask together, but one after the other: the first one's request is here while the others
    // wait for their turn to run, which is before ours.
    yield_now().await;
    while waiting.len() < BATCH
        && let Ok(request) = requests.try_recv()
    {
        waiting.push(request);
    }
    true
}
