//! Interpreters that die while they wait, which no program sees. Apart from other tests, whose programs would die as well.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests count more")]
mod census;
mod interpreters;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use interpreters::{interpreters, run, run_warm, warmed};
use livecode_core::ExecutionSpec;
use livecode_process::Warm;

/// One at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Kills one of them at least, and waits until it's dead: some may have had their time meanwhile.
fn kill(beneath: &str) {
    let is_killed = |pid: &u32| {
        let kill = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
        kill.unwrap().success()
    };
    let is_dead = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| stat.contains(") Z ")) || !Path::new(&format!("/proc/{pid}")).exists()
    };
    let mut killed = Vec::new();
    while killed.is_empty() {
        killed = interpreters(beneath).into_iter().filter(is_killed).collect();
        thread::yield_now();
    }
    while !killed.iter().all(is_dead) {
        thread::yield_now();
    }
}

#[tokio::test]
async fn the_death_of_a_fork_server_is_seen_by_no_program() {
    let _turn = TURN.lock().await;
    let (sandbox, runner) = warmed(Warm::Fork).await;
    for restarts in 1..4 {
        kill("livecode-helper");
        for _ in 0..3 {
            assert_eq!(run(&runner, "print(1)").await.captured.stdout, "1\n");
        }
        sandbox.warmed().await.unwrap();
        assert_eq!(sandbox.warm_stats().restarts, restarts, "{:?}", sandbox.warm_stats());
        let run = run_warm(&sandbox, &runner, &ExecutionSpec::new("python", "print(1)")).await;
        assert_eq!(run.captured.stdout, "1\n");
    }
}

#[tokio::test]
async fn the_death_of_an_interpreter_that_waits_is_seen_by_no_program() {
    let _turn = TURN.lock().await;
    let (sandbox, runner) = warmed(Warm::SingleUse).await;
    for _ in 0..3 {
        kill("livecode-init");
        for _ in 0..3 {
            assert_eq!(run(&runner, "print(1)").await.captured.stdout, "1\n");
        }
        let run = run_warm(&sandbox, &runner, &ExecutionSpec::new("python", "print(1)")).await;
        assert_eq!(run.captured.stdout, "1\n");
    }
}
