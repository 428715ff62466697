//! From a spec to an outcome, in one process. Knows no store and no queue.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    Captured, Ceiling, Error, ExecutionSpec, Io, Language, Languages, LimitRequest, Outcome, Output, Program,
    Result, Sandbox, SourceFile, Stdio, Step,
};

/// How many chunks of output may wait for a slow reader before the program's writes wait.
const OUTPUT_CHUNKS: usize = 16;

/// How long a sandbox may take beyond the program's own limits before we call it stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

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
        Self { sandbox, languages: Languages::builtin(), ceiling: Ceiling::default() }
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

    /// The sandbox that programs run in.
    pub fn sandbox(&self) -> &Arc<dyn Sandbox> {
        &self.sandbox
    }

    /// Runs a program and collects what it writes.
    ///
    /// # Errors
    ///
    /// Those of [`ExecutionSpec::complete`] and [`Sandbox::run`]. That the program fails is no error.
    pub async fn run(&self, spec: &ExecutionSpec) -> Result<Run> {
        let (sender, mut receiver) = mpsc::channel::<Output>(OUTPUT_CHUNKS);
        let collect = async {
            let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
            while let Some(output) = receiver.recv().await {
                match output.stdio {
                    Stdio::Stdout => stdout.extend_from_slice(&output.bytes),
                    Stdio::Stderr => stderr.extend_from_slice(&output.bytes),
                }
            }
            Captured { stdout: stdout.freeze(), stderr: stderr.freeze() }
        };
        let cancel = CancellationToken::new();
        let (outcome, captured) = tokio::join!(self.stream(spec, sender, &cancel), collect);
        Ok(Run { outcome: outcome?, captured })
    }

    /// Runs a program and sends what it writes as it comes, each stream up to its limit: what is beyond is thrown away,
    /// the outcome says so, and the program goes on. While the channel is full, its writes wait; where the receiver is
    /// gone, it goes on unheard. `cancel` ends it.
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
        let language = self.languages.get(&spec.language)?;
        let program = program(&spec, language, &self.ceiling)?;
        self.contain(&program, spec.stdin.clone(), output, cancel).await
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
            run: Step { command: language.version.clone(), limits: self.ceiling.run },
            env: language.env.clone(),
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
        let (outcome, line) = tokio::join!(self.contain(&program, Bytes::new(), sender, &cancel), collect);
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
        output: mpsc::Sender<Output>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let (sender, receiver) = mpsc::channel::<Output>(OUTPUT_CHUNKS);
        let steps = [program.compile.as_ref(), Some(&program.run)];
        let patience =
            steps.into_iter().flatten().map(|step| step.limits.wall_time).sum::<Duration>() + STUCK_AFTER;
        let run = async {
            let run = self.sandbox.run(program, Io { stdin, output: sender }, cancel);
            tokio::time::timeout(patience, run).await.unwrap_or_else(|_| {
                Err(Error::internal(format!("the sandbox didn't end a run within {} s", patience.as_secs())))
            })
        };
        let (outcome, (stdout_truncated, stderr_truncated)) =
            tokio::join!(run, forward(receiver, output, program.run.limits.output_bytes));
        let mut outcome = outcome?;
        outcome.stdout_truncated |= stdout_truncated;
        outcome.stderr_truncated |= stderr_truncated;
        Ok(outcome)
    }
}

fn program(spec: &ExecutionSpec, language: &Language, ceiling: &Ceiling) -> Result<Program> {
    let entry = SourceFile::new(language.file_name.clone(), spec.source_code.clone());
    let mut run = language.run.clone();
    run.extend(spec.args.iter().cloned());
    let mut env = language.env.clone();
    env.extend(spec.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let step = |command: Vec<String>, limits: &LimitRequest, ceiling, member| {
        Ok::<_, Error>(Step { command, limits: limits.resolve(ceiling, member)? })
    };
    Ok(Program {
        language: language.name.clone(),
        files: std::iter::once(entry).chain(spec.files.iter().cloned()).collect(),
        compile: match &language.compile {
            Some(command) => {
                Some(step(command.clone(), &spec.compile_limits, &ceiling.compile, "compile_limits")?)
            }
            None => None,
        },
        run: step(run, &spec.limits, &ceiling.run, "limits")?,
        env,
    })
}

/// Passes chunks on, each stream up to `limit` bytes, characters whole. Says for each stream whether there was more.
async fn forward(mut from: mpsc::Receiver<Output>, to: mpsc::Sender<Output>, limit: u64) -> (bool, bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut stdout, mut stderr) = (Stream::new(limit), Stream::new(limit));
    while let Some(Output { stdio, bytes }) = from.recv().await {
        let stream = match stdio {
            Stdio::Stdout => &mut stdout,
            Stdio::Stderr => &mut stderr,
        };
        if let Some(bytes) = stream.take(bytes) {
            // Nobody listens any more: the program goes on unheard.
            to.send(Output { stdio, bytes }).await.ok();
        }
    }
    for (stdio, stream) in [(Stdio::Stdout, &mut stdout), (Stdio::Stderr, &mut stderr)] {
        if !stream.held.is_empty() {
            to.send(Output { stdio, bytes: std::mem::take(&mut stream.held) }).await.ok();
        }
    }
    (stdout.truncated, stderr.truncated)
}

/// One output stream: what is left of its limit, and the begun character at its end.
struct Stream {
    left: usize,
    held: Bytes,
    truncated: bool,
}

impl Stream {
    fn new(limit: usize) -> Self {
        Self { left: limit, held: Bytes::new(), truncated: false }
    }

    /// What of `bytes` can be passed on now.
    fn take(&mut self, bytes: Bytes) -> Option<Bytes> {
        if self.truncated {
            return None;
        }
        let mut bytes = if self.held.is_empty() {
            bytes
        } else {
            let mut joined = BytesMut::from(std::mem::take(&mut self.held));
            joined.extend_from_slice(&bytes);
            joined.freeze()
        };
        if bytes.len() > self.left {
            self.truncated = true;
            bytes.truncate(self.left);
            bytes.truncate(bytes.len() - unfinished(&bytes));
        } else {
            self.held = bytes.split_off(bytes.len() - unfinished(&bytes));
        }
        self.left -= bytes.len();
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// How many bytes at the end begin a UTF-8 character that more bytes could finish: 0 to 3.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        if byte & 0b1100_0000 != 0b1000_0000 {
            let width = match byte {
                0xC2..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF4 => 4,
                _ => 1,
            };
            return if width > back { back } else { 0 };
        }
    }
    0
}
