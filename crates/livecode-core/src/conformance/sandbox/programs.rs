//! What is run, and what becomes of it.

use std::{sync::Arc, time::Duration};

use super::{python, run, stdout};
use crate::{
    ErrorKind, ErrorType, ExecutionSpec, Language, Languages, LimitRequest, Runner, Sandbox, SourceFile,
    Termination,
};

pub async fn a_program_runs_to_its_end<S: Sandbox>(sandbox: Arc<S>) {
    let run = run(&sandbox, &python("print('Hello World')")).await;
    assert!(run.outcome.is_success());
    assert_eq!(run.captured.stdout, "Hello World\n");
    assert_eq!(run.captured.stderr, "");
}

pub async fn an_exit_status_is_reported<S: Sandbox>(sandbox: Arc<S>) {
    for code in [1, 3, 127, 255] {
        let run = run(&sandbox, &python(&format!("import os; os._exit({code})"))).await;
        assert_eq!(run.outcome.termination, Termination::Exited { code });
    }
}

pub async fn a_signal_is_reported<S: Sandbox>(sandbox: Arc<S>) {
    for signal in [6, 11, 15] {
        let run = run(&sandbox, &python(&format!("import os; os.kill(os.getpid(), {signal})"))).await;
        assert_eq!(run.outcome.termination, Termination::Signaled { signal });
    }
}

pub async fn a_syntax_error_is_the_programs_failure<S: Sandbox>(sandbox: Arc<S>) {
    let run = run(&sandbox, &python("def f(:")).await;
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::RuntimeError));
    let stderr = String::from_utf8_lossy(&run.captured.stderr).into_owned();
    assert!(stderr.contains("SyntaxError") && stderr.contains("main.py\", line 1"), "{stderr}");
}

pub async fn arguments_and_environment_arrive<S: Sandbox>(sandbox: Arc<S>) {
    let mut spec = python("import os, sys; print(sys.argv[1:], os.environ['GREETING'], os.environ['HOME'])");
    spec.args = vec!["--an".into(), "argument with spaces".into(), "ü".into(), String::new()];
    spec.env = [("GREETING".into(), "hello=world".into()), ("HOME".into(), "/work/me".into())].into();
    let run = run(&sandbox, &spec).await;
    assert_eq!(run.captured.stdout, "['--an', 'argument with spaces', 'ü', ''] hello=world /work/me\n");
}

pub async fn nothing_of_the_hosts_environment_is_seen<S: Sandbox>(sandbox: Arc<S>) {
    let seen = stdout(&sandbox, "import os; print(*sorted(os.environ))").await;
    let unexpected: Vec<&str> = seen
        .split_whitespace()
        // Python sets the last one itself where the locale is C.
        .filter(|name| !["PATH", "HOME", "LANG", "TMPDIR", "HOSTNAME", "LC_CTYPE"].contains(name))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}

pub async fn files_stand_beside_the_program<S: Sandbox>(sandbox: Arc<S>) {
    let mut spec = python("import lib.answer; print(lib.answer.N, open('data/raw.bin', 'rb').read())");
    spec.files = vec![
        SourceFile::new("lib/__init__.py", ""),
        SourceFile::new("lib/answer.py", "N = 42"),
        SourceFile::new("data/raw.bin", vec![0xFF, 0, 0x80]),
    ];
    assert_eq!(run(&sandbox, &spec).await.captured.stdout, "42 b'\\xff\\x00\\x80'\n");
}

pub async fn the_work_directory_can_be_written_and_run_from<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os, stat, subprocess, tempfile
for directory in ('.', tempfile.gettempdir()):
    path = os.path.join(directory, 'tool')
    with open(path, 'w') as file: file.write('#!/bin/sh\\necho \"$0 ran\"\\n')
    os.chmod(path, 0o755)
print(subprocess.check_output(['./tool']).decode().strip())
open('main.py', 'a').write('# mine')
";
    assert_eq!(stdout(&sandbox, source).await, "./tool ran\n");
}

pub async fn a_command_that_is_not_there_is_named<S: Sandbox>(sandbox: Arc<S>) {
    let mut languages = Languages::none();
    languages.add(Language::new("nothing", "main", ["no-such-interpreter", "main"])).unwrap();
    let runner = Runner::shared(sandbox).languages(languages);
    let error = runner.run(&ExecutionSpec::new("nothing", "1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("no-such-interpreter"), "{error}");
}

/// A language whose compiler is a Python program that stands beside the source.
pub(super) fn compiled(sandbox: Arc<impl Sandbox>, compiler: &str) -> (Runner, ExecutionSpec) {
    let mut languages = Languages::none();
    let run = ["python3", "out/program.py"];
    let mut language = Language::new("compiled", "main.src", run);
    language.compile = Some(["python3", "compiler.py", "main.src"].map(String::from).to_vec());
    languages.add(language).unwrap();
    let mut spec = ExecutionSpec::new("compiled", "print('compiled')");
    spec.files = vec![SourceFile::new("compiler.py", compiler.to_owned())];
    (Runner::shared(sandbox).languages(languages), spec)
}

pub async fn a_compile_step_comes_first<S: Sandbox>(sandbox: Arc<S>) {
    let compiler = "
import os, shutil, sys, time
open('/dev/stdout', 'a').write('compiling ' + sys.argv[1] + '\\n')
print('a warning', file=sys.stderr, flush=True)
assert sys.stdin.read() == '', 'the input is the program\\'s'
os.mkdir('out'); shutil.copy(sys.argv[1], 'out/program.py')
if os.fork() == 0: time.sleep(30)
";
    let (runner, spec) = compiled(sandbox, compiler);
    let run = runner.run(&spec.stdin("for the program")).await.unwrap();
    assert_eq!(run.outcome.compile_output.as_deref(), Some("compiling main.src\na warning\n"));
    assert!(run.outcome.is_success(), "{run:?}");
    assert_eq!(run.captured.stdout, "compiled\n");
}

pub async fn a_compiler_that_fails_keeps_the_program_from_running<S: Sandbox>(sandbox: Arc<S>) {
    let (runner, spec) = compiled(sandbox, "import sys; print('line 1: no'); sys.exit(4)");
    let run = runner.run(&spec).await.unwrap();
    let expected = Termination::CompileFailed { message: "the compiler exited with status 4".into() };
    assert_eq!(run.outcome.termination, expected);
    assert_eq!(run.outcome.compile_output.as_deref(), Some("line 1: no\n"));
    assert_eq!(run.captured.stdout, "");
}

pub async fn a_compiler_that_leaves_nothing_is_a_compile_error<S: Sandbox>(sandbox: Arc<S>) {
    let mut languages = Languages::none();
    let mut language = Language::new("compiled", "main.src", ["./main"]);
    language.compile = Some(["python3", "-c", "print('done')"].map(String::from).to_vec());
    languages.add(language).unwrap();
    let runner = Runner::shared(sandbox).languages(languages);
    let run = runner.run(&ExecutionSpec::new("compiled", "x")).await.unwrap();
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::CompileError), "{run:?}");
}

pub async fn a_compiler_that_leaves_too_much_is_no_failure_of_ours<S: Sandbox>(sandbox: Arc<S>) {
    let leaving = |megabytes| {
        format!(
            "
import os
os.mkdir('out')
open('out/program.py', 'w').write('print(1)')
with open('/tmp/big', 'wb') as file:
    for n in range({megabytes}): file.write(bytes(1_000_000))
"
        )
    };
    let limits = LimitRequest { memory_bytes: Some(32 * 1024 * 1024), ..LimitRequest::default() };
    let (runner, spec) = compiled(sandbox, &leaving(40));
    let outcome = runner.run(&spec.clone().limits(limits)).await.unwrap().outcome;
    if outcome.unprotected.is_empty() {
        assert_eq!(outcome.termination.error_type(), Some(ErrorType::MemoryLimitError), "{outcome:?}");
    }
    // More than the program's own files may have.
    let spec = ExecutionSpec { files: vec![SourceFile::new("compiler.py", leaving(100))], ..spec };
    let outcome = runner.run(&spec).await.unwrap().outcome;
    assert!(matches!(outcome.termination, Termination::FilesExceeded { .. }), "{outcome:?}");
}

pub async fn the_environment_asked_for_is_the_programs_alone<S: Sandbox>(sandbox: Arc<S>) {
    let compiler = "
import os, shutil
assert 'GREETING' not in os.environ
os.mkdir('out'); shutil.copy('main.src', 'out/program.py')
";
    let (runner, mut spec) = compiled(sandbox, compiler);
    spec.source_code = "import os; print(os.environ['GREETING'])".into();
    spec.env = [("GREETING".into(), "hello".into())].into();
    let run = runner.run(&spec).await.unwrap();
    assert_eq!(run.captured.stdout, "hello\n", "{run:?}");
}

/// A program that leaves files of every kind; all but one or two are no files to be brought back.
const LEAVES: &str = "
import os, sys
os.makedirs('out/deep')
open('out/deep/data.bin', 'wb').write(bytes(range(256)) * 1000)
open('empty', 'w').close()
os.symlink('/etc/passwd', 'link')
os.symlink('out', 'directory-link')
os.symlink('/proc/self/environ', 'proc')
open('named', 'w').write('x'); os.link('named', 'named-twice')
os.mkfifo('fifo')
open('closed', 'w').write('x'); os.chmod('closed', 0)
with open('huge', 'wb') as file: file.truncate(60_000_000)
sys.exit(3)
";

pub async fn files_are_brought_back<S: Sandbox>(sandbox: Arc<S>) {
    let paths = ["out/deep/data.bin", "main.py", "empty"];
    let run = Runner::shared(sandbox).collect(paths).run(&python(LEAVES)).await.unwrap();
    assert_eq!(run.outcome.termination, Termination::Exited { code: 3 });
    let files = run.outcome.files;
    assert_eq!(files.iter().map(|file| &file.path[..]).collect::<Vec<_>>(), paths);
    let bytes: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(1000);
    assert_eq!(files[0].content.as_deref(), Ok(&bytes[..]));
    assert_eq!(files[1].content.as_deref(), Ok(LEAVES.as_bytes()));
    assert_eq!(files[2].content.as_deref(), Ok(&b""[..]));
}

pub async fn only_plain_files_are_brought_back<S: Sandbox>(sandbox: Arc<S>) {
    let refused = [
        "link",
        "directory-link/deep/data.bin",
        "proc",
        "named",
        "fifo",
        "closed",
        "huge",
        "out",
        "not-there",
    ];
    let paths = refused.into_iter().chain(["empty"]);
    let run = Runner::shared(sandbox.clone()).collect(paths).run(&python(LEAVES)).await.unwrap();
    for file in &run.outcome.files[..refused.len()] {
        assert!(file.content.is_err(), "{file:?}");
    }
    assert!(run.outcome.files[refused.len()].content.is_ok(), "{:?}", run.outcome.files);
    let out_of_the_way = Runner::shared(sandbox).collect(["../etc/passwd"]).run(&python("1")).await;
    assert_eq!(out_of_the_way.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

pub async fn a_run_that_is_ended_brings_nothing_back<S: Sandbox>(sandbox: Arc<S>) {
    let limits = LimitRequest { wall_time_ms: Some(500), ..LimitRequest::default() };
    let spec = python("open('there', 'w').write('x')\nimport time; time.sleep(30)").limits(limits);
    let run = Runner::shared(sandbox).collect(["there"]).run(&spec).await.unwrap();
    assert!(matches!(run.outcome.termination, Termination::WallTimeExceeded { .. }), "{run:?}");
    assert!(run.outcome.files[0].content.is_err(), "{run:?}");
}

pub async fn what_the_compiler_met_is_not_held_against_the_program<S: Sandbox>(sandbox: Arc<S>) {
    let compiler = "
import os, time
os.mkdir('out'); open('out/program.py', 'w').write('raise SystemExit(1)')
for n in range(20):
    try:
        if os.fork() == 0: time.sleep(5); os._exit(0)
    except OSError: pass
";
    let (runner, mut spec) = compiled(sandbox.clone(), compiler);
    spec.compile_limits = LimitRequest { processes: Some(8), ..LimitRequest::default() };
    let outcome = runner.run(&spec).await.unwrap().outcome;
    assert_eq!(outcome.termination, Termination::Exited { code: 1 });
    let compiler = "
import os
os.mkdir('out'); open('out/program.py', 'w').write('raise SystemExit(1)')
if os.fork() == 0:
    held = []
    while len(held) < 200: held.append(bytearray(1_000_000))
    os._exit(0)
os.wait()
";
    let (runner, mut spec) = compiled(sandbox, compiler);
    spec.compile_limits = LimitRequest { memory_bytes: Some(64 << 20), ..LimitRequest::default() };
    let outcome = runner.run(&spec).await.unwrap().outcome;
    // A sandbox may as well end all of a step for memory.
    let error_type = outcome.termination.error_type();
    let expected = [Some(ErrorType::RuntimeError), Some(ErrorType::CompileError)];
    assert!(expected.contains(&error_type), "{outcome:?}");
}

pub async fn a_tiny_limit_is_not_the_next_ones<S: Sandbox>(sandbox: Arc<S>) {
    for _ in 0..20 {
        let tiny = LimitRequest { memory_bytes: Some(1), ..LimitRequest::default() };
        let outcome = run(&sandbox, &python("1").limits(tiny)).await.outcome;
        assert!(!outcome.is_success() || !outcome.unprotected.is_empty(), "{outcome:?}");
        // About when a world for the next one would be made: no wait for anything, but what is attacked.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let next = run(&sandbox, &python("print(1)")).await;
        assert_eq!(next.captured.stdout, "1\n", "{next:?}");
    }
}

pub async fn arguments_without_room_are_the_programs_failure<S: Sandbox>(sandbox: Arc<S>) {
    let mut spec = python("1");
    spec.args = vec![String::new(); 30_000];
    spec.limits.stack_bytes = Some(1);
    let outcome = run(&sandbox, &spec).await.outcome;
    assert!(!outcome.is_success(), "{outcome:?}");
}

pub async fn a_compiler_that_hangs_is_a_compile_error<S: Sandbox>(sandbox: Arc<S>) {
    let (runner, mut spec) = compiled(sandbox, "import time; print('on it', flush=True); time.sleep(30)");
    spec.compile_limits = LimitRequest { wall_time_ms: Some(500), ..LimitRequest::default() };
    let run = runner.run(&spec).await.unwrap();
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::CompileError));
    assert_eq!(run.outcome.compile_output.as_deref(), Some("on it\n"));
}

pub async fn the_version_is_asked_inside<S: Sandbox>(sandbox: Arc<S>) {
    let languages = Languages::builtin();
    let version = Runner::shared(sandbox).version(languages.get("python").unwrap()).await.unwrap();
    assert!(version.starts_with("Python 3."), "{version}");
}

pub async fn usage_is_what_was_used<S: Sandbox>(sandbox: Arc<S>) {
    // It says itself what it used, its children included.
    let source = "
import os, resource, time
first = time.clock_gettime(time.CLOCK_BOOTTIME)
def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
for n in range(2):
    if os.fork() == 0: spin(0.2); os._exit(0)
    os.wait()
spin(0.2)
time.sleep(0.4)
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
began = int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[19]) / os.sysconf('SC_CLK_TCK')
now = time.clock_gettime(time.CLOCK_BOOTTIME)
print(now - first, now - began, sum(u.ru_utime + u.ru_stime for u in used))
";
    let run = run(&sandbox, &python(source)).await;
    let said: Vec<f64> = String::from_utf8_lossy(&run.captured.stdout)
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    assert_eq!(said.len(), 3, "{run:?}");
    let (from_first, from_start, cpu) = (said[0], said[1], said[2]);
    let is_near = |found: Duration, expected: f64| (found.as_secs_f64() / expected - 1.0).abs() < 0.1;
    // Its process may have been there before it: then it began with its first line.
    let wall = run.outcome.usage.wall_time;
    assert!(is_near(wall, from_start) || is_near(wall, from_first), "{from_first} to {from_start}: {run:?}");
    assert!(
        is_near(run.outcome.usage.cpu_time, cpu) || !run.outcome.unprotected.is_empty(),
        "{cpu}: {run:?}"
    );
}

pub async fn peak_memory_is_that_of_all_processes_and_files<S: Sandbox>(sandbox: Arc<S>) {
    const MIB: u64 = 1024 * 1024;
    let holding = |each: u64| {
        python(&format!(
            "
import mmap, os
if {each}:
    with open('/tmp/file', 'wb') as file: file.write(bytes({each}))
ready = os.pipe()
for n in range(2):
    if os.fork() == 0:
        held = bytearray({each})
        for at in range(0, {each}, 4096): held[at] = 1
        os.write(ready[1], b'x')
        import time; time.sleep(30)
for n in range(2): os.read(ready[0], 1)
os._exit(0)
"
        ))
    };
    let without = run(&sandbox, &holding(0)).await.outcome;
    let with = run(&sandbox, &holding(25 * MIB)).await.outcome;
    assert!(with.is_success(), "{with:?}");
    if let (Some(without), Some(with)) = (without.usage.memory_peak_bytes, with.usage.memory_peak_bytes) {
        let held = with.saturating_sub(without);
        assert!((67 * MIB..83 * MIB).contains(&held), "{without} without, {with} with 75 MiB in three parts");
    }
}
