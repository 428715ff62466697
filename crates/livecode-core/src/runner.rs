//! From a spec to an outcome, in one process. Knows no store and no queue.

mod admission;
mod cases;
mod output;

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    admission::Admission,
    output::{Delivery, forward},
};
use crate::{
    Captured, Ceiling, Error, ExecutionSpec, Io, Language, Languages, Limits, Outcome, Output, Owner,
    Program, Result, Reuse, Sandbox, SourceFile, Stdio, Step, Termination, metrics,
};

/// How many chunks of output may wait for a slow reader before the program's writes wait.
const OUTPUT_CHUNKS: usize = 16;

/// How long a sandbox may take beyond the program's own limits before we call it stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// What happens to a program that writes more to a stream than [`Limits::output_bytes`](crate::Limits::output_bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The rest is thrown away, the outcome says so, and the program goes on.
    #[default]
    Truncate,
    /// It's ended, with [`Termination::OutputExceeded`].
    Terminate,
}

/// Runs specs in a [`Sandbox`]: puts in the language's commands, bounds the output, keeps its characters whole.
///
/// ```
/// # use livecode_core::{Runner, ExecutionSpec, Sandbox};
/// async fn greet(sandbox: impl Sandbox) -> livecode_core::Result<()> {
///     let run = Runner::new(sandbox).run(&ExecutionSpec::new("python", "print('hi')")).await?;
///     assert_eq!(run.captured.stdout, "hi\n");
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Runner {
    sandbox: Arc<dyn Sandbox>,
    languages: Languages,
    ceiling: Ceiling,
    overflow: Overflow,
    collect: Vec<String>,
    owner: Owner,
    name: String,
    admission: Admission,
}

/// What [`Runner::run`] gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What became of the program.
    pub outcome: Outcome,
    /// What it wrote.
    pub captured: Captured,
}

impl Runner {
    /// With the built-in languages and the default ceiling.
    pub fn new(sandbox: impl Sandbox) -> Self {
        Self::shared(Arc::new(sandbox))
    }

    /// The same for a sandbox that others use as well.
    pub fn shared(sandbox: Arc<dyn Sandbox>) -> Self {
        Self {
            sandbox,
            languages: Languages::builtin(),
            ceiling: Ceiling::default(),
            overflow: Overflow::default(),
            collect: Vec::new(),
            owner: Owner::anonymous(),
            name: String::new(),
            admission: Admission::default(),
        }
    }

    /// The same with these languages in place of the built-in ones.
    #[must_use]
    pub fn languages(mut self, languages: Languages) -> Self {
        self.languages = languages;
        self
    }

    /// The same with this ceiling, which is the default of every limit as well.
    #[must_use]
    pub fn ceiling(mut self, ceiling: Ceiling) -> Self {
        self.ceiling = ceiling;
        self
    }

    /// The same with this fate of programs that write too much.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// The same, which brings back these files from the work directory when a program has ended, as
    /// [`Outcome::files`]: relative paths, at most [`ExecutionSpec::MAX_FILES`] of them and
    /// [`ExecutionSpec::MAX_TOTAL_BYTES`] together. Links are never followed. For who calls the runner: a
    /// [`Worker`](crate::Worker)'s store doesn't keep them.
    ///
    /// ```
    /// # use livecode_core::{Runner, ExecutionSpec, Sandbox};
    /// async fn plot(runner: Runner) -> livecode_core::Result<()> {
    ///     let spec = ExecutionSpec::new("python", "open('plot.svg', 'w').write('<svg/>')");
    ///     let run = runner.collect(["plot.svg"]).run(&spec).await?;
    ///     assert_eq!(run.outcome.files[0].content.as_deref(), Ok(&b"<svg/>"[..]));
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn collect<S: Into<String>>(mut self, paths: impl IntoIterator<Item = S>) -> Self {
        self.collect = paths.into_iter().map(Into::into).collect();
        self
    }

    /// The same for programs of this owner: see [`Program::owner`]. They are nobody's in particular else.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// The same for a run of this name: see [`Program::name`]. It has none else.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same with at most so many programs at a time, at least 1; its clones count together. Who comes first runs first. A
    /// program that waits uses nothing, none of its limits has begun, and it can be cancelled; one whose output isn't read
    /// keeps its place until it's read or cancelled.
    ///
    /// Else it's four for each processor, and at least 8: more than that end no sooner, all of them later, and what the
    /// programs are charged as wall time is each other's. Programs that mostly sleep bear more. A [`Worker`](crate::Worker)
    /// has a bound of its own, so that this one counts there only if it was set.
    ///
    /// ```
    /// # use livecode_core::{Runner, Sandbox};
    /// fn one_by_one(sandbox: impl Sandbox) -> Runner {
    ///     Runner::new(sandbox).concurrency(1)
    /// }
    /// ```
    #[must_use]
    pub fn concurrency(mut self, programs: usize) -> Self {
        self.admission = Admission::of(programs);
        self
    }

    /// The sandbox that programs run in.
    pub fn sandbox(&self) -> &Arc<dyn Sandbox> {
        &self.sandbox
    }

    /// Runs a program and collects what it writes; nothing of one that is run for its [test cases](ExecutionSpec::grading).
    ///
    /// # Errors
    ///
    /// Those of [`ExecutionSpec::complete`] and [`Sandbox::run`]. That the program fails is no error.
    pub async fn run(&self, spec: &ExecutionSpec) -> Result<Run> {
        let (sender, receiver) = mpsc::channel(OUTPUT_CHUNKS);
        let cancel = CancellationToken::new();
        let (outcome, captured) = tokio::join!(self.stream(spec, sender, &cancel), captured(receiver));
        Ok(Run { outcome: outcome?, captured })
    }

    /// Runs a program and sends what it writes as it comes, each stream up to its limit; [`Overflow`] says what follows
    /// then. While the channel is full, its writes wait, and so does the end of
    /// this; where the receiver is gone, it goes on unheard. `cancel` ends it: a receiver that doesn't read then loses
    /// what it hasn't taken after a few seconds.
    ///
    /// One that has [test cases](ExecutionSpec::grading) is run for each of them, and each waits for
    /// [its turn](Runner::concurrency). Their output isn't sent, since it's many programs': an excerpt is in
    /// [`Outcome::cases`]. One that writes too much is ended whatever [`Overflow`] says, and no file is brought back.
    ///
    /// # Errors
    ///
    /// As [`Runner::run`].
    pub async fn stream(
        &self,
        spec: &ExecutionSpec,
        output: mpsc::Sender<Output>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let spec = spec.clone().complete(&self.languages, &self.ceiling)?;
        self.stream_program(&spec, None, output, cancel, Some(&self.admission)).await
    }

    /// [`Runner::stream`] for a program that reads what comes meanwhile: after the spec's `stdin` whatever is sent to `input`,
    /// until its senders are gone. While the program doesn't read, the channel fills and whoever sends waits; when it has ended
    /// or closed its standard input, the channel is closed. Input that waits doesn't keep it from ending.
    ///
    /// # Errors
    ///
    /// As [`Runner::run`].
    ///
    /// ```
    /// # use livecode_core::{Runner, ExecutionSpec, Output};
    /// # use tokio::sync::mpsc;
    /// # use tokio_util::sync::CancellationToken;
    /// async fn ask(runner: Runner) -> livecode_core::Result<()> {
    ///     let spec = ExecutionSpec::new("python", "print('Who? ', flush=True); print('Hello', input())");
    ///     let (input, receiver) = mpsc::channel::<bytes::Bytes>(1);
    ///     let (sender, mut output) = mpsc::channel::<Output>(1);
    ///     let cancel = CancellationToken::new();
    ///     let talk = async {
    ///         while let Some(written) = output.recv().await {
    ///             if written.bytes.starts_with(b"Who?") {
    ///                 input.send("Ada\n".into()).await.ok();
    ///             }
    ///         }
    ///     };
    ///     let (outcome, ()) = tokio::join!(runner.interact(&spec, receiver, sender, &cancel), talk);
    ///     assert!(outcome?.is_success());
    ///     Ok(())
    /// }
    /// ```
    pub async fn interact(
        &self,
        spec: &ExecutionSpec,
        input: mpsc::Receiver<Bytes>,
        output: mpsc::Sender<Output>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let spec = spec.clone().complete(&self.languages, &self.ceiling)?;
        self.stream_program(&spec, Some(input), output, cancel, Some(&self.admission)).await
    }

    /// [`Runner::stream`] for a spec that was completed and accepted before, maybe elsewhere and under another ceiling: it
    /// isn't refused for what it asks, its limits are lowered to this ceiling. Whoever accepted it counts what runs: unless
    /// [`Runner::concurrency`] was called it isn't held back here.
    ///
    /// # Errors
    ///
    /// As [`Runner::run`], but for limits and sizes.
    pub async fn stream_accepted(
        &self,
        spec: &ExecutionSpec,
        output: mpsc::Sender<Output>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        self.stream_program(spec, None, output, cancel, self.admission.chosen()).await
    }

    /// [`Runner::interact`] for a spec that was accepted before, as [`Runner::stream_accepted`] takes it.
    ///
    /// # Errors
    ///
    /// As [`Runner::stream_accepted`].
    pub async fn interact_accepted(
        &self,
        spec: &ExecutionSpec,
        input: mpsc::Receiver<Bytes>,
        output: mpsc::Sender<Output>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        self.stream_program(spec, Some(input), output, cancel, self.admission.chosen()).await
    }

    async fn stream_program(
        &self,
        spec: &ExecutionSpec,
        input: Option<mpsc::Receiver<Bytes>>,
        output: mpsc::Sender<Output>,
        cancel: &CancellationToken,
        admission: Option<&Admission>,
    ) -> Result<Outcome> {
        if self.collect.len() > ExecutionSpec::MAX_FILES {
            return Err(Error::invalid(format!(
                "{} files are to be collected, at most {} can be",
                self.collect.len(),
                ExecutionSpec::MAX_FILES
            )));
        }
        SourceFile::check_paths(self.collect.iter().map(String::as_str))?;
        let program = Program {
            collect: self.collect.clone(),
            owner: self.owner.clone(),
            name: self.name.clone(),
            ..program(spec, self.languages.get(&spec.language)?, &self.ceiling)
        };
        let ran = match &spec.grading {
            None => self.contain(&program, spec.stdin.clone(), input, output, cancel, admission).await,
            Some(grading) => {
                let program = Program { collect: Vec::new(), ..program };
                // Apart, so that a program without tests takes no more room.
                Box::pin(self.grade(program, grading, cancel, admission)).await
            }
        };
        ran.inspect_err(|error| metrics::sandbox_error(error.kind()))
    }

    /// The version of a language's toolchain, as it says itself inside the sandbox.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where it isn't there or doesn't answer, with the reason; those of
    /// [`Sandbox::run`].
    pub async fn version(&self, language: &Language) -> Result<String> {
        if language.version.is_empty() {
            return Err(Error::unsupported(format!(
                "language {} has no command that prints its version",
                language.name
            )));
        }
        let program = Program {
            language: language.name.clone(),
            files: Vec::new(),
            compile: None,
            run: Step {
                command: language.version.clone(),
                env: language.env.clone(),
                limits: self.ceiling.run,
            },
            collect: Vec::new(),
            owner: self.owner.clone(),
            reuse: Reuse::Nothing,
            name: String::new(),
        };
        let (sender, mut receiver) = mpsc::channel::<Output>(OUTPUT_CHUNKS);
        let collect = async {
            let mut text = BytesMut::new();
            while let Some(output) = receiver.recv().await {
                text.extend_from_slice(&output.bytes);
            }
            String::from_utf8_lossy(&text).trim().lines().next().unwrap_or_default().to_owned()
        };
        let cancel = CancellationToken::new();
        let admission = Some(&self.admission);
        let (outcome, line) =
            tokio::join!(self.contain(&program, Bytes::new(), None, sender, &cancel, admission), collect);
        match outcome? {
            outcome if outcome.is_success() && !line.is_empty() => Ok(line),
            outcome => Err(Error::unsupported(format!(
                "language {} doesn't tell its version here: {} and it said {line:?}",
                language.name, outcome.termination
            ))),
        }
    }

    async fn contain(
        &self,
        program: &Program,
        stdin: Bytes,
        more: Option<mpsc::Receiver<Bytes>>,
        output: mpsc::Sender<Output>,
        cancel: &CancellationToken,
        admission: Option<&Admission>,
    ) -> Result<Outcome> {
        let place = match admission {
            None => None,
            Some(admission) => match admission.place(cancel).await {
                Some(place) => Some(place),
                None => return Ok(Outcome::new(Termination::Cancelled)),
            },
        };
        let (sender, receiver) = mpsc::channel::<Output>(OUTPUT_CHUNKS);
        let steps = [program.compile.as_ref(), Some(&program.run)].into_iter().flatten();
        let patience = steps.fold(STUCK_AFTER, |sum, step| sum.saturating_add(step.limits.wall_time));
        let mut delivery = Delivery::new(output, cancel);
        let held_up = delivery.held_up();
        let stop = cancel.child_token();
        let run = async {
            // The program's, not that of who reads what it has left in the channel.
            let _place = place;
            let _running = metrics::Running::begin();
            let io = Io { stdin, more, output: sender };
            tokio::select! {
                biased;
                outcome = self.sandbox.run(program, io, &stop) => outcome,
                () = held_up.not_for(patience) => Err(Error::internal(format!(
                    "the sandbox didn't end a run within {} s",
                    patience.as_secs()
                ))),
            }
        };
        let limit = program.run.limits.output_bytes;
        let overflowed = || {
            if self.overflow == Overflow::Terminate {
                stop.cancel();
            }
        };
        let (outcome, (stdout_truncated, stderr_truncated)) =
            tokio::join!(run, forward(receiver, &mut delivery, limit, overflowed));
        let mut outcome = outcome?;
        outcome.stdout_truncated |= stdout_truncated;
        outcome.stderr_truncated |= stderr_truncated;
        let exceeded = outcome.stdout_truncated || outcome.stderr_truncated;
        // However it ended meanwhile: whether it did is a matter of microseconds.
        if self.overflow == Overflow::Terminate && exceeded && !cancel.is_cancelled() {
            outcome.termination = Termination::OutputExceeded { limit };
        }
        Ok(outcome)
    }
}

/// All that comes, by stream.
async fn captured(mut output: mpsc::Receiver<Output>) -> Captured {
    let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
    while let Some(Output { stdio, bytes }) = output.recv().await {
        match stdio {
            Stdio::Stdout => stdout.extend_from_slice(&bytes),
            Stdio::Stderr => stderr.extend_from_slice(&bytes),
        }
    }
    Captured { stdout: stdout.freeze(), stderr: stderr.freeze() }
}

/// What stands for the step's limit of memory in a language's commands: for runtimes that want to be told.
const MEMORY_BYTES: &str = "{memory_bytes}";

fn program(spec: &ExecutionSpec, language: &Language, ceiling: &Ceiling) -> Program {
    let entry = SourceFile::new(language.file_name.clone(), spec.source_code.clone());
    let command = |template: &[String], limits: &Limits| -> Vec<String> {
        let memory = limits.memory_bytes.to_string();
        template.iter().map(|argument| argument.replace(MEMORY_BYTES, &memory)).collect()
    };
    let compile = language.compile.as_ref().map(|template| {
        let limits = spec.compile_limits.clamp(&ceiling.compile);
        Step { command: command(template, &limits), env: language.env.clone(), limits }
    });
    let limits = spec.limits.clamp(&ceiling.run);
    let mut run = Step { command: command(&language.run, &limits), env: language.env.clone(), limits };
    run.command.extend(spec.args.iter().cloned());
    run.env.extend(spec.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    Program {
        language: language.name.clone(),
        files: std::iter::once(entry).chain(spec.files.iter().cloned()).collect(),
        compile,
        run,
        collect: Vec::new(),
        owner: Owner::anonymous(),
        reuse: Reuse::Nothing,
        name: String::new(),
    }
}
