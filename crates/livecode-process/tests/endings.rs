//! What is left when runs, sandboxes, helpers and hosts end, each in every way: nothing.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod census;
mod ordinary_user;

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use census::{Census, Process, cgroups, descendants, is_alive};
use livecode_core::{ErrorKind, ExecutionSpec, LimitRequest, Output, Runner, Termination};
use livecode_process::{ProcessSandbox, Warm};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Waits until that holds; what is awaited takes milliseconds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what} did not come about");
        std::thread::yield_now();
    }
}

fn python(source: &str) -> ExecutionSpec {
    ExecutionSpec::new("python", source)
}

const HOLD_ON: &str = "
import os, time
for n in range(3):
    if os.fork() == 0: os.setsid()
print('ready')
time.sleep(60)
";

/// Runs `HOLD_ON` until it's there.
async fn hold_on(
    runner: &Runner,
    cancel: &CancellationToken,
) -> impl Future<Output = livecode_core::Result<livecode_core::Outcome>> + use<> {
    let (sender, mut receiver) = mpsc::channel::<Output>(16);
    let (runner, cancel) = (runner.clone(), cancel.clone());
    let running = tokio::spawn(async move { runner.stream(&python(HOLD_ON), sender, &cancel).await });
    let first = receiver.recv().await;
    assert!(first.is_some(), "the program did not begin: {:?}", running.await);
    async move {
        let result = running.await.unwrap();
        drop(receiver);
        result
    }
}

fn sandbox(way: Warm) -> ProcessSandbox {
    let builder = ProcessSandbox::builder().warm("python", way).warm("bash", way);
    ordinary_user::own_cgroup().into_iter().fold(builder, |b, path| b.cgroup(path)).build().unwrap()
}

/// How programs are started.
const WAYS: [Warm; 3] = [Warm::Off, Warm::SingleUse, Warm::Fork];

/// Which of them a host that is started has, as its number.
const WAY: &str = "LIVECODE_TEST_WAY";

fn own_way() -> Warm {
    let number = env::var(WAY).ok().and_then(|number| number.parse().ok());
    WAYS[number.unwrap_or(0_usize)]
}

/// Has two kinds of program wait, where any do: one to be used, the other to be there all the time.
async fn warm_up(sandbox: &ProcessSandbox, way: Warm) {
    let runner = Runner::new(sandbox.clone());
    for _ in 0..2 {
        for language in ["bash", "python"] {
            runner.run(&ExecutionSpec::new(language, "1")).await.unwrap();
        }
    }
    sandbox.warmed().await.unwrap();
    let stats = sandbox.warm_stats();
    assert_eq!(stats.waiting >= 2, way != Warm::Off, "{stats:?}");
}

/// The tests count what this process has, so they take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[test]
fn every_end_is_the_same_for_an_ordinary_user() {
    let _turn = TURN.blocking_lock();
    ordinary_user::run_this_binary_again();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind() {
    nothing_is_left_by(Warm::Off).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind_by_programs_that_find_an_interpreter() {
    nothing_is_left_by(Warm::SingleUse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind_by_programs_that_are_copies_of_one() {
    nothing_is_left_by(Warm::Fork).await;
}

async fn nothing_is_left_by(way: Warm) {
    let _turn = TURN.lock().await;
    let own = std::process::id();
    let before = (descendants(own).len(), cgroups(own).len());
    let sandbox = sandbox(way);
    let runner = Runner::new(sandbox.clone());
    // The first run of a language may start a helper of its own.
    warm_up(&sandbox, way).await;
    let at_rest = Census::of(&sandbox).await;
    let helpers: Vec<_> =
        descendants(own).into_iter().filter(|(pid, _)| census::name(*pid) == "livecode-helper").collect();

    type Expected = fn(&Termination) -> bool;
    let ends: [(&str, u64, Expected); 6] = [
        ("print('x' * 100_000)", 9000, |end| *end == Termination::Exited { code: 0 }),
        ("import os; os.abort()", 9000, |end| *end == Termination::Signaled { signal: 6 }),
        ("held = [bytearray(1_000_000) for n in range(200)]", 9000, |end| {
            matches!(end, Termination::MemoryExceeded { .. })
        }),
        ("while True: pass", 1000, |end| matches!(end, Termination::WallTimeExceeded { .. })),
        ("import os\nfor n in range(8): os.fork()\nimport time; time.sleep(9)", 1000, |end| {
            !matches!(end, Termination::Exited { code: 0 })
        }),
        ("import os\nfor n in range(2000): os.mkdir('d'); os.chdir('d')", 9000, |end| {
            *end == Termination::Exited { code: 0 }
        }),
    ];
    for _ in 0..3 {
        let runs = ends.map(|(source, wall_time_ms, _)| {
            let limits = LimitRequest { wall_time_ms: Some(wall_time_ms), ..LimitRequest::default() };
            let (runner, spec) = (runner.clone(), python(source).limits(limits));
            tokio::spawn(async move { runner.run(&spec).await })
        });
        for (run, (source, _, expected)) in runs.into_iter().zip(ends) {
            let outcome = run.await.unwrap().unwrap().outcome;
            assert!(expected(&outcome.termination), "{source}: {outcome:?}");
        }
    }
    at_rest.is_of(&sandbox).await;

    // A run whose future is dropped.
    let (sender, mut receiver) = mpsc::channel::<Output>(16);
    let dropped = tokio::spawn({
        let runner = runner.clone();
        async move { runner.stream(&python(HOLD_ON), sender, &CancellationToken::new()).await }
    });
    assert!(receiver.recv().await.is_some());
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    drop(receiver);
    at_rest.is_of(&sandbox).await;

    // A helper that is killed: our failure, which may be repeated, and the next run has another helper.
    let cancel = CancellationToken::new();
    let running = hold_on(&runner, &cancel).await;
    let during = descendants(own);
    for (pid, _) in &helpers {
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    }
    let error = running.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    // Those that waited for their helpers' end are ours to reap.
    let is_over = |process: &Process| !is_alive(*process) || census::name(process.0) == "livecode-outer";
    until("the end of what the helpers had", || during.iter().all(is_over));
    assert_eq!(runner.run(&python("print(1)")).await.unwrap().captured.stdout, "1\n");

    // The sandbox itself, with a run in it: at once.
    let running = hold_on(&runner, &cancel).await;
    cancel.cancel();
    assert_eq!(running.await.unwrap().termination, Termination::Cancelled);
    drop((runner, sandbox));
    assert_eq!((descendants(own).len(), cgroups(own).len()), before);
}

/// Two sandboxes in one process, of which one is dropped while the other has a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sandboxes_of_one_process_do_not_care_for_each_other() {
    let _turn = TURN.lock().await;
    let (one, other) = (Runner::new(sandbox(Warm::SingleUse)), Runner::new(sandbox(Warm::Fork)));
    let cancel = CancellationToken::new();
    let running = hold_on(&one, &cancel).await;
    assert_eq!(other.run(&python("print(1)")).await.unwrap().captured.stdout, "1\n");
    drop(other);
    assert_eq!(one.run(&python("print(2)")).await.unwrap().captured.stdout, "2\n");
    cancel.cancel();
    assert_eq!(running.await.unwrap().termination, Termination::Cancelled);
}

/// A host with a program that holds on, until somebody kills it or it panics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test but the host that others start and kill"]
async fn host() {
    let (sandbox, way) = (sandbox(own_way()), own_way());
    warm_up(&sandbox, way).await;
    let runner = Runner::new(sandbox);
    let running = hold_on(&runner, &CancellationToken::new()).await;
    println!("\nholding on");
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).is_ok_and(|len| len > 0) {
        panic!("as told");
    }
    running.await.unwrap();
}

/// A host that does some work and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test but the host that another starts with SIGCHLD ignored"]
async fn working_host() {
    let runner = Runner::new(sandbox(Warm::SingleUse));
    for n in 0..3 {
        let run = runner.run(&python(&format!("import os; os.fork() and print({n})"))).await.unwrap();
        assert_eq!(run.captured.stdout, format!("{n}\n"));
    }
    drop(runner);
    println!("\ndone");
}

/// A host with many runs at a time, and no more descriptors than is usual.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test but the host that another starts with a usual limit on descriptors"]
async fn crowded_host() {
    let runner = Runner::new(sandbox(Warm::SingleUse)).concurrency(200);
    let runs: Vec<_> = (0..200)
        .map(|_| {
            let runner = runner.clone();
            // Long enough that most are there at once.
            tokio::spawn(async move { runner.run(&ExecutionSpec::new("bash", "sleep 1; echo there")).await })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await.unwrap().unwrap().captured.stdout, "there\n");
    }
    println!("\ndone");
}

/// Starts a host and waits until its program is there.
fn start_host(way: usize) -> (Child, BTreeSet<Process>) {
    let mut host = Command::new(env::current_exe().unwrap())
        .args(["host", "--exact", "--ignored", "--nocapture"])
        .env(WAY, way.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding on"), "the host did not begin");
    let started = descendants(host.id());
    assert!(started.len() >= 3, "{started:?}");
    assert!(!cgroups(host.id()).is_empty());
    (host, started)
}

#[test]
fn a_killed_host_leaves_nothing() {
    let _turn = TURN.blocking_lock();
    for way in 0..WAYS.len() {
        let (mut host, started) = start_host(way);
        host.kill().unwrap();
        host.wait().unwrap();
        until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
        until("the removal of its cgroups", || cgroups(host.id()).is_empty());
    }
}

#[test]
fn a_panicking_host_leaves_nothing() {
    let _turn = TURN.blocking_lock();
    for way in 0..WAYS.len() {
        let (mut host, started) = start_host(way);
        host.stdin.take().unwrap().write_all(b"panic\n").unwrap();
        assert!(!host.wait().unwrap().success());
        until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
        until("the removal of its cgroups", || cgroups(host.id()).is_empty());
    }
}

#[test]
fn a_terminals_signals_are_for_the_host_alone() {
    let _turn = TURN.blocking_lock();
    for way in 0..WAYS.len() {
        let (mut host, started) = start_host(way);
        let of_host = census::group_and_session(host.id()).unwrap();
        for (pid, _) in &started {
            let (group, session) = census::group_and_session(*pid).unwrap();
            assert!(group != of_host.0 && session != of_host.1, "process {pid} is in the host's session");
        }
        host.kill().unwrap();
        host.wait().unwrap();
        until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
    }
}

/// What a host says that a shell starts, after having done something first.
fn said_by_host(first: &str, host: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", &format!("{first} \"$0\" {host} --exact --ignored --nocapture 2>&1")])
        .arg(env::current_exe().unwrap())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_host_may_ignore_the_death_of_children() {
    let _turn = TURN.blocking_lock();
    let said = said_by_host("trap '' CHLD; exec", "working_host");
    assert!(said.contains("\ndone\n"), "{said}");
}

/// Root of a user namespace that has no users to give to runs.
#[test]
fn a_host_without_users_for_runs_is_told_so() {
    if ordinary_user::own_cgroup().is_none() {
        let said = said_by_host("exec unshare --user --map-root-user", "working_host");
        assert!(said.contains("map them"), "{said}");
    }
}

#[test]
fn two_hundred_runs_at_a_time_have_descriptors_enough() {
    let _turn = TURN.blocking_lock();
    let said = said_by_host("ulimit -Sn 1024; exec", "crowded_host");
    assert!(said.contains("\ndone\n"), "{said}");
}

#[test]
fn what_a_host_and_its_helper_left_is_removed_by_the_next_one() {
    let _turn = TURN.blocking_lock();
    for way in 0..WAYS.len() {
        let (mut host, started) = start_host(way);
        // The helper first, so that nobody is there to remove anything.
        Command::new("kill").arg("-STOP").arg(host.id().to_string()).status().unwrap();
        for (pid, _) in &started {
            Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
        }
        host.kill().unwrap();
        host.wait().unwrap();
        until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
        drop(sandbox(Warm::Off));
        assert!(cgroups(host.id()).is_empty());
    }
}
