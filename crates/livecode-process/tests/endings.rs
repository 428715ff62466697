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
use livecode_process::ProcessSandbox;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Waits until that holds; what is awaited takes milliseconds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not come about");
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

fn sandbox() -> ProcessSandbox {
    let builder = ProcessSandbox::builder();
    ordinary_user::own_cgroup().into_iter().fold(builder, |b, path| b.cgroup(path)).build().unwrap()
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
    let _turn = TURN.lock().await;
    let own = std::process::id();
    let before = (descendants(own).len(), cgroups(own).len());
    let runner = Runner::new(sandbox());
    // The first run of a language may start a helper of its own.
    for language in ["bash", "python"] {
        runner.run(&ExecutionSpec::new(language, "1")).await.unwrap();
    }
    let mut at_rest = None;
    until("rest", || {
        at_rest = Census::at_rest();
        at_rest.is_some()
    });
    let helpers = descendants(own);

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
    let is_as_before = || Census::at_rest() == at_rest;
    until(&format!("the end of all runs, with {at_rest:?}"), is_as_before);

    // A run whose future is dropped.
    let (sender, mut receiver) = mpsc::channel::<Output>(16);
    let dropped = tokio::spawn({
        let runner = runner.clone();
        async move { runner.stream(&python(HOLD_ON), sender, &CancellationToken::new()).await }
    });
    assert!(receiver.recv().await.is_some());
    assert!(descendants(own).len() > helpers.len());
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    drop(receiver);
    until("the end of a dropped run", is_as_before);

    // A helper that is killed: our failure, which may be repeated, and the next run has another helper.
    let cancel = CancellationToken::new();
    let running = hold_on(&runner, &cancel).await;
    let during = descendants(own);
    for (pid, _) in &helpers {
        Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    }
    let error = running.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    until("the end of what the helper had", || {
        during.difference(&helpers).all(|process| !is_alive(*process))
    });
    assert_eq!(runner.run(&python("print(1)")).await.unwrap().captured.stdout, "1\n");

    // The sandbox itself, with a run in it: at once.
    let running = hold_on(&runner, &cancel).await;
    cancel.cancel();
    assert_eq!(running.await.unwrap().termination, Termination::Cancelled);
    drop(runner);
    assert_eq!((descendants(own).len(), cgroups(own).len()), before);
}

/// Two sandboxes in one process, of which one is dropped while the other has a run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sandboxes_of_one_process_do_not_care_for_each_other() {
    let _turn = TURN.lock().await;
    let (one, other) = (Runner::new(sandbox()), Runner::new(sandbox()));
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
    let runner = Runner::new(sandbox());
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
    let runner = Runner::new(sandbox());
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
    let runner = Runner::new(sandbox());
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
fn start_host() -> (Child, BTreeSet<Process>) {
    let mut host = Command::new(env::current_exe().unwrap())
        .args(["host", "--exact", "--ignored", "--nocapture"])
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
    let (mut host, started) = start_host();
    host.kill().unwrap();
    host.wait().unwrap();
    until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
    until("the removal of its cgroups", || cgroups(host.id()).is_empty());
}

#[test]
fn a_panicking_host_leaves_nothing() {
    let _turn = TURN.blocking_lock();
    let (mut host, started) = start_host();
    host.stdin.take().unwrap().write_all(b"panic\n").unwrap();
    assert!(!host.wait().unwrap().success());
    until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
    until("the removal of its cgroups", || cgroups(host.id()).is_empty());
}

#[test]
fn a_terminals_signals_are_for_the_host_alone() {
    let _turn = TURN.blocking_lock();
    let (mut host, started) = start_host();
    let of_host = census::group_and_session(host.id()).unwrap();
    for (pid, _) in &started {
        let (group, session) = census::group_and_session(*pid).unwrap();
        assert!(group != of_host.0 && session != of_host.1, "process {pid} is in the host's session");
    }
    host.kill().unwrap();
    host.wait().unwrap();
    until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
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
    let (mut host, started) = start_host();
    // The helper first, so that nobody is there to remove anything.
    Command::new("kill").arg("-STOP").arg(host.id().to_string()).status().unwrap();
    for (pid, _) in &started {
        Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
    }
    host.kill().unwrap();
    host.wait().unwrap();
    until("the end of all that the host started", || !started.iter().any(|process| is_alive(*process)));
    drop(sandbox());
    assert!(cgroups(host.id()).is_empty());
}
