//! [`ProcessSandbox`]: one program, one world of its own.

use std::{
    collections::HashMap,
    fmt, io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use livecode_core::{
    Capabilities, Error, Io, Outcome, Output, Program, Result, Sandbox, Stdio, Step, Termination, Usage,
};
use rustix::{
    fs::MemfdFlags,
    pipe::{PipeFlags, pipe_with},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixStream, unix::pipe},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    cgroup::Parent,
    helper::{Appearance, Helper, sealed},
    protocol::{self, End, Message, Report, Request},
    seccomp,
    toolchain::Toolchains,
};

/// How much is read from a pipe at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// How low the bar may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Everything is enforced, or the sandbox can't be built.
    #[default]
    Strict,
    /// Where no cgroup can be had, programs run without one: memory isn't limited, CPU time only per process, and usage is
    /// only known of the main process. Each outcome says so. Namespaces, system call filter and resource limits are never
    /// left out.
    BestEffort,
}

/// How a [`ProcessSandbox`] is built.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    isolation: Isolation,
    cgroup: Option<PathBuf>,
}

impl Builder {
    /// Lowers the bar, or doesn't.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Makes cgroups in this directory, relative to where each hierarchy is mounted, in place of where they'd be made by
    /// themselves: as root beneath the mount point or beside our own cgroup, else where one was delegated to us.
    #[must_use]
    pub fn cgroup(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(directory.into());
        self
    }

    /// Builds it: finds out what this machine can enforce and starts the first helper, about 3 ms.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](livecode_core::ErrorKind::Unsupported) where a protection can't be had here, with what to do about
    /// it; [`Internal`](livecode_core::ErrorKind::Internal).
    pub fn build(self) -> Result<ProcessSandbox> {
        let mut missing = Vec::new();
        if self.isolation == Isolation::BestEffort
            && let Err(error) = Parent::make(self.cgroup.as_deref())
        {
            missing.push(format!("no limit on memory, CPU time of descendants and CPU share: {error}"));
        }
        let sandbox = ProcessSandbox {
            inner: Arc::new(Inner {
                cgroup: self.cgroup,
                missing,
                seccomp: seccomp::filter(),
                toolchains: Toolchains::default(),
                helpers: Mutex::default(),
            }),
        };
        sandbox.inner.helper(&Appearance { prefixes: Vec::new() })?;
        Ok(sandbox)
    }
}

/// Runs each program in namespaces, a file system, a cgroup and behind a system call filter of its own.
///
/// Linux only: 5.14 or newer, x86-64 or ARM64. As root, or as an ordinary user where user namespaces are allowed. Cheap to
/// clone; when the last clone is dropped, everything that it started is dead before that returns.
///
/// ```no_run
/// # async fn example() -> livecode_core::Result<()> {
/// use livecode_core::{ExecutionSpec, Runner};
/// use livecode_process::ProcessSandbox;
///
/// let sandbox = ProcessSandbox::builder().build()?;
/// let run = Runner::new(sandbox).run(&ExecutionSpec::new("python", "print(6 * 7)")).await?;
/// assert_eq!(run.captured.stdout, "42\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ProcessSandbox {
    inner: Arc<Inner>,
}

struct Inner {
    cgroup: Option<PathBuf>,
    /// What is not enforced.
    missing: Vec<String>,
    seccomp: Vec<u8>,
    toolchains: Toolchains,
    /// One for each set of prefixes, so that a program sees only its own language's.
    helpers: Mutex<HashMap<Appearance, Arc<Helper>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("cgroup", &self.cgroup)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

impl ProcessSandbox {
    /// How one is built.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

#[async_trait]
impl Sandbox for ProcessSandbox {
    fn capabilities(&self) -> Capabilities {
        let mut enforced = vec![
            "user, PID, mount, network, IPC, UTS and cgroup namespaces",
            "a read-only root, and size-limited memory for files",
            "no capabilities and no new privileges",
            "a system call filter",
            "resource limits",
            "wall time",
        ];
        if self.inner.missing.is_empty() {
            enforced.push("cgroup limits on memory, processes, CPU time and CPU share");
        }
        Capabilities {
            name: "process".into(),
            enforced: enforced.into_iter().map(str::to_owned).collect(),
            missing: self.inner.missing.clone(),
        }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let (request, appearance) = self.inner.request(program)?;
        let helper = self.inner.helper(&appearance)?;
        let request = sealed("request", &request.encode(), MemfdFlags::empty())
            .map_err(failed("make a memory file"))?;
        let (socket, theirs) = UnixStream::pair().map_err(failed("make a socket"))?;
        let theirs = theirs.into_std().map_err(failed("make a socket"))?;
        let (stdin_end, stdin) = outward()?;
        let (stdout, stdout_end) = inward()?;
        let (stderr, stderr_end) = inward()?;
        let mut given = vec![theirs.into(), request, stdin_end, stdout_end, stderr_end];
        let compile = match &program.compile {
            Some(step) => {
                let (output, end) = inward()?;
                given.push(end);
                Some((output, step.limits.output_bytes))
            }
            None => None,
        };
        helper.begin(given).await?;

        let ended = CancellationToken::new();
        let report = async {
            let report = hear_end(socket, cancel).await;
            ended.cancel();
            report
        };
        // A program need not read its input: when it has ended, nobody will.
        let feed = async {
            tokio::select! { () = ended.cancelled() => {}, () = feed(stdin, io.stdin) => {} }
        };
        let (report, (), out, err, compile_output) = tokio::join!(
            report,
            feed,
            pass_on(stdout, Stdio::Stdout, io.output.clone()),
            pass_on(stderr, Stdio::Stderr, io.output.clone()),
            async {
                match compile {
                    Some((output, limit)) => collect(output, limit).await.map(Some),
                    None => Ok(None),
                }
            },
        );
        let report = report?;
        out.and(err).map_err(failed("read the program's output"))?;
        let compile_output = compile_output.map_err(failed("read the compiler's output"))?;
        self.inner.outcome(program, &report, compile_output)
    }
}

impl Inner {
    /// The helper for worlds of that appearance; a new one where there is none, or the last one is gone.
    fn helper(&self, appearance: &Appearance) -> Result<Arc<Helper>> {
        let mut helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(helper) = helpers.get(appearance) {
            if !helper.is_gone() {
                return Ok(helper.clone());
            }
            tracing::warn!("a livecode-init is gone and is started again");
        }
        let cgroups =
            if self.missing.is_empty() { Some(Parent::make(self.cgroup.as_deref())?) } else { None };
        let helper = Arc::new(Helper::start(appearance, cgroups, &self.seccomp)?);
        helpers.insert(appearance.clone(), helper.clone());
        Ok(helper)
    }

    fn request(&self, program: &Program) -> Result<(Request, Appearance)> {
        let mut prefixes = Vec::new();
        let mut steps = Vec::new();
        for step in program.compile.iter().chain([&program.run]) {
            let command =
                step.command.first().ok_or_else(|| Error::invalid("a step has an empty command"))?;
            let tool = self.toolchains.find(command)?;
            prefixes.extend(tool.prefix);
            steps.push(encode_step(step, &tool.path));
        }
        prefixes.sort();
        prefixes.dedup();
        let mut env: HashMap<&str, String> = HashMap::from([
            ("PATH", path_variable(&prefixes)),
            ("HOME", "/work".into()),
            ("TMPDIR", "/tmp".into()),
            ("LANG", "C.UTF-8".into()),
        ]);
        env.extend(program.env.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let request = Request {
            env: env.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect(),
            files: program.files.iter().map(|file| (file.path.clone(), file.content.to_vec())).collect(),
            steps,
        };
        Ok((request, Appearance { prefixes }))
    }

    fn outcome(&self, program: &Program, report: &Report, compile_output: Option<String>) -> Result<Outcome> {
        let compiling = program.compile.is_some() && report.step == 0;
        let step = match &program.compile {
            Some(compile) if compiling => compile,
            Some(_) | None => &program.run,
        };
        let limits = &step.limits;
        let used_up = report.cpu_ns == 0 || Duration::from_nanos(report.cpu_ns) >= limits.cpu_time;
        // What the kernel counted only matters to a program that didn't get by with it.
        let verdict = |ended: Termination| {
            if report.oom_kills > 0 {
                Termination::MemoryExceeded { limit: limits.memory_bytes }
            } else if report.fork_failures > 0 {
                Termination::ProcessesExceeded { limit: limits.processes }
            } else {
                ended
            }
        };
        let termination = match report.end {
            End::Status(0) => Termination::Exited { code: 0 },
            End::Status(status) if status & 0x7F == 0 => {
                verdict(Termination::Exited { code: status >> 8 & 0xFF })
            }
            // A program may send itself that signal, too.
            End::Status(status) if status & 0x7F == libc::SIGXCPU && used_up => {
                Termination::CpuTimeExceeded { limit: limits.cpu_time }
            }
            End::Status(status) => verdict(Termination::Signaled { signal: status & 0x7F }),
            End::WallTime => Termination::WallTimeExceeded { limit: limits.wall_time },
            End::CpuTime => Termination::CpuTimeExceeded { limit: limits.cpu_time },
            End::Killed => Termination::Cancelled,
            End::NotStarted => {
                let command = step.command.first().map_or("", String::as_str);
                // What is in the work directory is the program's doing, not a lack of this machine's.
                let is_in_work_directory = command.contains('/') && !command.starts_with('/');
                if is_in_work_directory && program.compile.is_some() {
                    let message =
                        format!("the compiler left no {command} that can be executed: {}", report.message);
                    Termination::CompileFailed { message }
                } else if is_in_work_directory {
                    // As a shell says it.
                    Termination::Exited { code: 126 }
                } else {
                    return Err(Error::unsupported(format!(
                        "{command} can't be executed here: {}",
                        report.message
                    )));
                }
            }
            End::Failed => return Err(Error::internal(format!("the sandbox failed: {}", report.message))),
        };
        let termination = match termination {
            ended @ (Termination::Exited { code: 0 } | Termination::Cancelled) => ended,
            ended if compiling => Termination::CompileFailed {
                message: ended.to_string().replacen("the program", "the compiler", 1),
            },
            ended => ended,
        };
        Ok(Outcome {
            usage: if compiling {
                Usage::default()
            } else {
                Usage {
                    wall_time: Duration::from_nanos(report.wall_ns),
                    cpu_time: Duration::from_nanos(report.cpu_ns),
                    memory_peak_bytes: report.memory_peak_bytes,
                }
            },
            compile_output,
            unprotected: self.missing.clone(),
            ..Outcome::new(termination)
        })
    }
}

fn encode_step(step: &Step, path: &Path) -> protocol::Step {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let path = path.as_os_str().as_bytes().to_vec();
    let arguments = step.command.iter().skip(1).map(|argument| argument.clone().into_bytes());
    let limits = &step.limits;
    protocol::Step {
        argv: std::iter::once(path.clone()).chain(arguments).collect(),
        path,
        wall_ns: nanos(limits.wall_time),
        cpu_ns: nanos(limits.cpu_time),
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
        file_bytes: limits.file_bytes,
        cpu_millis: limits.cpu_millis,
    }
}

fn path_variable(prefixes: &[PathBuf]) -> String {
    let own = prefixes.iter().map(|prefix| format!("{}/bin:", prefix.display()));
    own.chain(["/usr/local/bin:/usr/bin:/bin".to_owned()]).collect()
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        let message = format!("can't {what}");
        // No descriptors or no memory left: better later.
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
                Error::unavailable(message).with_source(error)
            }
            Some(_) | None => Error::internal(message).with_source(error),
        }
    }
}

/// A pipe that we write and the program reads.
fn outward() -> Result<(OwnedFd, pipe::Sender)> {
    let (reading, writing) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("make a pipe")(error.into()))?;
    Ok((reading, pipe::Sender::from_owned_fd(writing).map_err(failed("watch a pipe"))?))
}

/// A pipe that the program writes and we read.
fn inward() -> Result<(pipe::Receiver, OwnedFd)> {
    let (reading, writing) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("make a pipe")(error.into()))?;
    Ok((pipe::Receiver::from_owned_fd(reading).map_err(failed("watch a pipe"))?, writing))
}

async fn feed(mut stdin: pipe::Sender, bytes: Bytes) {
    // A program that has closed its input doesn't want any more of it.
    stdin.write_all(&bytes).await.ok();
}

/// Passes on what the program writes, until nobody is left who could write.
async fn pass_on(mut from: pipe::Receiver, stdio: Stdio, to: mpsc::Sender<Output>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        // Where nobody listens any more, the program goes on unheard.
        to.send(Output::new(stdio, buffer.split().freeze())).await.ok();
    }
}

/// Keeps the first `limit` bytes.
async fn collect(mut from: pipe::Receiver, limit: u64) -> io::Result<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut kept, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    loop {
        let len = from.read(&mut buffer).await?;
        if len == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        kept.extend_from_slice(&buffer[..len.min(limit - kept.len())]);
    }
}

/// Waits for the report that all is over; tells the helper where that is wanted sooner. Dropping the future closes the
/// socket, which has the same effect.
async fn hear_end(socket: UnixStream, cancel: &CancellationToken) -> Result<Report> {
    let (mut reading, mut writing) = socket.into_split();
    let report = async {
        let mut bytes = Vec::new();
        reading.read_to_end(&mut bytes).await.map_err(failed("hear from livecode-init"))?;
        Report::decode(&bytes)
            .map_err(|_| Error::unavailable("livecode-init died during the run: it can be tried again"))
    };
    tokio::pin!(report);
    tokio::select! {
        biased;
        report = &mut report => return report,
        () = cancel.cancelled() => {
            // Fails where it's over already, and then the report is on its way.
            writing.shutdown().await.ok();
        }
    }
    report.await
}
