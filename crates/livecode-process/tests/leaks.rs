//! Ten thousand runs, and many at a time: afterwards there is nothing more than there was before.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests count processes one by one")]
mod census;
mod ordinary_user;

use census::{Census, cgroups, descendants};
use livecode_core::{ExecutionSpec, Language, Languages, Runner};
use livecode_process::{ProcessSandbox, Warm};

/// As an ordinary user fewer: it's the same code.
fn in_a_row() -> usize {
    if ordinary_user::own_cgroup().is_some() { 1_000 } else { 10_000 }
}

const AT_A_TIME: usize = 64;

fn sandbox(way: Warm) -> ProcessSandbox {
    let builder = ProcessSandbox::builder().warm("python", way);
    ordinary_user::own_cgroup().into_iter().fold(builder, |b, path| b.cgroup(path)).build().unwrap()
}

async fn run_many(runner: &Runner, spec: &ExecutionSpec, runs: usize, at_a_time: usize) {
    let runners = (0..at_a_time).map(|_| {
        let (runner, spec) = (runner.clone(), spec.clone());
        tokio::spawn(async move {
            for _ in 0..runs / at_a_time {
                let run = runner.run(&spec).await.unwrap();
                assert!(run.outcome.is_success(), "{run:?}");
            }
        })
    });
    for runner in runners.collect::<Vec<_>>() {
        runner.await.unwrap();
    }
}

/// The tests count what this process has, so they take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_runs_leave_nothing() {
    let _turn = TURN.lock().await;
    let sandbox = sandbox(Warm::Off);
    let mut languages = Languages::builtin();
    // The smallest program there is: what is counted is what surrounds it.
    languages.add(Language::new("nothing", "main", ["/usr/bin/true"])).unwrap();
    let runner = Runner::new(sandbox.clone()).languages(languages).concurrency(AT_A_TIME);
    let nothing = ExecutionSpec::new("nothing", "-");
    let python = ExecutionSpec::new("python", "import os; os.fork(); print('x' * 1000)");
    // Each may start a helper; the runtime's threads and descriptors are there then, too.
    run_many(&runner, &python, AT_A_TIME, AT_A_TIME).await;
    run_many(&runner, &nothing, 1, 1).await;
    let before = Census::of(&sandbox).await;
    run_many(&runner, &nothing, in_a_row(), 2).await;
    before.is_of(&sandbox).await;
    run_many(&runner, &python, 8 * AT_A_TIME, AT_A_TIME).await;
    before.is_of(&sandbox).await;
}

/// Thousands by twos and many at a time, and no sandbox in the end.
async fn programs_that_find_an_interpreter_leave_nothing(way: Warm) {
    let _turn = TURN.lock().await;
    let own = std::process::id();
    let nothing = (descendants(own).len(), cgroups(own).len());
    let sandbox = sandbox(way);
    let runner = Runner::new(sandbox.clone()).concurrency(AT_A_TIME);
    let python = ExecutionSpec::new("python", "import os; os.fork(); print('x' * 1000)");
    run_many(&runner, &ExecutionSpec::new("bash", "true"), 1, 1).await;
    run_many(&runner, &python, AT_A_TIME, AT_A_TIME).await;
    let before = Census::of(&sandbox).await;
    let hits = sandbox.warm_stats().hits;
    // A busy machine boots none as fast as they come: one in ten is waited for.
    let times = in_a_row() / 50;
    for _ in 0..times {
        sandbox.warmed().await.unwrap();
        run_many(&runner, &python, 10, 2).await;
    }
    before.is_of(&sandbox).await;
    run_many(&runner, &python, 8 * AT_A_TIME, AT_A_TIME).await;
    before.is_of(&sandbox).await;
    let stats = sandbox.warm_stats();
    assert!(stats.hits - hits >= times as u64, "{stats:?}");
    assert_eq!(stats.failures, 0, "{stats:?}");
    drop((runner, sandbox));
    assert_eq!((descendants(own).len(), cgroups(own).len()), nothing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_find_one_of_their_own_leave_nothing() {
    programs_that_find_an_interpreter_leave_nothing(Warm::SingleUse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_copies_of_one_leave_nothing() {
    programs_that_find_an_interpreter_leave_nothing(Warm::Fork).await;
}

#[test]
fn nor_do_they_as_an_ordinary_user() {
    let _turn = TURN.blocking_lock();
    ordinary_user::run_this_binary_again();
}
