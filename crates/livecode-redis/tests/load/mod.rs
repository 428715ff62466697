//! Work for queues that are under faults: programs that are over soon, and what must hold of each of them in the end.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{TryStreamExt, future::join_all};
use livecode_core::{
    Capabilities, Engine, EventKind, Execution, ExecutionSpec, Follow, Io, Outcome, Output, Program, Queue,
    QueueStats, Result, RunOptions, Sandbox, Seq, State, Stdio, Store, Termination,
};
use tokio::{select, sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes.
const HANGS: Duration = Duration::from_secs(40);

/// How many callers there are, and how many programs each has queued at a time.
const CALLERS: usize = 6;
const AT_A_TIME: usize = 8;

/// A sandbox whose programs take as many milliseconds as the first word of their source says.
#[derive(Debug, Default)]
pub(crate) struct Brief {
    /// How often each was begun, by its source.
    begun: Mutex<HashMap<String, u32>>,
}

impl Brief {
    pub(crate) fn begun(&self, source: &str) -> u32 {
        self.begun.lock().unwrap().get(source).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Sandbox for Brief {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "brief".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let source = String::from_utf8(program.files[0].content.to_vec()).unwrap();
        let millis = source.split(' ').next().unwrap().parse().unwrap();
        *self.begun.lock().unwrap().entry(source).or_default() += 1;
        // Where nobody listens, a program goes on unheard.
        io.output.send(Output::new(Stdio::Stdout, "begun\n")).await.ok();
        let end = select! {
            () = sleep(Duration::from_millis(millis)) => Termination::Exited { code: 0 },
            () = cancel.cancelled() => Termination::Cancelled,
        };
        Ok(Outcome::new(end))
    }
}

/// Callers who have programs run, all the time.
#[derive(Debug)]
pub(crate) struct Load {
    engine: Engine,
    ended: watch::Sender<usize>,
    next: AtomicUsize,
    enough: CancellationToken,
}

impl Load {
    pub(crate) fn on(engine: Engine) -> Self {
        Self {
            engine,
            ended: watch::Sender::new(0),
            next: AtomicUsize::default(),
            enough: CancellationToken::new(),
        }
    }

    /// Until [`Load::stop`]; gives back all that was accepted, with its source, when it has ended.
    pub(crate) async fn run(&self) -> Vec<(Execution, String)> {
        let callers = (0..CALLERS).map(|_| async {
            let mut all = Vec::new();
            while !self.enough.is_cancelled() {
                let mut accepted = Vec::new();
                for _ in 0..AT_A_TIME {
                    let number = self.next.fetch_add(1, Ordering::Relaxed);
                    let source = format!("{} of program {number}", number % 20);
                    let spec = ExecutionSpec::new("python", source.clone());
                    let run = self.engine.run(spec, RunOptions::default()).await;
                    accepted.push((run.unwrap().execution.id, source));
                }
                for (id, source) in accepted {
                    let ended = self.engine.wait(id, HANGS).await.unwrap();
                    assert!(ended.state.is_terminal(), "it was accepted and doesn't end: {ended:?}");
                    self.ended.send_modify(|ended| *ended += 1);
                    all.push((ended, source));
                }
            }
            all
        });
        join_all(callers).await.into_iter().flatten().collect()
    }

    /// Waits until so many more have ended.
    pub(crate) async fn goes_on(&self, more: usize) {
        let mut ended = self.ended.subscribe();
        let wanted = *ended.borrow() + more;
        ended.wait_for(|ended| *ended >= wanted).await.unwrap();
    }

    pub(crate) fn stop(&self) {
        self.enough.cancel();
    }
}

/// What must hold of whatever was accepted: its program came to its end, which is the last of its log and the only one, the log has no
/// gaps, and each attempt in it was started once.
pub(crate) async fn ended_once(store: &dyn Store, ended: &Execution) {
    assert_eq!(ended.state, State::Completed, "{ended:?}");
    assert_eq!(store.get(ended.id).await.unwrap(), *ended, "what has ended never changes");
    let events: Vec<_> = store.events(ended.id, Seq::START, Follow::Everything).try_collect().await.unwrap();
    let mut started = Vec::new();
    let mut ends = 0;
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.seq, Seq(index as u64 + 1));
        match &event.kind {
            EventKind::Status { state: State::Running, attempt, .. } => started.push(*attempt),
            EventKind::Status { .. } => {}
            EventKind::Output { attempt, .. } => assert_eq!(Some(attempt), started.last()),
            EventKind::End(_) => ends += 1,
        }
    }
    assert_eq!(ends, 1, "{events:?}");
    assert!(matches!(events.last().unwrap().kind, EventKind::End(_)), "{events:?}");
    assert!(started.is_sorted_by(|one, next| one < next), "{events:?}");
    assert_eq!(started.last(), Some(&ended.attempt), "{events:?}");
}

/// Waits until nothing is in the queue: what was acknowledged while it was away comes back once more.
pub(crate) async fn emptied(queue: &dyn Queue) {
    let empty = async {
        while queue.stats().await.ok() != Some(QueueStats::default()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let emptied = tokio::time::timeout(HANGS, empty).await;
    assert!(emptied.is_ok(), "something is left: {:?}", queue.stats().await);
}
