//! Programs in containers.

use std::{
    process,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use livecode_core::{Capabilities, Error, ErrorKind, Io, Outcome, Program, Result, Sandbox, Termination};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    container::{CgroupLimits, Common, Container, ContainerKind, FileLimits, GROUP},
    engine::Engine,
    image::{ImageSource, Images, Named},
    pool::{Pool, PoolStats},
    run::{Run, steps},
    sweep::sweep,
};

/// What happens where a container can't enforce all that is promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing runs there: [`Unsupported`](livecode_core::ErrorKind::Unsupported), with the reason and the remedy.
    #[default]
    Strict,
    /// Programs run with what there is, and each record says what was missing. For runtimes like gVisor's, which have other
    /// means than ours.
    BestEffort,
}

/// How a [`DockerSandbox`] is made. See [`DockerSandbox::builder`].
#[derive(Debug)]
pub struct Builder {
    host: Option<String>,
    group: String,
    named: Named,
    source: Option<Arc<dyn ImageSource>>,
    runtime: Option<String>,
    isolation: Isolation,
    waiting: usize,
    kinds: usize,
    sweep: [Duration; 2],
    patience: Duration,
}

impl Builder {
    /// Where the engine is: `unix:///var/run/docker.sock`, `tcp://HOST:PORT`. Default: as `DOCKER_HOST` says, or the first of these.
    /// Who may use that is root on the engine's machine: nobody else may get there.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The image in which programs of `language` (its canonical name) run, by name or id. It needs what the language's commands
    /// name, and nothing else: no shell, no package manager.
    #[must_use]
    pub fn image(mut self, language: impl Into<String>, image: impl Into<String>) -> Self {
        self.named.0.insert(language.into(), image.into());
        self
    }

    /// Asks somebody else for images, in place of those named by [`Builder::image`].
    #[must_use]
    pub fn images(mut self, source: impl ImageSource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The runtime of containers, by a name that the engine knows: `runsc` (gVisor), `kata`. Default: the engine's own.
    #[must_use]
    pub fn runtime(mut self, runtime: impl Into<String>) -> Self {
        self.runtime = Some(runtime.into());
        self
    }

    /// Whether less than everything is enough. Default: [`Isolation::Strict`].
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// How many containers wait for the next program of each kind (an image and limits); 0: none is started ahead. Default: 2.
    #[must_use]
    pub fn waiting(mut self, containers: usize) -> Self {
        self.waiting = containers;
        self
    }

    /// For how many kinds containers wait, those that were wanted last. Default: 8.
    #[must_use]
    pub fn kinds(mut self, kinds: usize) -> Self {
        self.kinds = kinds.max(1);
        self
    }

    /// Which containers on the engine are ours: sandboxes of the same group remove what a dead one of them left, and touch no
    /// others. Default: `livecode`.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// How often what dead workers left is looked for, and how long it's left to those who may still live: from a container's making
    /// until it's started, and until one that has ended is removed. Those that wait are looked at as often. Default: 30 s, 60 s.
    #[must_use]
    pub fn sweep(mut self, every: Duration, older_than: Duration) -> Self {
        self.sweep = [every, older_than];
        self
    }

    /// How long the engine may take for a call before it's [`Unavailable`](ErrorKind::Unavailable); to pull an image takes as long as
    /// it gets on. Default: 30 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Looks whether the engine is there.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) where the engine can't be reached;
    /// [`Unsupported`](ErrorKind::Unsupported) where it isn't one for Linux containers, doesn't have the runtime, or lacks seccomp;
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for an address that is none.
    pub async fn build(self) -> Result<DockerSandbox> {
        let engine = Engine::connect(self.host.as_deref(), self.patience).await?;
        let info = engine.info().await?;
        if info.os_type.as_deref().is_some_and(|os| os != "linux") {
            return Err(Error::unsupported(
                "the container engine runs no Linux containers: name one that does",
            ));
        }
        let has_seccomp = info.security_options.iter().flatten().any(|option| option.contains("seccomp"));
        if !has_seccomp && self.isolation == Isolation::Strict {
            return Err(Error::unsupported(
                "the container engine has no seccomp: run it on a kernel with seccomp, or allow best-effort isolation",
            ));
        }
        if let Some(runtime) = &self.runtime
            && !info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key(runtime))
        {
            return Err(Error::unsupported(format!(
                "the container engine has no runtime {runtime}: install it there and name it in the engine's configuration"
            )));
        }
        let common = Arc::new(Common {
            engine,
            group: self.group,
            worker: format!("{}-{:08x}", process::id(), fastrand::u32(..)),
            runtime: self.runtime,
            processors: info.ncpu.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        });
        let inner = Arc::new(Inner {
            pool: Arc::new(Pool::new(common.clone(), self.waiting, self.kinds)),
            common,
            images: Images::default(),
            source: self.source.unwrap_or_else(|| Arc::new(self.named)),
            isolation: self.isolation,
        });
        let [every, older_than] = self.sweep;
        tokio::spawn(tidy(Arc::downgrade(&inner), every, older_than));
        Ok(DockerSandbox { inner })
    }
}

/// A [`Sandbox`] whose programs run in containers of a Docker engine, each in one of its own: no network, a read-only image, no
/// capabilities, a system call filter of ours, an unprivileged user, limits on memory, processes, processors and files.
///
/// Containers are started ahead for the kinds of programs (image and limits) that came last. A program's end is told when it
/// is dead; its container is removed afterwards. Where this process dies its containers end by themselves; what is left of them
/// another sandbox of the same group removes, at its start and every 30 s.
///
/// It lives in the tokio runtime in which it was built. Clones share everything.
///
/// ```no_run
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use livecode_core::{ExecutionSpec, Runner};
/// use livecode_docker::DockerSandbox;
///
/// let sandbox = DockerSandbox::builder().image("python", "python:3.13-slim").build().await.unwrap();
/// let run = Runner::new(sandbox).run(&ExecutionSpec::new("python", "print(6 * 7)")).await.unwrap();
/// assert_eq!(run.captured.stdout, "42\n");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct DockerSandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    common: Arc<Common>,
    images: Images,
    source: Arc<dyn ImageSource>,
    pool: Arc<Pool>,
    isolation: Isolation,
}

impl DockerSandbox {
    /// A sandbox on the engine of this machine, without images so far.
    pub fn builder() -> Builder {
        Builder {
            host: None,
            group: "livecode".into(),
            named: Named::default(),
            source: None,
            runtime: None,
            isolation: Isolation::default(),
            waiting: 2,
            kinds: 8,
            sweep: [Duration::from_secs(30), Duration::from_secs(60)],
            patience: Duration::from_secs(30),
        }
    }

    /// What became of the containers that were started ahead.
    pub fn pool_stats(&self) -> PoolStats {
        self.inner.pool.stats()
    }

    /// Removes the containers that wait, and starts no others: for a host that shuts down. Runs go on.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) where the engine doesn't remove them: they end by themselves with this process.
    pub async fn drain(&self) -> Result<()> {
        join_all(self.inner.pool.close().into_iter().map(Container::remove)).await.into_iter().collect()
    }
}

#[async_trait]
impl Sandbox for DockerSandbox {
    fn capabilities(&self) -> Capabilities {
        let enforced = [
            "a container for each run: PID, mount, network, IPC, UTS and cgroup namespaces",
            "no network",
            "a read-only image, and size-limited memory for files",
            "no capabilities and no new privileges, an unprivileged user",
            "a system call filter",
            "Landlock",
            "cgroup limits on memory, processes and CPU share; CPU and wall time",
        ];
        let missing = match self.inner.isolation {
            Isolation::Strict => Vec::new(),
            Isolation::BestEffort => vec![
                "what a container can't enforce is left out, because the host allowed best-effort isolation: each record says what that was".into(),
            ],
        };
        Capabilities { name: "docker".into(), enforced: enforced.map(str::to_owned).to_vec(), missing }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        let inner = &self.inner;
        let mut container = tokio::select! {
            container = inner.container(program) => container?,
            // What the engine has begun meanwhile is left for the sweep.
            () = cancel.cancelled() => return Ok(Outcome::new(Termination::Cancelled)),
        };
        if !container.missing.is_empty() && inner.isolation == Isolation::Strict {
            return Err(Error::unsupported(format!(
                "a container isn't safe enough: {}",
                container.missing.join("; ")
            )));
        }
        if !program.name.is_empty() {
            container.call(&program.name);
        }
        let unprotected = container.missing.clone();
        let ended = Run { container: &mut container, program, io, cancel, unprotected }.finish().await;
        let Err(error) = ended else { return ended };
        // Whatever went wrong, nothing of the program is alive when it's tried again; where the engine is away, its containers are, too.
        container.remove().await.ok();
        Err(match error.kind() {
            ErrorKind::NotFound => {
                Error::unavailable("somebody has removed a run's container").with_source(error)
            }
            _ => error,
        })
    }
}

impl Inner {
    /// One for this program alone.
    async fn container(&self, program: &Program) -> Result<Container> {
        let name = self.source.image(&program.language).await?;
        let image = self.images.prepared(&self.common, &*self.source, &name).await?;
        let first = program.compile.as_ref().unwrap_or(&program.run);
        let files =
            steps(program).map(|step| FileLimits { bytes: step.limits.file_bytes, files: step.limits.files });
        let files = files.fold(FileLimits { bytes: 0, files: 0 }, |one, other| FileLimits {
            bytes: one.bytes.max(other.bytes),
            files: one.files.max(other.files),
        });
        let kind = ContainerKind { image: image.clone(), files, limits: CgroupLimits::of(&first.limits) };
        let container = self.pool.take(&kind).await;
        if container.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // Somebody has removed it: the next attempt makes it anew.
            self.images.forget(&image);
            return Err(Error::unavailable("an image that was made for runs is gone: it's made again"));
        }
        container
    }
}

/// Looks after what is there and what is left, as long as somebody has the sandbox.
async fn tidy(inner: Weak<Inner>, every: Duration, older_than: Duration) {
    let mut times = interval(every.max(Duration::from_millis(1)));
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner.pool.check();
        let common = inner.common.clone();
        drop(inner);
        if let Err(error) = sweep(&common, older_than).await {
            tracing::debug!(%error, label = GROUP, "leftovers aren't looked for now");
        }
    }
}
