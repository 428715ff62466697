//! One attempt, made again and again: with everything in force, with each layer that stops it alone, and with none.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use livecode_core::{
    Ceiling, ExecutionSpec, LimitRequest, Limits, Outcome, Output, Result, Run, Runner, Termination,
};
use livecode_process::{Builder, Isolation, Layer, ProcessSandbox, Warm};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{ordinary_user, warmed::Warmed};

/// What every attempt in Python has at hand. It raises `OSError` where it's refused, and says in the end whether it worked.
const PREAMBLE: &str = "
import ctypes, errno, fcntl, os, platform, resource, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result == -1: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def call(x86_64, arm64, *arguments):
    number = x86_64 if platform.machine() == 'x86_64' else arm64
    wide = [ctypes.c_long(it) if isinstance(it, int) else it for it in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *wide))
def limit(resource, value): checked(libc.setrlimit(resource, (ctypes.c_uint64 * 2)(value, value)))
def hold():
    # Until our init is gone, which says that the run is over even where nobody kills us.
    parent, end = os.getppid(), time.monotonic() + 8
    print('ready', flush=True)
    while os.getppid() == parent and time.monotonic() < end: time.sleep(0.01)
def attempt():
";

const EPILOGUE: &str = "
print('trying', flush=True)
try: worked = attempt()
except OSError as error: print('contained:', error)
else: print('escaped' if worked else 'contained')
";

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Raises what a host may have raised, so that a limit of ours is the only one.
pub(crate) fn be_a_generous_host() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (resource, wished) in [
            (libc::RLIMIT_NICE, 40),
            (libc::RLIMIT_RTPRIO, 10),
            (libc::RLIMIT_MEMLOCK, 64 << 20),
            (libc::RLIMIT_CORE, 64 << 20),
            (libc::RLIMIT_MSGQUEUE, 1 << 20),
            (libc::RLIMIT_NOFILE, 20_000),
            (libc::RLIMIT_NPROC, 20_000),
        ] {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: the structure lives through the calls. Who may not raise it is content with less.
            unsafe {
                assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
                let mut raised = libc::rlimit { rlim_cur: wished, rlim_max: limit.rlim_max.max(wished) };
                if libc::setrlimit(resource, &raw const raised) != 0 {
                    raised = libc::rlimit { rlim_cur: wished.min(limit.rlim_max), ..limit };
                    assert_eq!(libc::setrlimit(resource, &raw const raised), 0);
                }
            }
        }
        if is_root() {
            // SAFETY: one group is read.
            assert_eq!(unsafe { libc::setgroups(1, &GROUP) }, 0);
        }
    });
}

/// A group that the host is in besides its own.
pub(crate) const GROUP: u32 = 54_321;

/// How far a limit of this host's can be raised.
pub(crate) fn hard_limit(resource: u32) -> u64 {
    be_a_generous_host();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut limit) }, 0);
    limit.rlim_max
}

/// A directory of the host's that everybody may write, where it can be shared.
pub(crate) fn directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("livecode-escapes").tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    directory
}

/// So that a busy machine ends no attempt before it has been made.
fn patient() -> Ceiling {
    let minute = Duration::from_secs(60);
    Ceiling { run: Limits { wall_time: minute, cpu_time: minute, ..Limits::RUN }, ..Ceiling::default() }
}

/// How a program is started.
pub(crate) const WAYS: [Warm; 3] = [Warm::Off, Warm::SingleUse, Warm::Fork];

/// What is tried, and what stands in its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    layers: Vec<Layer>,
    besides: Vec<Layer>,
    shared: Option<PathBuf>,
    limits: LimitRequest,
    without_cgroup: bool,
    impossible: bool,
}

impl Attempt {
    /// Each of these layers is enough against it, and nothing else is.
    pub(crate) fn against(layers: &[Layer]) -> Self {
        // What only root's runs have.
        let is_there = |layer: &&Layer| {
            is_root() || !matches!(layer, Layer::OwnUser | Layer::Groups | Layer::UserNamespace)
        };
        Self { layers: layers.iter().filter(is_there).copied().collect(), ..Self::default() }
    }

    /// These stay out wherever something is left out, since without that it couldn't be.
    pub(crate) fn besides(mut self, layers: &[Layer]) -> Self {
        self.besides = layers.to_vec();
        self
    }

    pub(crate) fn sharing(mut self, path: &Path) -> Self {
        self.shared = Some(path.to_owned());
        self
    }

    pub(crate) fn limits(mut self, limits: LimitRequest) -> Self {
        self.limits = limits;
        self
    }

    /// In a sandbox that has no cgroups and gets by without.
    pub(crate) fn without_cgroup(mut self) -> Self {
        self.without_cgroup = true;
        self
    }

    /// Whether this kernel can do at all what is tried; else it's contained without our doing.
    pub(crate) fn where_possible(mut self, possible: bool) -> Self {
        self.impossible = !possible;
        self
    }

    fn builder(&self, way: Warm, left_out: &[Layer]) -> Builder {
        let mut builder = ProcessSandbox::builder().warm("python", way);
        if self.without_cgroup {
            builder = builder.isolation(Isolation::BestEffort).cgroup("livecode-not-there/at-all");
        } else {
            builder = ordinary_user::own_cgroup().into_iter().fold(builder, Builder::cgroup);
        }
        builder = self.shared.iter().fold(builder, Builder::share);
        left_out.iter().fold(builder, |builder, layer| builder.leave_out(*layer))
    }

    /// Makes it by programs started in each way, by what tells whether it worked.
    pub(crate) async fn made_by(&self, works: impl AsyncFn(Runner) -> bool) {
        for way in WAYS {
            self.made_one_way_by(way, &works).await;
        }
    }

    pub(crate) async fn made_one_way_by(&self, way: Warm, works: impl AsyncFn(Runner) -> bool) {
        be_a_generous_host();
        let mut cases = vec![(Vec::new(), false)];
        for guard in &self.layers {
            let others = self.layers.iter().filter(|layer| *layer != guard);
            let left_out: Vec<Layer> = others.chain(&self.besides).copied().collect();
            if !left_out.is_empty() {
                cases.push((left_out, false));
            }
        }
        cases.push((self.layers.iter().chain(&self.besides).copied().collect(), !self.impossible));
        // A world made ahead would keep the helper's sockets open, and nothing would end; it's closed by the same code.
        cases.retain(|(left_out, _)| way == Warm::Off || !left_out.contains(&Layer::CloseOthers));
        for (mut left_out, expected) in cases {
            if !left_out.is_empty() {
                // It would refuse to begin, which is a test of its own.
                left_out.push(Layer::Verify);
            }
            let sandbox = self.builder(way, &left_out).build().unwrap();
            // A fork server may make namespaces only together with one for users.
            let always = way != Warm::Fork || !left_out.contains(&Layer::UserNamespace);
            let runner = match way {
                Warm::Off => Runner::new(sandbox),
                _ => Runner::new(Warmed::new(sandbox, always)),
            };
            let worked = works(runner.ceiling(patient())).await;
            assert_eq!(worked, expected, "{way:?}, left out: {left_out:?}");
        }
    }

    /// The body of a function in Python that returns whether it worked.
    pub(crate) async fn python(&self, body: &str) {
        self.made_by(async |runner| escapes(&runner, self.spec(body)).await).await;
    }

    /// The same, started in one way alone.
    pub(crate) async fn python_one_way(&self, way: Warm, body: &str) {
        self.made_one_way_by(way, async |runner| escapes(&runner, self.spec(body)).await).await;
    }

    pub(crate) fn spec(&self, body: &str) -> ExecutionSpec {
        python(body).limits(self.limits)
    }
}

/// A program of such a body.
pub(crate) fn python(body: &str) -> ExecutionSpec {
    let indented: Vec<String> = body.trim_matches('\n').lines().map(|line| format!("    {line}")).collect();
    ExecutionSpec::new("python", [PREAMBLE, &indented.join("\n"), EPILOGUE].concat())
}

/// Whether the program says that it worked. One that doesn't come to say so has to have met its end.
pub(crate) async fn escapes(runner: &Runner, spec: ExecutionSpec) -> bool {
    judge(&runner.run(&spec).await.unwrap())
}

pub(crate) fn judge(run: &Run) -> bool {
    let said = String::from_utf8_lossy(&run.captured.stdout);
    let stderr = String::from_utf8_lossy(&run.captured.stderr);
    let begun = said.lines().any(|line| line == "trying");
    let escaped = said.lines().any(|line| line == "escaped");
    let contained = said.lines().any(|line| line.starts_with("contained"));
    let ended = !matches!(run.outcome.termination, Termination::Exited { .. });
    // Shown where the test fails.
    println!("{:?}: {said}", run.outcome.termination);
    assert!(
        begun && (escaped || contained || ended),
        "the attempt is broken: {said}{stderr}{:?}",
        run.outcome
    );
    escaped
}

/// A program that is running.
pub(crate) struct Held {
    running: JoinHandle<Result<Outcome>>,
    output: mpsc::Receiver<Output>,
    cancel: CancellationToken,
}

impl Held {
    /// Starts it and waits until it says that it's ready.
    pub(crate) async fn start(runner: &Runner, spec: ExecutionSpec) -> Self {
        let (sender, mut output) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let (runner, token) = (runner.clone(), cancel.clone());
        let running = tokio::spawn(async move { runner.stream(&spec, sender, &token).await });
        let mut said = String::new();
        while !said.ends_with("ready\n") {
            match output.recv().await {
                Some(more) => said += &String::from_utf8_lossy(&more.bytes),
                None => panic!("it did not begin: {said}{:?}", running.await),
            }
        }
        Self { running, output, cancel }
    }

    /// What it says until its end, which comes by itself.
    pub(crate) async fn end(mut self) -> (Outcome, String) {
        let mut said = String::new();
        while let Some(more) = self.output.recv().await {
            said += &String::from_utf8_lossy(&more.bytes);
        }
        (self.running.await.unwrap().unwrap(), said)
    }

    /// Ends it.
    pub(crate) async fn cancel(self) {
        self.cancel.cancel();
        self.end().await;
    }
}

/// Leaves something, and has a later run look for it.
pub(crate) async fn is_left(attempt: Attempt, leave: &str, look: &str) {
    attempt
        .made_by(async |runner| {
            runner.run(&python(leave)).await.unwrap();
            escapes(&runner, python(look)).await
        })
        .await;
}

/// Makes a test of each attempt in Python that needs nothing but its source.
macro_rules! attempts {
    ($($(#[$doc:meta])* $name:ident [$($layer:ident),*] $source:expr;)*) => {$(
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::attempt::Attempt::against(&[$(livecode_process::Layer::$layer),*]).python($source).await;
        }
    )*};
}
pub(crate) use attempts;
