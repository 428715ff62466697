//! Containers: the engine's own client, and ours, cold and warm.

use std::{process::Command, time::Duration};

use livecode::{ExecutionSpec, Runner, docker::DockerSandbox};
use tokio::runtime::Runtime;

use crate::{
    Result,
    figures::{at_least, median},
    turns::{DOCKER_LIMITS, Entry, HELLO, IMAGE, PYTHON, docker_run, in_turns, no_docker},
};

/// What is promised of a container that waited, of the first two that are compared.
const PROMISES: [f64; 2] = [10.0, 3.0];

pub(crate) fn docker(runtime: &Runtime, rounds: usize) -> Result<()> {
    println!("{HELLO}, in containers, to the finished result");
    if let Some(reason) = no_docker() {
        println!("  {reason}");
        return Ok(());
    }
    let idle = Idle::start()?;
    let (cold, warm) = (sandbox(runtime, 0)?, sandbox(runtime, 1)?);
    let mut exec = Command::new("docker");
    exec.args(["exec", &idle.id, PYTHON, "-c", HELLO]);
    let mut entries = [
        docker_run(1),
        Entry::command("docker exec into a running one", 1, exec),
        Entry::new("livecode, a container made for it", 1, Box::new(|| hello(runtime, &cold))),
        Entry::new("livecode, one that waited", 1, Box::new(|| hello(runtime, &warm)))
            .settled_by(|| refilled(runtime, &warm)),
    ];
    in_turns(rounds, &mut entries)?;
    let [.., ours] = &entries;
    for (place, entry) in entries.iter().enumerate() {
        let mut ratios: Vec<f64> =
            entry.times.iter().zip(&ours.times).map(|(theirs, ours)| theirs / ours).collect();
        let ratio = median(&mut ratios);
        let promise =
            PROMISES.get(place).map_or_else(String::new, |least| format!(" ({})", at_least(ratio, *least)));
        let (name, time, n) = (entry.name(), entry.median(), entry.times.len());
        println!("  {name}: p50 {time:.1} ms, {ratio:.1} times the one that waited, n = {n}{promise}");
    }
    println!("  {:?}", warm.pool_stats());
    for sandbox in [&cold, &warm] {
        runtime.block_on(sandbox.drain())?;
    }
    Ok(())
}

fn sandbox(runtime: &Runtime, waiting: usize) -> Result<DockerSandbox> {
    let builder = DockerSandbox::builder().group("livecode-bench").image("python", IMAGE).waiting(waiting);
    Ok(runtime.block_on(builder.build())?)
}

fn hello(runtime: &Runtime, sandbox: &DockerSandbox) -> Result<()> {
    let run = runtime.block_on(Runner::new(sandbox.clone()).run(&ExecutionSpec::new("python", HELLO)))?;
    if run.captured.stdout == "hi\n" { Ok(()) } else { Err(format!("{run:?}").into()) }
}

/// Waits until the next one is there, which is nobody else's time.
fn refilled(runtime: &Runtime, sandbox: &DockerSandbox) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    runtime.block_on(async {
        while sandbox.pool_stats().waiting == 0 {
            tokio::time::sleep(PAUSE).await;
        }
    });
    Ok(())
}

/// A container that does nothing, for others to come in.
struct Idle {
    id: String,
}

impl Idle {
    fn start() -> Result<Self> {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--detach"]).args(DOCKER_LIMITS.split_whitespace());
        let output = command.args([IMAGE, PYTHON, "-c", "import time; time.sleep(1e6)"]).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(Self { id: String::from_utf8(output.stdout)?.trim().to_owned() })
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // What can't be removed is seen in the engine's list.
        Command::new("docker").args(["rm", "--force", &self.id]).output().ok();
    }
}
