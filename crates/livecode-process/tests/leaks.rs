//! Ten thousand runs, and many at a time: afterwards there is nothing more than there was before.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests count processes one by one")]
mod census;
mod ordinary_user;

use std::time::{Duration, Instant};

use census::Census;
use livecode_core::{ExecutionSpec, Language, Languages, Runner};
use livecode_process::ProcessSandbox;

/// As an ordinary user fewer: it's the same code.
fn in_a_row() -> usize {
    if ordinary_user::own_cgroup().is_some() { 1_000 } else { 10_000 }
}

const AT_A_TIME: usize = 64;

fn runner() -> Runner {
    let builder = ProcessSandbox::builder();
    let builder = ordinary_user::own_cgroup().into_iter().fold(builder, |b, path| b.cgroup(path));
    let mut languages = Languages::builtin();
    // The smallest program there is: what is counted is what surrounds it.
    languages.add(Language::new("nothing", "main", ["/usr/bin/true"])).unwrap();
    Runner::new(builder.build().unwrap()).languages(languages)
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

/// Cgroups are removed and worlds made right behind a run's end, so this waits until that is so.
fn until(what: &str, mut holds: impl FnMut(Option<Census>) -> bool) {
    let began = Instant::now();
    loop {
        let now = Census::at_rest();
        if holds(now.clone()) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "no {what}: {now:?}");
        std::thread::yield_now();
    }
}

/// The tests count what this process has, so they take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_runs_leave_nothing() {
    let _turn = TURN.lock().await;
    let runner = runner();
    let nothing = ExecutionSpec::new("nothing", "-");
    let python = ExecutionSpec::new("python", "import os; os.fork(); print('x' * 1000)");
    // Each may start a helper; the runtime's threads and descriptors are there then, too.
    run_many(&runner, &python, AT_A_TIME, AT_A_TIME).await;
    run_many(&runner, &nothing, 1, 1).await;
    let mut before = None;
    until("rest", |now| {
        before = now;
        before.is_some()
    });
    let is_as_before = format!("rest as before: {before:?}");
    run_many(&runner, &nothing, in_a_row(), 1).await;
    until(&is_as_before, |now| now == before);
    run_many(&runner, &python, 8 * AT_A_TIME, AT_A_TIME).await;
    until(&is_as_before, |now| now == before);
}

#[test]
fn nor_do_they_as_an_ordinary_user() {
    let _turn = TURN.blocking_lock();
    ordinary_user::run_this_binary_again();
}
