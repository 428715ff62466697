//! [`ProcessSandbox`]: one program, one world of its own.

use std::{
    collections::HashMap,
    fmt,
    ops::Add,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::Duration,
};

use async_trait::async_trait;
use livecode_core::{
    Capabilities, Error, ExecutionSpec, Io, Outcome, Program, Result, Reuse, Sandbox, Stdio, Step,
};
use rustix::fs::MemfdFlags;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    cgroup::Parent,
    compiler,
    helper::{Appearance, Helper, sealed},
    layer::LeftOut,
    protocol::{self, Begin, Command, Counters, Message, Order, Request},
    seccomp, shared,
    streams::{
        brings, failed, feed, hear, hear_end, inward, keep, keeps, outward, pass_on, socket_pair, take_back,
    },
    toolchain::{Tool, Toolchains},
    verdict,
    warm::{Warm, WarmStats},
};

/// What sandboxes made ahead may hold where the host doesn't say.
const WARM_BYTES: u64 = 512 << 20;

/// How low the bar may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Everything is enforced, or the sandbox can't be built.
    #[default]
    Strict,
    /// Where no cgroup can be had, programs run without one: memory and CPU time are limited per process alone, by resource
    /// limits (memory with room added for the stacks of all threads that it may have), no share of a processor is kept, and
    /// of usage only wall time is known, and CPU time of what the main process waited for. Each outcome says so. Namespaces, system call filter and resource limits are never
    /// left out.
    BestEffort,
}

/// How a [`ProcessSandbox`] is built.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    isolation: Isolation,
    cgroup: Option<PathBuf>,
    shared: Vec<PathBuf>,
    warm: HashMap<String, Warm>,
    warm_bytes: Option<u64>,
    left_out: LeftOut,
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

    /// Shows this directory or file of the host's to every program, at the same place, to be read and executed and never
    /// written: data sets, site-packages. Whatever the file permissions let another user read there can be read, and a
    /// socket in it can be connected to: share what holds none.
    ///
    /// It has to be absolute, without links, there when the sandbox is built, and neither one of the places that are a program's own or the
    /// kernel's (`/tmp`, `/work`, `/proc`, `/dev`, `/sys`) nor above one.
    #[must_use]
    pub fn share(mut self, path: impl Into<PathBuf>) -> Self {
        self.shared.push(path.into());
        self
    }

    /// How programs of this language, by its canonical name, are started. Without it [`Warm::SingleUse`] for Python, JavaScript,
    /// TypeScript, Java, Ruby, PHP, Perl and Bash, [`Warm::Off`] for others. What can't be had goes the cold way, and so does a
    /// program with environment variables, its own or its language's. [`Warm::Fork`] is for languages whose `run` names the
    /// program's file, so that a request's arguments are the program's and not the interpreter's, which boots outside.
    #[must_use]
    pub fn warm(mut self, language: impl Into<String>, way: Warm) -> Self {
        self.warm.insert(language.into(), way);
        self
    }

    /// The most memory that sandboxes made ahead may hold while they wait, in bytes: 512 MiB without it. For each set of
    /// directories that programs see: interpreters in `/usr` have one set, each in a place of its own has another.
    #[must_use]
    pub fn warm_bytes(mut self, bytes: u64) -> Self {
        self.warm_bytes = Some(bytes);
        self
    }

    /// Leaves a layer of the protection out. Dangerous, and for this crate's own tests alone: they show by it what each
    /// layer is for.
    #[cfg(feature = "leave-out")]
    #[must_use]
    pub fn leave_out(mut self, layer: crate::Layer) -> Self {
        self.left_out.0 |= 1 << layer as u8;
        self
    }

    /// Builds it: finds out what this machine can enforce and starts the first helper, about 3 ms.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](livecode_core::ErrorKind::Unsupported) where a protection can't be had here, with what to do about
    /// it; [`InvalidArgument`](livecode_core::ErrorKind::InvalidArgument) for what can't be shared;
    /// [`Internal`](livecode_core::ErrorKind::Internal).
    pub fn build(self) -> Result<ProcessSandbox> {
        self.shared.iter().try_for_each(|path| shared::check(path))?;
        let mut missing = Vec::new();
        if self.isolation == Isolation::BestEffort
            && let Err(error) = Parent::make(self.cgroup.as_deref())
        {
            missing.push(format!(
                "memory and CPU time are limited per process alone, CPU share not at all: {error}"
            ));
        }
        let mut inner = Inner {
            cgroup: self.cgroup,
            shared: self.shared,
            warm: self.warm,
            warm_bytes: self.warm_bytes.unwrap_or(WARM_BYTES),
            left_out: self.left_out,
            missing,
            landlock: 0,
            seccomp: seccomp::filter(),
            toolchains: Toolchains::default(),
            helpers: Mutex::default(),
            making: watch::Sender::new(0),
            over: CancellationToken::new(),
        };
        inner.landlock = inner.helper(&Appearance { shown: inner.shared.clone() })?.landlock();
        let inner = Arc::new(inner);
        Ok(ProcessSandbox { last: Some(Arc::new(Last(inner.clone()))), inner })
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
    pub(crate) inner: Arc<Inner>,
    /// None in what works ahead for hosts that may be gone.
    #[expect(dead_code, reason = "it's there to be dropped")]
    pub(crate) last: Option<Arc<Last>>,
}

/// Held by all clones that a host has. Where it goes, what is still being made ahead goes as well.
#[derive(Debug)]
pub(crate) struct Last(Arc<Inner>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.over.cancel();
        self.0.all_helpers().iter().for_each(|helper| helper.end());
    }
}

pub(crate) struct Inner {
    cgroup: Option<PathBuf>,
    shared: Vec<PathBuf>,
    pub(crate) warm: HashMap<String, Warm>,
    warm_bytes: u64,
    left_out: LeftOut,
    /// What is not enforced.
    missing: Vec<String>,
    /// The version of Landlock that is in force, 0 for none.
    landlock: u8,
    seccomp: Vec<u8>,
    toolchains: Toolchains,
    /// One for each set of what is shown, so that a program sees only its own language's.
    helpers: Mutex<HashMap<Appearance, Arc<Helper>>>,
    /// How many Java compilers are being made ready to boot ahead.
    pub(crate) making: watch::Sender<usize>,
    /// Cancelled when no host can ask for a run any more.
    pub(crate) over: CancellationToken,
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

    /// Waits until as many sandboxes are waiting for a program as there should be, for every kind of program that was seen
    /// often enough.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](livecode_core::ErrorKind::Unavailable) where the helper is gone.
    pub async fn warmed(&self) -> Result<()> {
        let mut making = self.inner.making.subscribe();
        // It only fails where there is no sender any more, which we hold.
        making.wait_for(|making| *making == 0).await.ok();
        for helper in self.inner.all_helpers() {
            let (socket, theirs) = socket_pair()?;
            helper.order(&Order::Tell, vec![theirs]).await?;
            let counters: Counters = hear(socket).await?;
            *helper.stats.lock().unwrap_or_else(PoisonError::into_inner) = counters.into();
        }
        Ok(())
    }

    /// What became of the sandboxes made ahead.
    pub fn warm_stats(&self) -> WarmStats {
        let stats = |helper: Arc<Helper>| *helper.stats.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.all_helpers().into_iter().map(stats).fold(WarmStats::default(), Add::add)
    }
}

#[async_trait]
impl Sandbox for ProcessSandbox {
    fn capabilities(&self) -> Capabilities {
        let mut enforced = [
            "user, PID, mount, network, IPC, UTS and cgroup namespaces",
            "a read-only root, and size-limited memory for files",
            "no capabilities and no new privileges",
            "a system call filter",
            "resource limits",
            "wall time",
        ]
        .map(str::to_owned)
        .to_vec();
        if self.inner.landlock > 0 {
            enforced.push(format!("Landlock, version {}", self.inner.landlock));
        }
        if self.inner.missing.is_empty() {
            enforced.push("cgroup limits on memory, processes, CPU time and CPU share".into());
        }
        Capabilities { name: "process".into(), enforced, missing: self.inner.missing.clone() }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let (request, helper) = self.inner.prepare(program).await?;
        let limits: Vec<_> = steps(program).map(|step| limits(&step.limits)).collect();
        let kind = self.kind(program, &limits, &request.steps, &helper).await?;
        let begin = Begin { steps: limits, collects: brings(program), kind };
        let request = request.encode();
        let length = (request.len() as u64).to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![&length[..], &request[..]];
        match &program.reuse {
            Reuse::Begin(artifact) => parts.push(artifact.as_bytes()),
            Reuse::Nothing | Reuse::Keep { .. } => {
                parts.extend(program.files.iter().map(|file| &file.content[..]));
            }
        }
        let request = sealed("request", &parts, MemfdFlags::empty()).map_err(failed("make a memory file"))?;
        let (socket, theirs) = socket_pair()?;
        let (stdin_end, stdin) = outward(io.stdin.is_empty() && io.more.is_none())?;
        let (stdout, stdout_end) = inward()?;
        let (stderr, stderr_end) = inward()?;
        let mut given = vec![theirs, request, stdin_end, stdout_end, stderr_end];
        let mut one_more = |wanted: bool| {
            let (ours, theirs) = if wanted { inward().map(Some)? } else { None }.unzip();
            given.extend(theirs);
            Ok::<_, Error>(ours)
        };
        let compiler = one_more(program.compile.is_some())?;
        let brought = one_more(brings(program))?;
        helper.order(&Order::Run(begin), given).await?;

        let ended = CancellationToken::new();
        let report = async {
            let report = hear_end(socket, cancel).await;
            ended.cancel();
            report
        };
        // A program need not read its input: when it has ended, nobody will.
        let feed = async {
            if let Some(stdin) = stdin {
                tokio::select! { () = ended.cancelled() => {}, () = feed(stdin, io.stdin, io.more) => {} }
            }
        };
        let (report, (), out, err, compile_output, brought) = tokio::join!(
            report,
            feed,
            pass_on(stdout, Stdio::Stdout, io.output.clone()),
            pass_on(stderr, Stdio::Stderr, io.output.clone()),
            async {
                match (compiler, &program.compile) {
                    (Some(output), Some(step)) => keep(output, step.limits.output_bytes).await.map(Some),
                    (Some(_) | None, _) => Ok(None),
                }
            },
            async {
                match brought {
                    Some(pipe) => take_back(pipe, program).await,
                    None => Default::default(),
                }
            },
        );
        let report = report?;
        *helper.stats.lock().unwrap_or_else(PoisonError::into_inner) = report.counters.into();
        out.and(err).map_err(failed("read the program's output"))?;
        let compile_output = compile_output.map_err(failed("read the compiler's output"))?;
        verdict::outcome(program, &report, compile_output, brought, &self.inner.missing)
    }

    async fn compiler(&self, program: &Program) -> Result<Option<String>> {
        // Looks them up, where they aren't known.
        self.inner.prepare(program).await?;
        let commands: Vec<&str> =
            steps(program).filter_map(|step| step.command.first()).map(String::as_str).collect();
        let tools = self.inner.toolchains.known(&commands);
        Ok(tools.map(|tools| compiler::identity(&tools, &self.inner.shared)))
    }
}

impl Inner {
    fn all_helpers(&self) -> Vec<Arc<Helper>> {
        let helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        helpers.values().filter(|helper| !helper.is_gone()).cloned().collect()
    }

    /// The helper for worlds of that appearance, where there is one that can be asked.
    fn running_helper(&self, appearance: &Appearance) -> Option<Arc<Helper>> {
        // While one is being started, whoever asks waits where nobody is held up.
        let helpers = match self.helpers.try_lock() {
            Ok(helpers) => helpers,
            Err(TryLockError::Poisoned(helpers)) => helpers.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        helpers.get(appearance).filter(|helper| !helper.is_gone()).cloned()
    }

    /// The helper for worlds of that appearance; a new one where there is none, or the last one is gone.
    fn helper(&self, appearance: &Appearance) -> Result<Arc<Helper>> {
        let mut helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(helper) = helpers.get(appearance) {
            if !helper.is_gone() {
                return Ok(helper.clone());
            }
            tracing::warn!("a livecode-init is gone and is started again");
        }
        if self.over.is_cancelled() {
            return Err(Error::unavailable("the sandbox was dropped"));
        }
        self.shared.iter().try_for_each(|path| shared::check(path))?;
        let cgroups =
            if self.missing.is_empty() { Some(Parent::make(self.cgroup.as_deref())?) } else { None };
        let helper =
            Arc::new(Helper::start(appearance, cgroups, &self.seccomp, self.left_out, self.warm_bytes)?);
        helpers.insert(appearance.clone(), helper.clone());
        Ok(helper)
    }

    /// What the helper is told, and the helper. Looking a toolchain up and starting a helper takes milliseconds, the first
    /// time for each language: not on a thread that others wait for.
    async fn prepare(self: &Arc<Self>, program: &Program) -> Result<(Request, Arc<Helper>)> {
        let commands: Vec<&str> =
            steps(program).filter_map(|step| step.command.first()).map(String::as_str).collect();
        let at_once = self.toolchains.known(&commands).and_then(|tools| {
            let helper = self.running_helper(&self.appearance(&tools))?;
            Some((tools, helper))
        });
        let (tools, helper) = match at_once {
            Some(found) => found,
            None => {
                let (inner, commands) =
                    (self.clone(), commands.into_iter().map(str::to_owned).collect::<Vec<_>>());
                let looked_up = tokio::task::spawn_blocking(move || {
                    let tools = commands
                        .iter()
                        .map(|command| inner.toolchains.find(command))
                        .collect::<Result<Vec<_>>>()?;
                    let helper = inner.helper(&inner.appearance(&tools))?;
                    Ok((tools, helper))
                });
                looked_up
                    .await
                    .map_err(|error| Error::internal("looking a toolchain up failed").with_source(error))??
            }
        };
        Ok((self.request(program, &tools)?, helper))
    }

    fn appearance(&self, tools: &[Tool]) -> Appearance {
        let mut shown = self.shared.clone();
        shown.extend(tools.iter().flat_map(|tool| tool.prefixes.iter().cloned()));
        shown.sort();
        shown.dedup();
        Appearance { shown }
    }

    fn request(&self, program: &Program, tools: &[Tool]) -> Result<Request> {
        let path = path_variable(tools);
        let mut encoded = Vec::new();
        for (step, tool) in steps(program).zip(tools) {
            encoded.push(command(step, &tool.path, &path));
        }
        if encoded.len() != steps(program).count() {
            return Err(Error::invalid("a step has an empty command"));
        }
        let begins = matches!(program.reuse, Reuse::Begin(_));
        let files = program.files.iter().filter(|_| !begins);
        Ok(Request {
            files: files.map(|file| (file.path.clone(), file.content.len() as u64)).collect(),
            begins,
            keep: keeps(program),
            collect: program.collect.clone(),
            collect_bytes: ExecutionSpec::MAX_TOTAL_BYTES as u64,
            steps: encoded,
        })
    }
}

fn steps(program: &Program) -> impl Iterator<Item = &Step> {
    program.compile.iter().chain([&program.run])
}

fn command(step: &Step, program: &Path, path_variable: &str) -> Command {
    let own = [("PATH", path_variable), ("HOME", "/work"), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8")];
    let own = own.into_iter().filter(|(name, _)| !step.env.contains_key(*name));
    let asked = step.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let program = program.as_os_str().as_bytes().to_vec();
    let arguments = step.command.iter().skip(1).map(|argument| argument.clone().into_bytes());
    Command {
        argv: std::iter::once(program.clone()).chain(arguments).collect(),
        path: program,
        env: own.chain(asked).map(|(name, value)| format!("{name}={value}").into_bytes()).collect(),
    }
}

fn limits(limits: &livecode_core::Limits) -> protocol::Limits {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    protocol::Limits {
        wall_ns: nanos(limits.wall_time),
        cpu_ns: nanos(limits.cpu_time),
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
        file_bytes: limits.file_bytes,
        files: limits.files,
        open_files: limits.open_files,
        stack_bytes: limits.stack_bytes,
        cpu_millis: limits.cpu_millis,
    }
}

fn path_variable(tools: &[Tool]) -> String {
    let mut own: Vec<String> = Vec::new();
    for prefix in tools.iter().flat_map(|tool| &tool.prefixes) {
        let bin = format!("{}/bin:", prefix.display());
        // A file that is shown alone has none.
        if prefix.join("bin").is_dir() && !own.contains(&bin) {
            own.push(bin);
        }
    }
    own.concat() + "/usr/local/bin:/usr/bin:/bin"
}
