//! Other runs and the host's processes, and programs that don't want to end.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command},
};

use bytes::Bytes;
use livecode_core::{
    Io, LimitRequest, Limits, Outcome, Owner, Program, Reuse, Runner, SourceFile, Step, Termination,
};
use livecode_process::Layer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, Held, escapes, is_root, python};

fn wall(ms: u64) -> LimitRequest {
    LimitRequest { wall_time_ms: Some(ms), ..LimitRequest::default() }
}

/// Which of all processes is another program like this one, to Python.
const ANOTHER: &str = "
def is_another(pid):
    try: return int(pid) not in (os.getpid(), os.getppid()) and b'main.py' in open(f'/proc/{pid}/cmdline', 'rb').read()
    except OSError: return False
others = [int(pid) for pid in os.listdir('/proc') if pid.isdigit() and is_another(pid)]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processes_of_another_run_are_not_seen() {
    Attempt::against(&[Layer::PidNamespace])
        .made_by(async |runner| {
            let other = Held::start(&runner, python("hold()")).await;
            let escaped = escapes(&runner, python(&format!("{ANOTHER}\nreturn len(others) > 0"))).await;
            other.cancel().await;
            escaped
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_processes_of_another_run_are_not_killed() {
    Attempt::against(&[Layer::PidNamespace, Layer::OwnUser, Layer::Landlock])
        .made_by(async |runner| {
            let other = Held::start(&runner, python("hold()")).await;
            let kill = format!(
                "
{ANOTHER}
killed = 0
for pid in others:
    try: os.kill(pid, 9); killed += 1
    except OSError: pass
return killed > 0
"
            );
            let escaped = escapes(&runner, python(&kill)).await;
            if !escaped {
                other.cancel().await;
                return false;
            }
            let (outcome, _) = other.end().await;
            assert_eq!(outcome.termination, Termination::Signaled { signal: 9 });
            true
        })
        .await;
}

/// What the kernel counts for all processes of a host's user. An ordinary user's runs have but one.
async fn is_missing(use_up: &str, look: &str) {
    if is_root() {
        let limits = LimitRequest { open_files: Some(400), ..LimitRequest::default() };
        Attempt::against(&[Layer::OwnUser])
            .made_by(async |runner| {
                let other = Held::start(&runner, python(use_up).limits(limits)).await;
                let missing = escapes(&runner, python(look)).await;
                other.cancel().await;
                missing
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipes_that_another_run_uses_up_are_not_missing() {
    is_missing(
        "
held = [os.pipe() for n in range(100)]
try:
    for pipe in held: fcntl.fcntl(pipe[0], 1031, 1 << 20)
except OSError: hold()
",
        "
try: return fcntl.fcntl(os.pipe()[0], 1031, 1 << 20) < 1 << 20
except PermissionError: return True
",
    )
    .await;
}

/// Nor are they the host's root's, who made the user namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_another_run_uses_up_are_not_missing() {
    is_missing(
        "
try:
    for n in range(300): checked(libc.inotify_init())
except OSError: hold()
",
        "
try: return checked(libc.inotify_init()) < 0
except OSError as error: return error.errno == errno.EMFILE
",
    )
    .await;
}

/// A process of the host's in the same process group as we are, that has been stopped.
struct Stopped(Child);

impl Stopped {
    fn new() -> Self {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let stopped = Self(child);
        stopped.signal(libc::SIGSTOP);
        while stopped.state() != 'T' {
            std::thread::yield_now();
        }
        stopped
    }

    fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child isn't reaped yet.
        assert_eq!(unsafe { libc::kill(self.0.id().cast_signed(), signal) }, 0);
    }

    fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        self.0.wait().unwrap();
    }
}

/// `SIGCONT` to the whole process group, which within a session may be sent to any user's processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_session_is_not_signalled() {
    Attempt::against(&[Layer::Session, Layer::Landlock])
        .made_by(async |runner| {
            let stopped = Stopped::new();
            escapes(&runner, python("os.kill(0, signal.SIGCONT); return True")).await;
            stopped.state() != 'T'
        })
        .await;
}

/// Forked twice, in a session of its own, deaf, and with the output still open: it lives on when the program has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_the_program() {
    let source = "
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    init = os.getppid()
    if os.fork() == 0:
        time.sleep(1)
        print('escaped', flush=True)
    os._exit(0)
return False
";
    Attempt::against(&[Layer::PidNamespace])
        .made_by(async |runner| escapes(&runner, python(source)).await)
        .await;
}

/// A compiler's deeds, and the program's.
async fn compile_and_run(runner: &Runner, compile: &str, source: &str) -> (Outcome, String) {
    let step = |name: &str| Step {
        command: vec!["python3".into(), name.into()],
        env: BTreeMap::new(),
        limits: Limits::RUN,
    };
    let file = |name: &str, body: &str| SourceFile::new(name, python(body).source_code);
    let program = Program {
        language: "python".into(),
        files: vec![file("main.py", source), file("compile.py", compile)],
        compile: Some(step("compile.py")),
        run: step("main.py"),
        collect: Vec::new(),
        owner: Owner::anonymous(),
        reuse: Reuse::Nothing,
        name: String::new(),
    };
    let (sender, mut output) = mpsc::channel(16);
    let io = Io { stdin: Bytes::new(), more: None, output: sender };
    let cancel = CancellationToken::new();
    let said = async {
        let mut said = Vec::new();
        while let Some(more) = output.recv().await {
            said.extend_from_slice(&more.bytes);
        }
        String::from_utf8(said).unwrap()
    };
    let (outcome, said) = tokio::join!(runner.sandbox().run(&program, io, &cancel), said);
    (outcome.unwrap(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compiler_is_contained_as_a_program_is() {
    Attempt::against(&[Layer::Seccomp])
        .made_by(async |runner| {
            let (outcome, _) =
                compile_and_run(&runner, "return call(272, 97, 0x10000000) == 0", "return False").await;
            let said = outcome.compile_output.unwrap();
            assert!(said.contains("escaped") != said.contains("contained"), "{said}");
            said.contains("escaped")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_the_compiler() {
    let leave = "
if os.fork() == 0:
    os.setsid()
    for n in range(600):
        open('/tmp/left', 'w').write(str(n))
        time.sleep(0.01)
    os._exit(0)
while not os.path.exists('/tmp/left'): pass
return False
";
    let look = "
os.unlink('/tmp/left')
time.sleep(1)
return os.path.exists('/tmp/left')
";
    Attempt::against(&[Layer::PidNamespace])
        .made_by(async |runner| {
            let (outcome, said) = compile_and_run(&runner, leave, look).await;
            assert!(said.contains("escaped") != said.contains("contained"), "{said}{outcome:?}");
            said.contains("escaped")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sleeps_beyond_the_wall_time() {
    Attempt::against(&[Layer::WallTime]).limits(wall(2000)).python("time.sleep(4); return True").await;
}

/// Woken by a child, where it's still there to be woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_does_not_stop_the_clock() {
    let source = "
me = os.getpid()
if os.fork() == 0:
    time.sleep(4)
    os.kill(me, signal.SIGCONT)
    os._exit(0)
os.kill(me, signal.SIGSTOP)
return True
";
    Attempt::against(&[Layer::WallTime]).limits(wall(2000)).python(source).await;
}
