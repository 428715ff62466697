//! [`CompileCache`]: a sandbox that doesn't compile the same thing twice.

mod key;
mod recent;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use self::{key::Key, recent::Recent};
use crate::{Artifact, Capabilities, Error, Io, Outcome, Program, Result, Reuse, Sandbox, Termination};

/// What an entry takes beside its bytes, about.
const ENTRY_BYTES: u64 = 512;

/// The most of one artifact, whatever the cache may hold: each run that compiles may bring one at a time.
pub(crate) const MAX_ARTIFACT_BYTES: u64 = 32 * 1024 * 1024;

/// Above this a program's files are hashed where nobody is held up.
const HASHED_AT_ONCE: usize = 256 * 1024;

/// A sandbox that keeps what compile steps leave, and begins from it when the same is to be compiled again.
///
/// The same is: the same owner, language, files with names, contents and order, compile command, environment and limits of that
/// step, and [the same compiler](Sandbox::compiler). What the program is given (arguments, input, the environment and limits of
/// the run step, the files to be collected) is no part of it.
///
/// A client can't tell the difference but by the time it takes:
///
/// - The program begins in the file system that the compile step left, all of it and not only what looks like its result.
///   What a sandbox can't carry faithfully isn't kept: see [`Reuse::Keep`].
/// - [`Outcome::compile_output`] is what the compiler said, warnings and all. Usage is the run step's alone in any case.
/// - A compile step that fails isn't kept: it may have met a limit because the machine was busy, and who reads an error changes
///   the source.
///
/// What a compiler takes from outside (the time, chance) is that of the first time.
///
/// No program can change what is kept: it's taken when the compile step and all that it started are dead, before the
/// program's first instruction, and it's begun from in a fresh world each time.
///
/// One owner's artifacts are never another's: that something was compiled before shows in the time it takes, so a sharing
/// cache would tell everybody whether somebody else has submitted just this source, and would run what somebody else's
/// compile step left. [`CompileCache::share_between_owners`] is for hosts that don't mind.
/// A [`Worker`](crate::Worker)'s programs are their execution's owner's, a [`Runner`](crate::Runner)'s are
/// [its own](crate::Runner::owner): a host that names no owners has one, the anonymous one.
///
/// It's in memory and bounded, by bytes and by entries; what was used least recently goes first. Identical programs that come
/// at the same time are each compiled, for whoever waited would wait for another's program as well: how many compile
/// at a time is the [`Worker`](crate::Worker)'s to bound.
///
/// ```
/// use std::sync::Arc;
/// # use livecode_core::{CompileCache, ExecutionSpec, Runner, Sandbox};
/// async fn twice(sandbox: impl Sandbox) -> livecode_core::Result<()> {
///     let cache = Arc::new(CompileCache::new(sandbox).max_bytes(64 << 20));
///     let runner = Runner::shared(cache.clone());
///     let spec = ExecutionSpec::new("c", "int main(void) { return 0; }");
///     runner.run(&spec).await?;
///     runner.run(&spec.stdin("something else")).await?;
///     assert_eq!(cache.stats().hits, 1);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct CompileCache {
    sandbox: Arc<dyn Sandbox>,
    share: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: Recent<Key, Kept>,
    hits: u64,
    misses: u64,
}

/// What is kept of a compile step.
#[derive(Clone, Debug)]
struct Kept {
    artifact: Artifact,
    said: Option<Arc<str>>,
}

/// How a [`CompileCache`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompileCacheStats {
    /// How many programs began from what was kept.
    pub hits: u64,
    /// How many were compiled that might have.
    pub misses: u64,
    /// How many artifacts are kept.
    pub entries: u64,
    /// What they take, about.
    pub bytes: u64,
}

impl CompileCache {
    /// What it holds at most where the host doesn't say.
    pub const MAX_BYTES: u64 = 128 * 1024 * 1024;
    /// How many artifacts it holds at most where the host doesn't say.
    pub const MAX_ENTRIES: usize = 4096;

    /// In front of that sandbox, empty.
    pub fn new(sandbox: impl Sandbox) -> Self {
        Self::shared(Arc::new(sandbox))
    }

    /// The same for a sandbox that others use as well.
    pub fn shared(sandbox: Arc<dyn Sandbox>) -> Self {
        let kept = Recent::new(Self::MAX_BYTES, Self::MAX_ENTRIES);
        Self { sandbox, share: false, state: Mutex::new(State { kept, hits: 0, misses: 0 }) }
    }

    /// The same, which holds so many bytes at most: an artifact at most a quarter of them, and 32 MiB. 0 keeps nothing.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.state().kept.max_bytes(bytes);
        self
    }

    /// The same, which holds so many artifacts at most.
    #[must_use]
    pub fn max_entries(self, entries: usize) -> Self {
        self.state().kept.max_entries(entries);
        self
    }

    /// The same, which begins one owner's programs from what another's compile step left, and so tells each by the time that
    /// it takes what others have compiled.
    #[must_use]
    pub fn share_between_owners(mut self) -> Self {
        self.share = true;
        self
    }

    /// Forgets everything: for a host that has changed what compilers use in a way that they don't show, such as a header
    /// deep in a shared directory.
    pub fn clear(&self) {
        self.state().kept.clear();
    }

    /// How it does.
    pub fn stats(&self) -> CompileCacheStats {
        let state = self.state();
        CompileCacheStats {
            hits: state.hits,
            misses: state.misses,
            entries: state.kept.len() as u64,
            bytes: state.kept.bytes(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most bytes that one artifact may have.
    fn max_artifact(&self) -> u64 {
        (self.state().kept.most_bytes() / 4).min(MAX_ARTIFACT_BYTES)
    }

    /// What the compile step's work goes by; none for a program that has none, or whose compiler can't be told.
    async fn key(&self, program: &Program) -> Result<Option<Key>> {
        if program.compile.is_none() {
            return Ok(None);
        }
        let Some(compiler) = self.sandbox.compiler(program).await? else {
            return Ok(None);
        };
        let share = self.share;
        if program.files.iter().map(|file| file.content.len()).sum::<usize>() <= HASHED_AT_ONCE {
            return Ok(key::of(program, &compiler, share));
        }
        let program = program.clone();
        let hashed = tokio::task::spawn_blocking(move || key::of(&program, &compiler, share));
        hashed.await.map_err(|error| Error::internal("a program could not be hashed").with_source(error))
    }

    async fn run_from(
        &self,
        kept: Kept,
        program: &Program,
        io: Io,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let asked = asked(program).filter(|most| kept.artifact.as_bytes().len() as u64 <= *most);
        let artifact = asked.map(|_| kept.artifact.clone());
        let program = Program { compile: None, reuse: Reuse::Begin(kept.artifact), ..program.clone() };
        let outcome = self.sandbox.run(&program, io, cancel).await?;
        Ok(Outcome { compile_output: kept.said.map(|said| said.to_string()), artifact, ..outcome })
    }

    async fn compile(
        &self,
        key: Key,
        program: &Program,
        io: Io,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let (asked, own) = (asked(program), self.max_artifact());
        let reuse = Reuse::Keep { max_bytes: own.max(asked.unwrap_or(0)) };
        let program = Program { reuse, ..program.clone() };
        let mut outcome = self.sandbox.run(&program, io, cancel).await?;
        let artifact = outcome.artifact.take();
        let size = |artifact: &Artifact| artifact.as_bytes().len() as u64;
        outcome.artifact =
            artifact.clone().filter(|artifact| asked.is_some_and(|most| size(artifact) <= most));
        // A step may succeed and leave nothing that can be run, which is a compile error all the same.
        let succeeded = !matches!(outcome.termination, Termination::CompileFailed { .. });
        if let Some(artifact) = artifact.filter(|artifact| succeeded && size(artifact) <= own) {
            let said: Option<Arc<str>> = outcome.compile_output.as_deref().map(Arc::from);
            let said_bytes = said.as_ref().map_or(0, |said| said.len());
            let bytes = (artifact.as_bytes().len() + said_bytes) as u64 + ENTRY_BYTES;
            self.state().kept.insert(key, Kept { artifact, said }, bytes);
        }
        Ok(outcome)
    }
}

/// The most bytes of an artifact that the caller has asked for as well.
fn asked(program: &Program) -> Option<u64> {
    match program.reuse {
        Reuse::Keep { max_bytes } => Some(max_bytes),
        Reuse::Nothing | Reuse::Begin(_) => None,
    }
}

#[async_trait]
impl Sandbox for CompileCache {
    fn capabilities(&self) -> Capabilities {
        self.sandbox.capabilities()
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let Some(key) = self.key(program).await? else {
            return self.sandbox.run(program, io, cancel).await;
        };
        let kept = {
            let mut state = self.state();
            let kept = state.kept.get(&key).cloned();
            *(if kept.is_some() { &mut state.hits } else { &mut state.misses }) += 1;
            kept
        };
        match kept {
            Some(kept) => self.run_from(kept, program, io, cancel).await,
            None => self.compile(key, program, io, cancel).await,
        }
    }

    async fn compiler(&self, program: &Program) -> Result<Option<String>> {
        self.sandbox.compiler(program).await
    }
}
