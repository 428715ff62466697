//! Parts that do as the test says: a sandbox whose programs are lists of instructions, and a store that is broken.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use livecode::{
    Capabilities, Captured, Delivery, DeliveryQuery, Error, ErrorKind, Event, Execution, ExecutionId,
    ExecutionSpec, Follow, Input, Inserted, Io, ListQuery, Outcome, Output, Owner, Program, PruneQuery,
    Pruned, Quota, Refusal, Result, Revision, RevisionHead, Sandbox, Seq, Session, SessionId,
    SessionRevision, Stdio, Store, Termination, Timestamp,
};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Runs programs of one instruction per line:
///
/// - `out TEXT`, `err TEXT`: write a line
/// - `raw HEX`: write these bytes to standard output
/// - `read`: wait for the next piece of input that is sent to it, and write it as a line, or `eof`
/// - `cat`: write standard input to standard output
/// - `env`, `args`, `files`, `limits`: write them
/// - `wait`: until the test calls [`Fake::release`] or somebody cancels; `stubborn`: without the latter
/// - `exit CODE`, `kill`, `slow`, `hungry`, `uncompilable`, `break`, `unprotected`: end so
///
/// A program that is `obey` alone does what its standard input says. Whatever else is a line that does nothing. Python tells a version, JavaScript isn't installed.
#[derive(Debug)]
pub(crate) struct Fake {
    gate: Semaphore,
    /// A permit for each `wait` that was reached.
    waiting: Semaphore,
    /// Whether it fails to tell versions for now, by a cause that no client may see.
    pub(crate) overloaded: AtomicBool,
    /// How often it was asked for a version.
    pub(crate) asked: AtomicUsize,
}

impl Default for Fake {
    fn default() -> Self {
        let none = || Semaphore::new(0);
        Self {
            gate: none(),
            waiting: none(),
            overloaded: AtomicBool::default(),
            asked: AtomicUsize::default(),
        }
    }
}

impl Fake {
    /// Until one more program has come to a `wait`.
    pub(crate) async fn waits(&self) {
        self.waiting.acquire().await.unwrap().forget();
    }

    /// Lets one `wait` pass.
    pub(crate) fn release(&self) {
        self.gate.add_permits(1);
    }
}

#[async_trait]
impl Sandbox for Fake {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "fake".into(),
            enforced: Vec::new(),
            missing: vec!["everything: it is a fake".into()],
        }
    }

    async fn run(&self, program: &Program, mut io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let output = io.output.clone();
        let write = async |stdio, bytes: Bytes| {
            // The runner outlives the program.
            output.send(Output::new(stdio, bytes)).await.unwrap();
        };
        let mut outcome = Outcome::new(Termination::Exited { code: 0 });
        outcome.usage.wall_time = Duration::from_millis(12);
        outcome.usage.cpu_time = Duration::from_millis(10);
        outcome.usage.memory_peak_bytes = Some(9_437_184);
        let Some(entry) = program.files.first() else {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if program.language == "javascript" {
                return Err(Error::unsupported("node isn't installed here: install it"));
            }
            if self.overloaded.load(Ordering::Relaxed) {
                return Err(Error::unavailable("the fake is overloaded").with_source(Error::internal(SECRET)));
            }
            write(Stdio::Stdout, "Python 3.13.1\n".into()).await;
            return Ok(outcome);
        };
        let source = if entry.content == "obey" { &io.stdin } else { &entry.content };
        let source = String::from_utf8(source.to_vec()).unwrap();
        for line in source.lines() {
            let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
            outcome.termination = match instruction {
                "out" => {
                    write(Stdio::Stdout, format!("{rest}\n").into()).await;
                    continue;
                }
                "err" => {
                    write(Stdio::Stderr, format!("{rest}\n").into()).await;
                    continue;
                }
                "raw" => {
                    let bytes: Vec<u8> =
                        rest.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
                    write(Stdio::Stdout, bytes.into()).await;
                    continue;
                }
                "read" => {
                    let more = io.more.as_mut().unwrap();
                    let piece = tokio::select! {
                        piece = more.recv() => piece,
                        () = cancel.cancelled() => {
                            outcome.termination = Termination::Cancelled;
                            return Ok(outcome);
                        }
                    };
                    let piece = piece.unwrap_or_else(|| "eof".into());
                    write(Stdio::Stdout, [&piece[..], b"\n"].concat().into()).await;
                    continue;
                }
                "cat" => {
                    write(Stdio::Stdout, io.stdin.clone()).await;
                    continue;
                }
                "env" => {
                    for (name, value) in &program.run.env {
                        write(Stdio::Stdout, format!("{name}={value}\n").into()).await;
                    }
                    continue;
                }
                "args" => {
                    for argument in &program.run.command {
                        write(Stdio::Stdout, format!("{argument}\n").into()).await;
                    }
                    continue;
                }
                "limits" => {
                    write(Stdio::Stdout, format!("{:?}\n", program.run.limits.wall_time).into()).await;
                    continue;
                }
                "files" => {
                    for file in &program.files {
                        write(Stdio::Stdout, format!("{} {}\n", file.path, file.content.len()).into()).await;
                    }
                    continue;
                }
                "wait" => {
                    self.waiting.add_permits(1);
                    tokio::select! {
                        permit = self.gate.acquire() => {
                            permit.unwrap().forget();
                            continue;
                        }
                        () = cancel.cancelled() => Termination::Cancelled,
                    }
                }
                "stubborn" => {
                    self.gate.acquire().await.unwrap().forget();
                    continue;
                }
                "exit" => Termination::Exited { code: rest.parse().unwrap() },
                "kill" => Termination::Signaled { signal: 11 },
                "slow" => Termination::WallTimeExceeded { limit: program.run.limits.wall_time },
                "hungry" => Termination::MemoryExceeded { limit: program.run.limits.memory_bytes },
                "uncompilable" => {
                    outcome.compile_output = Some("main.c:1: no".into());
                    Termination::CompileFailed { message: "the compiler exited with status 1".into() }
                }
                "break" => return Err(Error::internal("the fake is broken")),
                "unprotected" => {
                    outcome.unprotected.push("memory: no cgroup".into());
                    continue;
                }
                _ => continue,
            };
            return Ok(outcome);
        }
        Ok(outcome)
    }
}

/// Fails every call with an error of this kind, which holds what no client may see.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) kind: ErrorKind,
    /// Whether executions are accepted all the same.
    pub(crate) accepts: bool,
}

/// What no client may see.
pub(crate) const SECRET: &str = "password at db.internal:5432";

impl Broken {
    fn error(&self) -> Error {
        Error::new(self.kind, SECRET)
    }
}

#[async_trait]
impl Store for Broken {
    async fn insert_session(&self, _: &Session) -> Result<()> {
        Err(self.error())
    }

    async fn session(&self, _: SessionId) -> Result<Session> {
        Err(self.error())
    }

    async fn update_session(&self, _: &Session) -> Result<()> {
        Err(self.error())
    }

    async fn revisions(&self, _: SessionId, _: Option<Revision>, _: usize) -> Result<Vec<RevisionHead>> {
        Err(self.error())
    }

    async fn revision(&self, _: SessionId, _: Revision) -> Result<SessionRevision> {
        Err(self.error())
    }

    async fn insert(&self, _: &Execution, _: &ExecutionSpec) -> Result<Inserted> {
        if self.accepts { Ok(Inserted::New) } else { Err(self.error()) }
    }

    async fn by_key(&self, _: &Owner, _: Option<SessionId>, _: &str) -> Result<Option<Execution>> {
        Err(self.error())
    }

    async fn get(&self, _: ExecutionId) -> Result<Execution> {
        Err(self.error())
    }

    async fn spec(&self, _: ExecutionId) -> Result<ExecutionSpec> {
        Err(self.error())
    }

    async fn update(&self, _: &Execution, _: &[Output]) -> Result<Seq> {
        Err(self.error())
    }

    async fn append(&self, _: ExecutionId, _: u32, _: &[Output]) -> Result<()> {
        Err(self.error())
    }

    async fn output(&self, _: ExecutionId) -> Result<Captured> {
        Err(self.error())
    }

    fn events(&self, _: ExecutionId, _: Seq, _: Follow) -> BoxStream<'static, Result<Event>> {
        stream::iter([Err(self.error())]).boxed()
    }

    async fn add_input(&self, _: ExecutionId, _: Option<Bytes>) -> Result<Seq> {
        Err(self.error())
    }

    fn inputs(&self, _: ExecutionId, _: Seq) -> BoxStream<'static, Result<Input>> {
        stream::iter([Err(self.error())]).boxed()
    }

    async fn list(&self, _: &ListQuery) -> Result<Vec<Execution>> {
        Err(self.error())
    }

    async fn delivery(&self, _: ExecutionId) -> Result<Option<Delivery>> {
        Err(self.error())
    }

    async fn deliveries(&self, _: &DeliveryQuery) -> Result<Vec<Delivery>> {
        Err(self.error())
    }

    async fn update_delivery(&self, _: &Delivery) -> Result<()> {
        Err(self.error())
    }

    async fn prune(&self, _: &PruneQuery) -> Result<Pruned> {
        Err(self.error())
    }

    async fn count_open(&self, _: &Owner, _: Option<SessionId>, _: u64) -> Result<u64> {
        Err(self.error())
    }

    async fn admit(&self, _: &str, _: &Quota, _: Timestamp) -> Result<Option<Refusal>> {
        Err(self.error())
    }
}
