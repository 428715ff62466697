//! Workers in processes of their own, for tests that kill them: the test binary again, with its ignored test `worker` alone.
#![allow(dead_code, clippy::allow_attributes, reason = "each test uses a part of it")]

use std::{
    env,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use tokio_util::sync::CancellationToken;

/// Starts one that is told these variables, and waits until it's at work.
pub(crate) fn start(environment: &[(&str, &str)]) -> Child {
    let mut worker = Command::new(env::current_exe().unwrap())
        .args(["worker", "--exact", "--ignored", "--nocapture"])
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "working"), "the worker did not begin");
    // What else it says goes nowhere, and it may say it.
    std::thread::spawn(move || lines.for_each(drop));
    worker
}

/// Says that this one is at work; it's to go on until who started it closes its standard input.
pub(crate) fn at_work() -> CancellationToken {
    let shutdown = CancellationToken::new();
    let closed = shutdown.clone();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        closed.cancel();
    });
    println!("\nworking");
    shutdown
}

/// Lets it end, and waits for that.
pub(crate) fn end(mut worker: Child) {
    drop(worker.stdin.take());
    assert!(worker.wait().unwrap().success());
}
