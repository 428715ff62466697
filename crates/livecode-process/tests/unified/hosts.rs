//! Processes that use the library, each started by a test in the cgroup that it's about.

use std::{env, time::Duration};

use livecode_core::{ErrorKind, ExecutionSpec, LimitRequest, Run, Runner, Termination};
use livecode_process::{Builder, ProcessSandbox};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where they are told to make their cgroups.
pub(crate) const WISHED: &str = "LIVECODE_TEST_WISHED";
const MIB: u64 = 1024 * 1024;

pub(crate) fn runner() -> Runner {
    Runner::new(builder().build().unwrap())
}

fn builder() -> Builder {
    env::var_os(WISHED).into_iter().fold(ProcessSandbox::builder(), |builder, path| builder.cgroup(path))
}

async fn run(runner: &Runner, source: &str, limits: LimitRequest) -> Run {
    runner.run(&ExecutionSpec::new("python", source).limits(limits)).await.unwrap()
}

fn memory(mib: u64) -> LimitRequest {
    LimitRequest { memory_bytes: Some(mib * MIB), ..LimitRequest::default() }
}

#[tokio::test]
#[ignore = "not a test but a host that the tests start"]
async fn limits_hold() {
    let runner = runner();
    let hoard = "held = [bytearray(1_000_000) for n in range(200)]";
    let hoarded = run(&runner, hoard, memory(64)).await.outcome.termination;
    assert_eq!(hoarded, Termination::MemoryExceeded { limit: 64 * MIB });
    let fork = "import os, time\nfor n in range(20):\n    if os.fork() == 0: time.sleep(9); os._exit(0)";
    let limits = LimitRequest { processes: Some(8), ..LimitRequest::default() };
    let forked = run(&runner, fork, limits).await.outcome.termination;
    assert_eq!(forked, Termination::ProcessesExceeded { limit: 8 });
    let spin = "import os\nos.fork()\nwhile True: pass";
    let limits = LimitRequest { cpu_time_ms: Some(500), ..LimitRequest::default() };
    let spun = run(&runner, spin, limits).await.outcome.termination;
    assert_eq!(spun, Termination::CpuTimeExceeded { limit: Duration::from_millis(500) });
}

#[test]
#[ignore = "not a test but a host that the tests start"]
fn is_refused() {
    let error = builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    println!("{error}");
}

/// Holds on until its standard input ends, which cancels the program.
#[tokio::test]
#[ignore = "not a test but a host that the tests start"]
async fn cancels() {
    let (sender, mut output) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let limits = LimitRequest {
        memory_bytes: Some(64 * MIB),
        processes: Some(7),
        cpu_millis: Some(250),
        ..LimitRequest::default()
    };
    let spec = ExecutionSpec::new("python", "import time; print('ready'); time.sleep(60)").limits(limits);
    let (runner, token) = (runner(), cancel.clone());
    let running = tokio::spawn(async move { runner.stream(&spec, sender, &token).await });
    output.recv().await.unwrap();
    println!("\nready");
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await.unwrap().unwrap();
    cancel.cancel();
    assert_eq!(running.await.unwrap().unwrap().termination, Termination::Cancelled);
}

#[tokio::test]
#[ignore = "not a test but a host that the tests start"]
async fn is_short_of_memory() {
    let spec = ExecutionSpec::new("python", "held = [bytearray(1_000_000) for n in range(90)]");
    let error = runner().run(&spec.limits(memory(120))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
}
