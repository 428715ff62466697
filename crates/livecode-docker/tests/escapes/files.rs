//! Files that are brought back, and what is left to be found.

use std::collections::BTreeMap;

use bytes::Bytes;
use livecode_core::{
    Io, LimitRequest, Limits, Outcome, Owner, Program, Reuse, SourceFile, Step, Termination,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::attempt::{RUNTIME, is_in_vain, program, python, runner, works_without};

fn collected(body: &str, paths: &[&str]) -> Vec<Result<Bytes, String>> {
    let runner = runner().collect(paths.iter().copied());
    let limits = LimitRequest { file_bytes: Some(1 << 30), ..LimitRequest::default() };
    let run = RUNTIME.block_on(runner.run(&python(body).limits(limits))).unwrap();
    assert!(run.outcome.is_success(), "{run:?}");
    run.outcome.files.into_iter().map(|file| file.content).collect()
}

#[test]
fn nothing_but_files_of_its_own_is_brought_back() {
    let body = "
os.mkfifo('pipe')
os.symlink('/etc/passwd', 'link')
os.symlink('/proc/self/environ', 'magic')
os.symlink('/etc', 'up')
os.mkdir('directory')
open('sparse', 'w').truncate(900 << 20)
open('first', 'w').write('x')
os.link('first', 'second')
socket.socket(socket.AF_UNIX).bind('socket')
";
    let paths = ["pipe", "link", "magic", "up/hosts", "directory", "sparse", "first", "socket", "missing"];
    for (path, content) in paths.iter().zip(collected(body, &paths)) {
        assert!(content.is_err(), "{path}: {content:?}");
    }
}

/// Nor where the directory itself isn't what it was.
#[test]
fn a_work_directory_that_is_a_link_is_not_followed() {
    for target in ["/etc", "/proc/self", "/box/other"] {
        let body = format!(
            "
os.rename('/box/work', '/box/other')
open('/box/other/hosts', 'w').write('x')
open('/box/other/status', 'w').write('x')
os.symlink('{target}', '/box/work')
"
        );
        for content in collected(&body, &["hosts", "status"]) {
            assert!(content.is_err(), "{target}: {content:?}");
        }
    }
}

fn compile_and_run(compile: &str, source: &str) -> Outcome {
    let step = |name: &str| Step {
        command: vec!["python3".into(), name.into()],
        env: BTreeMap::new(),
        limits: Limits::RUN,
    };
    let program = Program {
        language: "python".into(),
        name: String::new(),
        files: vec![
            SourceFile::new("main.py", program(source)),
            SourceFile::new("compile.py", program(compile)),
        ],
        compile: Some(step("compile.py")),
        run: step("main.py"),
        collect: Vec::new(),
        owner: Owner::anonymous(),
        reuse: Reuse::Nothing,
    };
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let io = Io { stdin: Bytes::new(), more: None, output: sender };
    RUNTIME.block_on(runner().sandbox().run(&program, io, &CancellationToken::new())).unwrap()
}

/// Which would be our failure, or the image's.
#[test]
fn a_compiler_that_throws_the_work_directory_away_fails_the_program() {
    for throw_away in ["os.rename('/box/work', '/box/other')", "os.chmod('/box/work', 0)"] {
        let outcome = compile_and_run(throw_away, "return True");
        let expected = matches!(outcome.termination, Termination::Exited { code } if code != 0);
        assert!(expected, "{throw_away}: {outcome:?}");
    }
}

#[test]
fn a_compiler_is_contained_as_a_program_is() {
    let outcome = compile_and_run("return call(272, 97, 0x10000000) == 0", "return False");
    assert_eq!(outcome.compile_output.as_deref(), Some("refused: 1\n"), "{outcome:?}");
}

/// Twice the same: who comes second finds nothing. In a plain container the first one is found.
#[test]
fn a_later_run_finds_no_trace() {
    let body = "
found = []
for path in ('/work/left', '/tmp/left', '/dev/shm/left'):
    if not os.path.isdir(os.path.dirname(path)): continue
    if os.path.exists(path): found.append(path)
    open(path, 'w').close()
for name, make in (('memory', lambda flags: libc.shmget(0x1234, 4096, flags)), ('queue', lambda flags: libc.msgget(0x1234, flags)),
                   ('semaphore', lambda flags: libc.semget(0x1234, 1, flags))):
    if make(0o600) >= 0: found.append(name)
    checked(make(0o1600))
try:
    socket.socket(socket.AF_UNIX).connect('\\0left')
    found.append('socket')
except ConnectionRefusedError: pass
held = socket.socket(socket.AF_UNIX)
ready, is_ready = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        for stream in range(3): os.close(stream)
        try: held.bind('\\0left')
        except OSError: pass
        held.listen()
        os.write(is_ready, b'x')
        time.sleep(20)
    os._exit(0)
os.close(is_ready)
os.wait()
os.read(ready, 1)
return len(found) > 0
";
    for _ in 0..2 {
        is_in_vain(body);
    }
    assert_eq!(crate::plain::run(&[], &program(body)), "contained\n");
    works_without(&[], body);
}
