//! A sandbox in which every program finds an interpreter that has booted, where its kind can: it's made known before it comes.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use livecode_core::{Capabilities, Io, Outcome, Program, Result, Sandbox, Step};
use livecode_process::ProcessSandbox;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// So much memory is enough for Python to begin with.
const ENOUGH: u64 = 32 << 20;

#[derive(Debug)]
pub(crate) struct Warmed {
    sandbox: ProcessSandbox,
    /// Whether there is always something that boots.
    always: bool,
    /// What was made known, in words.
    known: Mutex<HashSet<String>>,
    preparing: AtomicUsize,
    begun: AtomicUsize,
}

impl Warmed {
    /// Where nothing boots, within a program's limits for one, that's a failure if there is `always` something that boots.
    pub(crate) fn new(sandbox: ProcessSandbox, always: bool) -> Self {
        let (preparing, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { sandbox, always, known: Mutex::default(), preparing, begun }
    }

    /// Makes programs like this one known, and waits for what boots for them. Says whether something does.
    async fn expect(&self, program: &Program) -> bool {
        let failures = self.sandbox.warm_stats().failures;
        let step = |step: &Step| (step.command.clone(), step.env.clone(), step.limits);
        let like = format!("{:?}{:?}", program.compile.as_ref().map(step), step(&program.run));
        if self.known.lock().unwrap().insert(like) {
            let mut harmless = program.clone();
            harmless.files.iter_mut().for_each(|file| file.content = Bytes::new());
            harmless.collect.clear();
            harmless.reuse = livecode_core::Reuse::Nothing;
            for _ in 0..2 {
                // It need not even begin to be noticed.
                let cancelled = CancellationToken::new();
                cancelled.cancel();
                let io = Io { stdin: Bytes::new(), more: None, output: mpsc::channel(1).0 };
                // Nor does it matter what becomes of it.
                self.sandbox.run(&harmless, io, &cancelled).await.ok();
            }
        }
        self.sandbox.warmed().await.unwrap();
        // Compilers kill what isn't theirs, and an interpreter that holds more than it may goes on to nobody.
        let can_be = program.compile.is_none()
            && program.run.env.is_empty()
            && program.run.command.iter().any(|argument| argument == "main.py")
            && program.run.limits.memory_bytes >= ENOUGH;
        can_be && (self.always || self.sandbox.warm_stats().failures == failures)
    }
}

#[async_trait]
impl Sandbox for Warmed {
    fn capabilities(&self) -> Capabilities {
        self.sandbox.capabilities()
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let begun = self.begun.fetch_add(1, Ordering::SeqCst);
        let alone = self.preparing.fetch_add(1, Ordering::SeqCst) == 0;
        let expected = self.expect(program).await;
        self.preparing.fetch_sub(1, Ordering::SeqCst);
        let hits = self.sandbox.warm_stats().hits;
        let outcome = self.sandbox.run(program, io, cancel).await;
        // Who came at the same time might have taken what waited.
        if alone && expected && self.begun.load(Ordering::SeqCst) == begun + 1 && outcome.is_ok() {
            let stats = self.sandbox.warm_stats();
            assert!(stats.hits > hits, "the program found no interpreter: {stats:?}, {program:?}");
        }
        outcome
    }

    async fn compiler(&self, program: &Program) -> Result<Option<String>> {
        self.sandbox.compiler(program).await
    }
}
