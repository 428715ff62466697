//! An engine, the backends under it, and workers that can be stopped and killed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::StreamExt;
use livecode_core::{
    Clock, Engine, Event, EventKind, Execution, ExecutionId, ExecutionSpec, Follow, Job, Owner, Queue,
    RunOptions, Runner, Seq, State, Store, Timestamp, Worker,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backends::{FatedQueue, FatedStore},
    stage::Stage,
};

/// Longer than anything here takes; it's paused time.
const HANGS: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct World {
    pub(crate) store: Arc<FatedStore>,
    pub(crate) queue: Arc<FatedQueue>,
    pub(crate) engine: Engine,
    clock: Arc<PausedClock>,
}

/// Wall time that goes as tokio's time does, paused or not.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_769_000_000_000).unwrap().saturating_add(self.0.elapsed())
    }
}

/// A worker at work; killed when it's dropped.
pub(crate) struct Working {
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Working {
    /// Asks for the end and waits for it.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        timeout(HANGS, &mut self.task).await.unwrap().unwrap();
    }

    /// Drops its future, and waits until that's done.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
        // What it had spawned is aborted; that takes the runtime a turn.
        tokio::task::yield_now().await;
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let (store, queue) = (FatedStore::new(), FatedQueue::new());
        let clock = Arc::new(PausedClock(Instant::now()));
        Self { engine: Engine::new(store.clone(), queue.clone()).clock(clock.clone()), store, queue, clock }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the engine and the workers take the time from.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// A worker on these backends that isn't at work yet.
    pub(crate) fn worker(&self, stage: &Arc<Stage>) -> Worker {
        self.worker_on(self.store.clone(), self.queue.clone(), stage)
    }

    /// The same on backends of its own over these.
    pub(crate) fn worker_on(
        &self,
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        stage: &Arc<Stage>,
    ) -> Worker {
        Worker::new(store, queue, Runner::shared(stage.clone())).clock(self.clock.clone()).concurrency(2)
    }

    pub(crate) fn start(&self, worker: &Worker) -> Working {
        let (worker, shutdown) = (worker.clone(), CancellationToken::new());
        let token = shutdown.clone();
        Working { shutdown, task: tokio::spawn(async move { worker.run(token).await }) }
    }

    /// A worker at work.
    pub(crate) fn work(&self, stage: &Arc<Stage>) -> Working {
        self.start(&self.worker(stage))
    }

    /// Queues a program.
    pub(crate) async fn queue(&self, source: &str) -> ExecutionId {
        self.queue_after(source, Duration::ZERO).await
    }

    /// Queues a program that isn't to be started for a while.
    pub(crate) async fn queue_after(&self, source: &str, delay: Duration) -> ExecutionId {
        let options = RunOptions { delay, ..RunOptions::default() };
        let accepted = self.engine.run(ExecutionSpec::new("python", source), options).await;
        accepted.unwrap().execution.id
    }

    /// How many jobs are in the queue.
    pub(crate) async fn queue_length(&self) -> u64 {
        let stats = self.engine.queue_stats().await.unwrap();
        stats.waiting + stats.delayed + stats.leased
    }

    /// Pushes a job past the engine.
    pub(crate) async fn push(&self, id: ExecutionId, attempt: u32) {
        let job = Job { id, attempt, owner: Owner::anonymous(), delay: Duration::ZERO, priority: 0 };
        self.queue.push(&[job]).await.unwrap();
    }

    /// The events up to the one that `found` says yes to.
    pub(crate) async fn events_until(&self, id: ExecutionId, found: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = self.store.events(id, Seq::START, Follow::Everything);
        let mut seen = Vec::new();
        let until = async {
            while let Some(event) = events.next().await {
                let event = event.unwrap();
                seen.push(event.clone());
                if found(&event) {
                    return;
                }
            }
        };
        timeout(HANGS, until).await.unwrap();
        seen
    }

    /// Waits for that state in that attempt.
    pub(crate) async fn reaches(&self, id: ExecutionId, wanted: State, wanted_attempt: u32) {
        self.events_until(id, |event| {
            matches!(event.kind, EventKind::Status { state, attempt, .. } if (state, attempt) == (wanted, wanted_attempt))
        })
        .await;
    }

    /// Waits for the end, and checks that the log is one that may be: without gaps, one attempt after the other, each
    /// started once, output only of the one that runs, one end, which is the record.
    pub(crate) async fn end(&self, id: ExecutionId) -> Execution {
        let log = self.events_until(id, |event| matches!(event.kind, EventKind::End(_))).await;
        let mut running = None;
        let mut latest = 0;
        let mut starts: HashMap<u32, usize> = HashMap::new();
        let mut end = None;
        for (index, event) in log.into_iter().enumerate() {
            assert_eq!(event.seq, Seq(index as u64 + 1));
            assert_eq!(end, None, "nothing follows the end");
            match event.kind {
                EventKind::Status { state, attempt, cancel_requested } => {
                    assert!(attempt >= latest);
                    latest = attempt;
                    if state == State::Running && !cancel_requested {
                        *starts.entry(attempt).or_default() += 1;
                    }
                    running = (state == State::Running).then_some(attempt);
                }
                EventKind::Output { attempt, .. } => assert_eq!(Some(attempt), running),
                EventKind::End(execution) => end = Some(*execution),
            }
        }
        assert!(starts.values().all(|starts| *starts == 1), "an attempt is started once: {starts:?}");
        let end = end.unwrap();
        assert_eq!(end, self.engine.execution(id).await.unwrap());
        end
    }

    /// What it wrote to standard output.
    pub(crate) async fn stdout(&self, id: ExecutionId) -> String {
        let captured = self.engine.output(id).await.unwrap();
        String::from_utf8(captured.stdout.to_vec()).unwrap()
    }
}
