//! What a program may use, and what happens when it wants more.

use std::{sync::Arc, time::Duration};

use super::{limited, millis, python, run};
use crate::{LimitRequest, Outcome, Sandbox, SourceFile, Termination};

const MIB: u64 = 1024 * 1024;

/// Whether the sandbox says that it has no means to limit what cgroups limit.
fn is_unlimited(outcome: &Outcome) -> bool {
    !outcome.unprotected.is_empty()
}

pub async fn wall_time_is_limited<S: Sandbox>(sandbox: Arc<S>) {
    let outcome = run(&sandbox, &limited("import time; time.sleep(30)", millis(300))).await.outcome;
    assert_eq!(outcome.termination, Termination::WallTimeExceeded { limit: Duration::from_millis(300) });
    assert!(outcome.usage.wall_time >= Duration::from_millis(300));
}

pub async fn a_stopped_program_runs_out_of_wall_time<S: Sandbox>(sandbox: Arc<S>) {
    let source = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)";
    let outcome = run(&sandbox, &limited(source, millis(500))).await.outcome;
    assert!(matches!(outcome.termination, Termination::WallTimeExceeded { .. }), "{outcome:?}");
}

fn cpu(millis: u64) -> LimitRequest {
    LimitRequest { cpu_time_ms: Some(millis), ..LimitRequest::default() }
}

pub async fn cpu_time_is_limited<S: Sandbox>(sandbox: Arc<S>) {
    let outcome = run(&sandbox, &limited("while True: pass", cpu(1000))).await.outcome;
    assert_eq!(outcome.termination, Termination::CpuTimeExceeded { limit: Duration::from_secs(1) });
}

pub async fn a_signal_is_not_taken_for_a_limit<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os, time
end = time.process_time() + 0.1
while time.process_time() < end: pass
os.kill(os.getpid(), 24)
";
    let outcome = run(&sandbox, &python(source)).await.outcome;
    if !is_unlimited(&outcome) {
        assert_eq!(outcome.termination, Termination::Signaled { signal: 24 });
    }
}

pub async fn the_smallest_share_of_a_processor_is_enough<S: Sandbox>(sandbox: Arc<S>) {
    let limits = LimitRequest { cpu_millis: Some(1), ..LimitRequest::default() };
    let outcome = run(&sandbox, &limited("pass", limits)).await.outcome;
    assert!(outcome.is_success(), "{outcome:?}");
}

pub async fn cpu_time_of_descendants_counts<S: Sandbox>(sandbox: Arc<S>) {
    // One after the other, each for a while, none for long.
    let source = "
import os, time
for n in range(100):
    if os.fork() == 0:
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
";
    let outcome = run(&sandbox, &limited(source, cpu(500))).await.outcome;
    if !is_unlimited(&outcome) {
        assert_eq!(outcome.termination, Termination::CpuTimeExceeded { limit: Duration::from_millis(500) });
    }
}

fn memory(mib: u64) -> LimitRequest {
    LimitRequest { memory_bytes: Some(mib * MIB), ..LimitRequest::default() }
}

pub async fn memory_is_limited<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
held = []
for n in range(300): held.append(bytearray(1_000_000))
";
    let outcome = run(&sandbox, &limited(source, memory(64))).await.outcome;
    if !is_unlimited(&outcome) {
        assert_eq!(outcome.termination, Termination::MemoryExceeded { limit: 64 * MIB });
    }
}

pub async fn memory_of_files_counts<S: Sandbox>(sandbox: Arc<S>) {
    for source in [
        "import os\nfile = os.memfd_create('hidden')\nfor n in range(50): os.write(file, bytes(1_000_000))",
        "with open('/tmp/file', 'wb') as file:\n    for n in range(50): file.write(bytes(1_000_000))",
    ] {
        let outcome = run(&sandbox, &limited(source, memory(32))).await.outcome;
        if !is_unlimited(&outcome) {
            assert_eq!(outcome.termination, Termination::MemoryExceeded { limit: 32 * MIB }, "{source}");
        }
    }
}

pub async fn a_large_submission_counts_once<S: Sandbox>(sandbox: Arc<S>) {
    let mut spec = python("print('fits')");
    let small = run(&sandbox, &spec).await.outcome.usage.memory_peak_bytes;
    spec.files = vec![SourceFile::new("data.bin", vec![7; 12 * MIB as usize])];
    let run = run(&sandbox, &spec).await;
    assert_eq!(run.captured.stdout, "fits\n");
    if let (Some(small), Some(large)) = (small, run.outcome.usage.memory_peak_bytes) {
        assert!(large - small < 15 * MIB, "{small} and {large}");
    }
}

fn processes(processes: u32) -> LimitRequest {
    LimitRequest { processes: Some(processes), ..LimitRequest::default() }
}

pub async fn processes_are_limited<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import threading, time
def sleep(): time.sleep(3)
for n in range(100): threading.Thread(target=sleep, daemon=True).start()
";
    let outcome = run(&sandbox, &limited(source, processes(16))).await.outcome;
    assert!(!outcome.is_success(), "{outcome:?}");
    if !is_unlimited(&outcome) {
        assert_eq!(outcome.termination, Termination::ProcessesExceeded { limit: 16 });
    }
}

pub async fn a_fork_bomb_ends<S: Sandbox>(sandbox: Arc<S>) {
    // Bounded to 4,096 by itself.
    let source = "
import os
for n in range(12):
    try: os.fork()
    except OSError: pass
import time; time.sleep(30)
";
    let mut limits = processes(32);
    limits.wall_time_ms = Some(1000);
    let outcome = run(&sandbox, &limited(source, limits)).await.outcome;
    assert!(!outcome.is_success(), "{outcome:?}");
}

pub async fn files_are_limited<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
written = 0
try:
    for n in range(40):
        with open(f'{\"/tmp\" if n % 2 else \"/work\"}/{n}', 'wb') as file:
            file.write(bytes(1_000_000))
            written += 1
except OSError as error:
    print(written <= 8, error.errno in (28, 27))
";
    let limits = LimitRequest { file_bytes: Some(8 * MIB), ..LimitRequest::default() };
    let run = run(&sandbox, &limited(source, limits)).await;
    assert_eq!(run.captured.stdout, "True True\n", "{:?}", run.outcome);
}

pub async fn the_number_of_files_is_limited<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
made = 0
try:
    for n in range(1000): open(f'/tmp/{n}', 'w').close(); made += 1
except OSError as error: print(made, error.errno)
";
    let limits = LimitRequest { files: Some(100), ..LimitRequest::default() };
    let run = run(&sandbox, &limited(source, limits)).await;
    // The program's own file is one of them.
    assert_eq!(run.captured.stdout, "99 28\n", "{:?}", run.outcome);
}

pub async fn a_full_file_system_is_told<S: Sandbox>(sandbox: Arc<S>) {
    for source in [
        "with open('big', 'wb') as file:\n    for n in range(100): file.write(bytes(1_000_000))",
        "for n in range(2000): open(f'{n}', 'w').close()",
    ] {
        let limits = LimitRequest { file_bytes: Some(8 * MIB), files: Some(1000), ..LimitRequest::default() };
        let outcome = run(&sandbox, &limited(source, limits)).await.outcome;
        let expected = Termination::FilesExceeded { bytes: 8 * MIB, files: 1000 };
        assert_eq!(outcome.termination, expected, "{outcome:?}");
    }
}

pub async fn open_files_are_limited<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import resource
held = []
try:
    for n in range(2000): held.append(open('/dev/null'))
except OSError as error: print(error.errno, len(held) < 50)
try: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000)); print('raised')
except (OSError, ValueError): print('refused')
";
    let limits = LimitRequest { open_files: Some(50), ..LimitRequest::default() };
    let run = run(&sandbox, &limited(source, limits)).await;
    assert_eq!(run.captured.stdout, "24 True\nrefused\n", "{:?}", run.outcome);
}

pub async fn the_stack_is_limited<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import ctypes, resource, sys, threading
print(*resource.getrlimit(resource.RLIMIT_STACK))
sys.stdout.flush()
sys.setrecursionlimit(10**9)
nested = []
for n in range(10**6): nested = [nested]
repr(nested) if False else (lambda f: f(f))(lambda f: f(f))
";
    let limits = LimitRequest { stack_bytes: Some(MIB), ..LimitRequest::default() };
    let run = run(&sandbox, &limited(source, limits)).await;
    assert_eq!(run.captured.stdout, format!("{MIB} {MIB}\n"), "{:?}", run.outcome);
    assert!(!run.outcome.is_success(), "{:?}", run.outcome);
}

pub async fn a_program_that_fits_meets_no_limit<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import concurrent.futures, os
held = bytearray(30_000_000)
with open('/tmp/file', 'wb') as file: file.write(bytes(20_000_000))
with concurrent.futures.ThreadPoolExecutor(20) as pool: print(sum(pool.map(lambda n: n, range(100))))
";
    let run = run(&sandbox, &python(source)).await;
    assert!(run.outcome.is_success(), "{run:?}");
    assert_eq!(run.captured.stdout, "4950\n");
}
