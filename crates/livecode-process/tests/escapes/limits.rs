//! What a program may use, where the limit is left out. The host has raised its own as far as it can.

use std::{
    fs,
    path::{Path, PathBuf},
};

use livecode_core::LimitRequest;
use livecode_process::Layer;

use crate::attempt::{Attempt, Held, hard_limit, python};

const MIB: u64 = 1 << 20;

fn limits(set: impl FnOnce(&mut LimitRequest)) -> LimitRequest {
    let mut limits = LimitRequest::default();
    set(&mut limits);
    limits
}

/// Makes a test of an attempt in Python under limits.
macro_rules! limited {
    ($($(#[$doc:meta])* $name:ident [$($layer:ident),*] $limits:expr, $source:expr;)*) => {$(
        $(#[$doc])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            Attempt::against(&[$(Layer::$layer),*]).limits(limits($limits)).python($source).await;
        }
    )*};
}

limited! {
    memory_is_limited [CgroupMemory] |it| it.memory_bytes = Some(64 * MIB), "return len(b'x' * 150_000_000) > 0";

    /// A program that isn't in its cgroup has no limit of it.
    the_cgroup_is_joined [CgroupEntry] |it| it.memory_bytes = Some(64 * MIB), "return len(b'x' * 150_000_000) > 0";

    /// At once: who is asked again when all have it may have been killed for another.
    memory_of_descendants_is_limited [CgroupMemory] |it| it.memory_bytes = Some(64 * MIB), "
answers, questions = [], []
for n in range(4):
    (reading, writing), (asked, asking) = os.pipe(), os.pipe()
    answers.append(reading)
    questions.append(asking)
    if os.fork() == 0:
        held = b'x' * 30_000_000
        os.write(writing, b'held')
        os.read(asked, 1)
        os.write(writing, b'here')
        time.sleep(10)
        os._exit(0)
    os.close(writing)
    os.close(asked)
if not all(os.read(answer, 4) == b'held' for answer in answers): return False
for question in questions: os.write(question, b'?')
return all(os.read(answer, 4) == b'here' for answer in answers)
";

    processes_are_limited [CgroupPids, LimitNproc] |it| it.processes = Some(16), "
reading, writing = os.pipe()
for n in range(60):
    if os.fork() == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
return True
";

    /// Which the main process alone can't tell: no child uses much, and each is gone when the next one begins. The limit is far
    /// more than a slow machine takes to boot.
    cpu_time_of_descendants_is_limited [CpuTime] |it| it.cpu_time_ms = Some(800), "
for n in range(12):
    if os.fork() == 0:
        while time.process_time() < 0.1: pass
        os._exit(0)
    os.wait()
return True
";

    cpu_time_of_a_process_is_limited [CpuTime, LimitCpu] |it| it.cpu_time_ms = Some(800), "
while time.process_time() < 3: pass
return True
";

    /// None of the files is large.
    files_are_limited [Size] |it| it.file_bytes = Some(8 * MIB), "
for n in range(20): open(f'/tmp/{n}', 'wb').write(bytes(1_000_000))
return True
";

    the_number_of_files_is_limited [Inodes] |it| it.files = Some(100), "
for n in range(200): open(f'/tmp/{n}', 'w').close()
return True
";

    /// In memory, where no file system has a size.
    one_file_is_limited [LimitFsize] |it| it.file_bytes = Some(8 * MIB), "
return os.write(os.memfd_create('x'), bytes(20_000_000)) == 20_000_000
";

    open_files_are_limited [LimitNofile] |it| it.open_files = Some(64), "
return len([open('/dev/null') for n in range(200)]) == 200
";

    /// Three times as deep as it may be, and less than what a host has.
    the_stack_is_limited [LimitStack] |it| it.stack_bytes = Some(MIB), "
stack = next(line for line in open('/proc/self/maps') if line.endswith('[stack]\\n'))
top = int(stack.split()[0].split('-')[1], 16)
ctypes.memset(top - (3 << 20), 0, 1)
return True
";

    memory_is_not_locked [LimitMemlock] |_| {}, "
page = ctypes.create_string_buffer(1 << 20)
return checked(libc.mlock(page, 1 << 20)) == 0
";

    /// Timers are some, whether they have fired or not; an ordinary user's host and all its runs have one number of them.
    pending_signals_are_limited [LimitSigpending] |_| {}, "
for n in range(2000): checked(libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p())))
return True
";

    /// Landlock, which knows none of their names, refuses to open any.
    queues_are_not_made [LimitMsgqueue, Landlock] |_| {}, "return checked(libc.mq_open(b'/x', 0o102, 0o600, None)) > 2";

    /// Nor is the host's program started that it has for cores, where `core_pattern` is a pipe.
    cores_are_not_written [LimitCore] |_| {}, "
child = os.fork()
if child == 0: os.abort()
return os.WCOREDUMP(os.waitpid(child, 0)[1])
";
}

/// Per process, where there is no cgroup to count it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_limited_without_a_cgroup() {
    Attempt::against(&[Layer::LimitData])
        .without_cgroup()
        .limits(limits(|it| (it.memory_bytes, it.processes) = (Some(64 * MIB), Some(4))))
        .python("try: return len(b'x' * 150_000_000) > 0\nexcept MemoryError: return False")
        .await;
}

/// A cgroup of version 1 may have limits on such processes of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_scheduled_before_others() {
    let may = |resource| hard_limit(resource) > 0;
    Attempt::against(&[Layer::LimitNice])
        .where_possible(may(libc::RLIMIT_NICE))
        .python("os.setpriority(os.PRIO_PROCESS, 0, -5); return True")
        .await;
    Attempt::against(&[Layer::LimitRtprio])
        .besides(&[Layer::CgroupEntry])
        .where_possible(may(libc::RLIMIT_RTPRIO))
        .python("os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)); return True")
        .await;
}

/// What the kernel counts of the program's periods: how many of them it had to wait out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_more_than_their_share() {
    let name = format!("share-{}", std::process::id());
    let mut spec = python("while time.process_time() < 0.2: pass\nhold()")
        .limits(limits(|it| it.cpu_millis = Some(100)));
    spec.args = vec![name.clone()];
    Attempt::against(&[Layer::CgroupCpu])
        .made_by(async |runner| {
            let held = Held::start(&runner, spec.clone()).await;
            let throttled = throttled(&name);
            held.cancel().await;
            throttled == 0
        })
        .await;
}

/// By the argument of a program that is running, which interpreters that wait for one of its kind have as well.
fn throttled(name: &str) -> u64 {
    let is_it = |path: &PathBuf| {
        fs::read(path.join("cmdline")).is_ok_and(|said| said.ends_with(format!("{name}\0").as_bytes()))
    };
    let processes: Vec<_> =
        fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).filter(is_it).collect();
    assert!(!processes.is_empty());
    processes.iter().map(|process| periods(process)).sum()
}

/// In which its cgroup had to wait.
fn periods(process: &Path) -> u64 {
    let cgroups = fs::read_to_string(process.join("cgroup")).unwrap();
    let path = cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers.split(',').any(|it| it == "cpu" || it.is_empty()).then_some(())?;
        let path = parts.next()?;
        ["cpu", "cpu,cpuacct", "."]
            .map(|mount| format!("/sys/fs/cgroup/{mount}{path}/cpu.stat"))
            .into_iter()
            .find_map(|file| fs::read_to_string(file).ok())
    });
    let stat = path.unwrap();
    stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok()).unwrap()
}
