//! Programs that say which run of which attempt they are, and do what their source says.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use livecode_core::{
    Capabilities, Error, ExecutionId, Io, Outcome, Output, Program, Result, Sandbox, Stdio, Termination,
};
use tokio::{select, sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{history::Death, link::Link};

/// What a program does once it has written its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Succeeds,
    Fails,
    UsesTooMuchMemory,
    UsesUpItsTime,
    /// Until it's cancelled.
    Stays,
    /// Writes what is sent to it, until its input ends.
    Echoes,
    /// Takes its worker with it.
    Poison,
}

/// What stands in a program's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) kind: Kind,
    pub(crate) lines: u64,
    /// Before each line and before the end.
    pub(crate) pause_millis: u64,
}

impl Script {
    const KINDS: [Kind; 7] = [
        Kind::Succeeds,
        Kind::Fails,
        Kind::UsesTooMuchMemory,
        Kind::UsesUpItsTime,
        Kind::Stays,
        Kind::Echoes,
        Kind::Poison,
    ];

    pub(crate) fn source(self) -> String {
        let kind = Self::KINDS.iter().position(|kind| *kind == self.kind).unwrap();
        format!("{kind} {} {}", self.lines, self.pause_millis)
    }

    pub(crate) fn of(source: &str) -> Self {
        let mut words = source.split(' ').map(|word| word.parse::<u64>().unwrap());
        let mut next = || words.next().unwrap();
        let kind = Self::KINDS[usize::try_from(next()).unwrap()];
        Self { kind, lines: next(), pause_millis: next() }
    }

    pub(crate) fn end(self) -> Termination {
        match self.kind {
            Kind::Succeeds | Kind::Echoes => Termination::Exited { code: 0 },
            Kind::Fails => Termination::Exited { code: 7 },
            Kind::UsesTooMuchMemory => Termination::MemoryExceeded { limit: 1 },
            Kind::UsesUpItsTime => Termination::WallTimeExceeded { limit: Duration::from_millis(1) },
            Kind::Stays | Kind::Poison => Termination::Cancelled,
        }
    }

    /// Every other line goes to standard error.
    pub(crate) fn line(run: usize, line: u64) -> (Stdio, String) {
        let stdio = if line.is_multiple_of(2) { Stdio::Stdout } else { Stdio::Stderr };
        (stdio, format!("run {run} line {line}\n"))
    }
}

/// The sandbox of one process.
#[derive(Debug)]
pub(crate) struct Stage(pub(crate) Arc<Link>);

/// A run that is over when this is gone.
struct Playing<'a> {
    link: &'a Link,
    id: ExecutionId,
    run: usize,
}

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        self.link.sim.history().end_run(self.run);
        self.link.sim.tell(self.link.who, "program", "is gone", Some(self.id), self.run as u64);
    }
}

#[async_trait]
impl Sandbox for Stage {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "stage".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let link = &*self.0;
        let (id, attempt) = program.name.rsplit_once('-').unwrap();
        let (id, attempt) = (id.parse().unwrap(), attempt.parse().unwrap());
        let run = link.sim.history().begin_run(link.who, id, attempt);
        link.sim.tell(link.who, "program", "begins", Some(id), run as u64);
        let playing = Playing { link, id, run };
        let sick = link.sim.happens(link.sim.faults.sick);
        let failure = || Err(Error::unavailable("the sandbox is sick"));
        if sick && link.sim.chance(fastrand::Rng::bool) {
            return failure();
        }
        let script = Script::of(std::str::from_utf8(&program.files[0].content).unwrap());
        let termination = select! {
            biased;
            ended = play(&playing, script, io.output, io.more) => ended,
            () = cancel.cancelled() => {
                // It takes a moment.
                sleep(link.sim.millis(200)).await;
                Termination::Cancelled
            }
        };
        if sick {
            return failure();
        }
        let mut outcome = Outcome::new(termination);
        outcome.compile_output = Some(run.to_string());
        Ok(outcome)
    }
}

async fn play(
    playing: &Playing<'_>,
    script: Script,
    output: mpsc::Sender<Output>,
    input: Option<mpsc::Receiver<bytes::Bytes>>,
) -> Termination {
    let pause = Duration::from_millis(script.pause_millis);
    for line in 0..script.lines {
        sleep(pause).await;
        let (stdio, text) = Script::line(playing.run, line);
        output.send(Output::new(stdio, text)).await.ok();
    }
    if let Some(mut input) = input {
        while let Some(piece) = input.recv().await {
            output.send(Output::new(Stdio::Stdout, piece)).await.ok();
        }
    }
    sleep(pause).await;
    match script.kind {
        Kind::Stays => std::future::pending().await,
        Kind::Poison => {
            playing.link.die(Death::Poisoned(playing.id));
            std::future::pending().await
        }
        Kind::Succeeds | Kind::Fails | Kind::UsesTooMuchMemory | Kind::UsesUpItsTime | Kind::Echoes => {
            script.end()
        }
    }
}
