//! How a program is contained.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Limits, Outcome, Output, Owner, Result, Reuse, SourceFile};

/// What a sandbox is given to run: an [`ExecutionSpec`](crate::ExecutionSpec) with its language's commands put in.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The canonical name of the language.
    pub language: String,
    /// All files, the entry file first; paths checked by [`SourceFile::check_all`]. They stand in the work directory, which
    /// is where each step begins, and can be written and run there.
    pub files: Vec<SourceFile>,
    /// Run first, where there is one; the program follows in the same work directory where this ends with status 0.
    pub compile: Option<Step>,
    /// The program.
    pub run: Step,
    /// Brought back when the program has ended, as [`Outcome::files`]: paths checked by [`SourceFile::check_paths`]. At most
    /// [`ExecutionSpec::MAX_TOTAL_BYTES`](crate::ExecutionSpec::MAX_TOTAL_BYTES) together; no link is followed.
    pub collect: Vec<String>,
    /// Whose it is: what keeps one owner's from another's goes by it. To run it, nobody needs to know.
    pub owner: Owner,
    /// What becomes of the compile step's work.
    pub reuse: Reuse,
    /// What the host calls this run, for people who look at what a sandbox has at work; a [`Worker`](crate::Worker)'s are
    /// `EXECUTION-ATTEMPT`. Empty where it isn't called anything; not another's at the same time.
    pub name: String,
}

/// A command and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The program and its arguments. One without a slash is looked up where the sandbox keeps programs: for a process
    /// sandbox on the host's `PATH`, once. One that begins with `./` is in the work directory.
    pub command: Vec<String>,
    /// Added to the sandbox's own environment (`PATH`, `HOME`, `LANG`, `TMPDIR`), of which it may replace anything.
    pub env: BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
}

/// The streams of a run.
#[derive(Debug)]
pub struct Io {
    /// What the program reads first. A program need not read it.
    pub stdin: Bytes,
    /// What it reads after that, until the sender is gone; none: its standard input ends after `stdin`. No more is taken out of
    /// the channel than the program reads, but for what a pipe holds. Where the program has ended or closed its standard input
    /// the receiver is dropped, at the latest when more comes. What waits here keeps no program from its end. A sandbox
    /// that can't do this refuses such a run as [`Unsupported`](crate::ErrorKind::Unsupported).
    pub more: Option<mpsc::Receiver<Bytes>>,
    /// Gets what the program writes, in the order of reading. While it's full the program's writes wait. Where the
    /// receiver is gone, output is thrown away and the program goes on.
    pub output: mpsc::Sender<Output>,
}

/// What a sandbox enforces on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The kind of sandbox, for people.
    pub name: String,
    /// What is enforced, for people, one item each.
    pub enforced: Vec<String>,
    /// What isn't, each with the reason and the remedy. Not empty only where the host has lowered the bar.
    pub missing: Vec<String>,
}

/// How programs are contained and limited.
///
/// The suite in `conformance::sandbox` (feature `conformance`) holds every clause; run it on a sandbox of your own.
#[async_trait]
pub trait Sandbox: fmt::Debug + Send + Sync + 'static {
    /// What is enforced here.
    fn capabilities(&self) -> Capabilities;

    /// Runs the program and says what became of it; whatever it does, that's an [`Outcome`].
    ///
    /// When this returns, nothing that it started is alive and nothing it wrote is left; the same soon after the future
    /// was dropped. `cancel` ends the program with [`Termination::Cancelled`](crate::Termination::Cancelled), unless it
    /// had come to an end by itself. The end of the main process is the end of the run, whoever still holds its streams;
    /// all that was written before it is sent to `io.output`. Wall and CPU time, memory, processes and files are limited
    /// here, because only the sandbox knows when the program begins; the limit on output is the
    /// [`Runner`](crate::Runner)'s.
    ///
    /// # Errors
    ///
    /// Only our own failures: [`Unsupported`](crate::ErrorKind::Unsupported) where something asked for can't be enforced
    /// or the command isn't installed here, with the remedy; [`Unavailable`](crate::ErrorKind::Unavailable) where a later
    /// attempt may succeed; [`Internal`](crate::ErrorKind::Internal).
    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome>;

    /// What tells the compiler that this program would meet here from any other: a text that is another one once the
    /// compiler, or what it uses, was replaced. None where the sandbox can't tell or can't keep an
    /// [`Artifact`](crate::Artifact): then nothing is used again. A sandbox that wraps another passes it on.
    ///
    /// # Errors
    ///
    /// As [`Sandbox::run`], which would fail in the same way.
    async fn compiler(&self, _program: &Program) -> Result<Option<String>> {
        // Whoever writes a sandbox need not know of this.
        Ok(None)
    }
}
