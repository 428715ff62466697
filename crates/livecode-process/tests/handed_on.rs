//! Parts of worlds, networks and cgroups, are handed on from run to run: nobody can tell.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod ordinary_user;

use std::time::Duration;

use livecode_core::{ErrorType, ExecutionSpec, LimitRequest, Run, Runner};
use livecode_process::{ProcessSandbox, Warm};

const WAYS: [Warm; 3] = [Warm::Off, Warm::SingleUse, Warm::Fork];

/// More than there are worlds at a time of one kind: whatever is handed on comes round.
const ROUNDS: usize = 12;

fn stand(way: Warm) -> (ProcessSandbox, Runner) {
    let builder = ProcessSandbox::builder().warm("python", way);
    let sandbox =
        ordinary_user::own_cgroup().into_iter().fold(builder, |b, path| b.cgroup(path)).build().unwrap();
    (sandbox.clone(), Runner::new(sandbox))
}

async fn run(runner: &Runner, spec: &ExecutionSpec) -> Run {
    let run = runner.run(spec).await.unwrap();
    assert!(run.outcome.is_success(), "{run:?}");
    run
}

fn text(run: &Run) -> String {
    String::from_utf8(run.captured.stdout.to_vec()).unwrap()
}

fn python(source: &str) -> ExecutionSpec {
    ExecutionSpec::new("python", source)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_does_to_its_network_no_other_sees() {
    // All that is counted for a network, and what lists its sockets. (Most of sockstat counts the machine's.)
    let looks = python(
        "import os
for name in sorted(os.listdir('/proc/net')):
    if name in ('snmp', 'snmp6', 'netstat', 'sockstat6', 'unix', 'tcp', 'tcp6', 'udp', 'udp6', 'dev', 'route', 'arp'):
        print(name, open('/proc/net/' + name).read())",
    );
    let tries = python(
        "import socket
for family, address in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'):
    for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
        try: socket.socket(family, kind).connect((address, 9))
        except OSError as error: print(error)
listener = socket.socket(socket.AF_UNIX); listener.bind('\\0left'); listener.listen()",
    );
    for way in WAYS {
        let (sandbox, runner) = stand(way);
        let first = text(&run(&runner, &looks).await);
        assert!(first.contains("OutNoRoutes"), "{first}");
        for _ in 0..ROUNDS {
            let tried = text(&run(&runner, &tries).await);
            assert!(tried.contains("unreachable"), "{tried}");
            assert_eq!(text(&run(&runner, &looks).await), first, "{way:?}");
            sandbox.warmed().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_uses_is_not_counted_for_another() {
    const MIB: u64 = 1 << 20;
    let much = python("held = bytearray(64 << 20)\nfor _ in range(4_000_000): pass");
    for way in WAYS {
        let (sandbox, runner) = stand(way);
        for _ in 0..ROUNDS {
            let used = run(&runner, &much).await.outcome.usage;
            assert!(used.memory_peak_bytes.unwrap() >= 64 * MIB, "{used:?}");
            let little = run(&runner, &python("print(1)")).await.outcome.usage;
            assert!(little.memory_peak_bytes.unwrap() < 32 * MIB, "{way:?}: {little:?}");
            assert!(little.cpu_time < used.cpu_time, "{way:?}: {little:?} beside {used:?}");
            sandbox.warmed().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_did_wrong_is_not_held_against_another() {
    let with = |source: &str, limits: LimitRequest| {
        let mut spec = python(source);
        spec.limits = limits;
        spec
    };
    let few = LimitRequest { processes: Some(4), ..LimitRequest::default() };
    let forks = with("import os, time\nfor _ in range(9):\n    if os.fork() == 0: time.sleep(9)", few);
    let small = LimitRequest { memory_bytes: Some(48 << 20), ..LimitRequest::default() };
    let grows = with("held = bytearray(256 << 20)", small);
    for way in WAYS {
        let (sandbox, runner) = stand(way);
        for _ in 0..ROUNDS / 2 {
            for (wrong, verdict) in
                [(&forks, ErrorType::ProcessLimitError), (&grows, ErrorType::MemoryLimitError)]
            {
                let outcome = runner.run(wrong).await.unwrap().outcome;
                assert_eq!(outcome.termination.error_type(), Some(verdict), "{way:?}: {outcome:?}");
                // It has more memory and processes, too: these are its own limits again.
                let source = "import threading, time
held = bytearray(100 << 20)
for _ in range(20): threading.Thread(target=time.sleep, args=(.01,)).start()";
                let after = run(&runner, &python(source)).await.outcome;
                assert!(after.usage.wall_time < Duration::from_secs(60), "{after:?}");
            }
            sandbox.warmed().await.unwrap();
        }
    }
}

#[test]
fn the_same_holds_for_an_ordinary_user() {
    ordinary_user::run_this_binary_again();
}
