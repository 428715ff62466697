//! Sandboxes whose interpreters have booted, and those interpreters from outside.

use std::fs;

use livecode_core::{ExecutionSpec, Run, Runner};
use livecode_process::{ProcessSandbox, Warm};

use crate::census::{descendants, name};

pub(crate) async fn stand(way: Warm) -> (ProcessSandbox, Runner) {
    let sandbox = ProcessSandbox::builder().warm("python", way).build().unwrap();
    (sandbox.clone(), Runner::new(sandbox))
}

pub(crate) async fn run(runner: &Runner, source: &str) -> Run {
    runner.run(&ExecutionSpec::new("python", source)).await.unwrap()
}

pub(crate) async fn warmed(way: Warm) -> (ProcessSandbox, Runner) {
    let (sandbox, runner) = stand(way).await;
    for _ in 0..2 {
        run(&runner, "#").await;
    }
    sandbox.warmed().await.unwrap();
    (sandbox, runner)
}

/// Runs a program that finds an interpreter.
pub(crate) async fn run_warm(sandbox: &ProcessSandbox, runner: &Runner, spec: &ExecutionSpec) -> Run {
    sandbox.warmed().await.unwrap();
    let before = sandbox.warm_stats();
    let run = runner.run(spec).await.unwrap();
    let after = sandbox.warm_stats();
    assert!(after.hits > before.hits, "{before:?}, {after:?}");
    run
}

/// What the helpers of this process have started, by name; `beneath` an init, or as a fork server.
pub(crate) fn interpreters(beneath: &str) -> Vec<u32> {
    let parent = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()?
            .rsplit_once(')')?
            .1
            .split(' ')
            .nth(2)?
            .parse()
            .ok()
    };
    let all = descendants(std::process::id()).into_iter().map(|(pid, _)| pid);
    all.filter(|pid| {
        name(*pid) == "python3" && parent(*pid).is_some_and(|parent: u32| name(parent) == beneath)
    })
    .collect()
}
