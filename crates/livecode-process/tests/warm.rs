//! Programs find sandboxes in which their interpreter has booted, and see no difference.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests count more")]
mod census;

use std::fs;

use census::{descendants, name};
use livecode_core::{ExecutionSpec, Run, Runner};
use livecode_process::{ProcessSandbox, Warm};

async fn stand(way: Warm) -> (ProcessSandbox, Runner) {
    let sandbox = ProcessSandbox::builder().warm("python", way).build().unwrap();
    (sandbox.clone(), Runner::new(sandbox))
}

async fn run(runner: &Runner, source: &str) -> Run {
    runner.run(&ExecutionSpec::new("python", source)).await.unwrap()
}

async fn finds_a_warm_one(way: Warm) {
    let (sandbox, runner) = stand(way).await;
    for expected in 0..2 {
        let before = run(&runner, "print('cold')").await;
        assert_eq!(before.captured.stdout, "cold\n", "{before:?}");
        assert_eq!(sandbox.warm_stats().hits, 0, "{expected}");
    }
    for expected in 1..5 {
        sandbox.warmed().await.unwrap();
        assert!(way == Warm::Fork || sandbox.warm_stats().waiting > 0, "{:?}", sandbox.warm_stats());
        let run = run(&runner, "import sys\nprint(sys.argv, __file__)").await;
        assert_eq!(run.captured.stdout, "['main.py'] /work/main.py\n", "{run:?}");
        assert_eq!(sandbox.warm_stats().hits, expected, "{:?}", sandbox.warm_stats());
    }
    assert_eq!(sandbox.warm_stats().failures, 0);
}

#[tokio::test]
async fn a_program_finds_an_interpreter_that_has_booted() {
    finds_a_warm_one(Warm::SingleUse).await;
}

#[tokio::test]
async fn a_program_gets_a_copy_of_an_interpreter() {
    finds_a_warm_one(Warm::Fork).await;
}

/// Variables by which Python executes a command when it starts. A fork server would do so outside of any world, and what waits
/// before there is a program that could run out of time.
#[tokio::test]
async fn nothing_that_a_program_asks_for_is_begun_before_it_comes() {
    for way in [Warm::SingleUse, Warm::Fork] {
        let (sandbox, runner) = stand(way).await;
        let mut spec = ExecutionSpec::new("python", "print(1)");
        spec.env.insert("PYTHONWARNINGS".into(), "all:0:antigravity.x:0:0".into());
        spec.env.insert("BROWSER".into(), "perl -e 'sleep 20' %s &".into());
        for _ in 0..3 {
            assert_eq!(runner.run(&spec).await.unwrap().captured.stdout, "1\n");
            sandbox.warmed().await.unwrap();
        }
        let begun: Vec<_> = descendants(std::process::id())
            .into_iter()
            .filter(|(pid, _)| name(*pid) == "perl")
            .map(|(pid, _)| fs::read_to_string(format!("/proc/{pid}/status")))
            .collect();
        assert!(begun.is_empty(), "{begun:?}");
        assert_eq!(sandbox.warm_stats().boots, 0);
    }
}
