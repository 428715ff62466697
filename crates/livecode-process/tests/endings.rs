//! What is left when runs, sandboxes, helpers and hosts end, each in every way: nothing.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use livecode_core::{ErrorKind, ExecutionSpec, LimitRequest, Output, Runner, Termination};
use livecode_process::ProcessSandbox;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A process by its pid and start, so that a pid that was used again is another one.
type Process = (u32, u64);

/// `pid`'s children and theirs.
fn descendants(pid: u32) -> BTreeSet<Process> {
    let all: Vec<(u32, u32, u64)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| stat(pid).map(|(parent, began)| (pid, parent, began)))
        .collect();
    let mut found: BTreeSet<Process> = BTreeSet::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (pid, _, began) in all.iter().filter(|(_, of, _)| *of == parent) {
            found.insert((*pid, *began));
            parents.push(*pid);
        }
    }
    found
}

fn stat(pid: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields[1].parse().ok()?, fields[19].parse().ok()?))
}

fn is_alive((pid, began): Process) -> bool {
    stat(pid).is_some_and(|(_, of_that_pid)| of_that_pid == began)
}

/// The cgroups that a host has made, and those beneath.
fn cgroups(host: u32) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    let below = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("livecode-") && name.split('-').nth(2) == Some(&host.to_string())
    };
    let parents: Vec<PathBuf> = hierarchies.flat_map(|hierarchy| below(&hierarchy)).filter(is_ours).collect();
    parents.iter().flat_map(|parent| below(parent)).chain(parents.clone()).collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

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

/// The tests count what this process has, so they take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind() {
    let _turn = TURN.lock().await;
    let own = std::process::id();
    let before = (descendants(own).len(), cgroups(own).len());
    let sandbox = ProcessSandbox::builder().build().unwrap();
    let runner = Runner::new(sandbox);
    // The first run of a language may start a helper of its own.
    runner.run(&python("1")).await.unwrap();
    let (helpers, groups, open) = (descendants(own), cgroups(own).len(), descriptors());

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
    let is_as_before =
        || (descendants(own), cgroups(own).len(), descriptors()) == (helpers.clone(), groups, open);
    until("the end of all runs", is_as_before);

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

/// A host with a program that holds on, until somebody kills it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "not a test but the host that others start and kill"]
async fn host() {
    let runner = Runner::new(ProcessSandbox::builder().build().unwrap());
    let running = hold_on(&runner, &CancellationToken::new()).await;
    println!("\nholding on");
    running.await.unwrap();
}

/// Starts a host and waits until its program is there.
fn start_host() -> (Child, BTreeSet<Process>) {
    let mut host = Command::new(env::current_exe().unwrap())
        .args(["host", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
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
    drop(ProcessSandbox::builder().build().unwrap());
    assert!(cgroups(host.id()).is_empty());
}
