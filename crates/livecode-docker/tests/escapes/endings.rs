//! Programs that don't want to end, or want to end what isn't theirs.

use std::time::Duration;

use livecode_core::{ExecutionSpec, Limits, Termination};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::attempt::{RUNTIME, limited, python, run, runner};

#[test]
fn whoever_kills_everybody_ends_itself_alone() {
    let everybody = "
if os.fork() == 0:
    os.setsid()
    os.kill(-1, signal.SIGKILL)
time.sleep(30)
";
    let ended = run(&python(everybody)).outcome.termination;
    assert_eq!(ended, Termination::Signaled { signal: 9 });
}

/// Its streams are where nobody closes them: in a socket's queue, which is in that queue itself. Until the kernel collects that, somebody
/// who waits for their end waits, and does so on the run's account.
#[test]
fn streams_that_nobody_closes_are_not_waited_for() {
    let body = "
one, other = socket.socketpair()
socket.send_fds(one, [b'x'], [other.fileno(), 1, 2])
one.close()
time.sleep(0.2)
os.write(1, b'the last word')
os._exit(3)
";
    let run = run(&python(body));
    assert_eq!(run.outcome.termination, Termination::Exited { code: 3 });
    assert_eq!(run.captured.stdout, "the last word");
    assert!(run.outcome.usage.cpu_time < Duration::from_secs(1), "{run:?}");
}

#[test]
fn a_program_that_closes_everything_is_waited_for() {
    let body = "
if os.fork() == 0:
    os.closerange(0, 1000)
    while True: time.sleep(1)
os.closerange(0, 1000)
time.sleep(0.3)
os._exit(5)
";
    let ended = run(&python(body)).outcome.termination;
    assert_eq!(ended, Termination::Exited { code: 5 });
}

/// However many hold the output and go on writing.
#[test]
fn children_that_go_on_writing_end_with_the_program() {
    let body = "
for n in range(10):
    if os.fork() == 0:
        os.setsid()
        while True: os.write(1, b'x' * 65536)
time.sleep(0.3)
os._exit(6)
";
    let run = run(&python(body));
    assert_eq!(run.outcome.termination, Termination::Exited { code: 6 });
    assert_eq!(run.captured.stdout.len() as u64, Limits::RUN.output_bytes);
}

fn is_cancelled(source: &str, reads: bool) {
    RUNTIME.block_on(async {
        let (sender, mut output) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let (runner, token) = (runner(), cancel.clone());
        let limits = limited(|it| it.output_bytes = Some(1 << 40));
        let ceiling = livecode_core::Ceiling {
            run: Limits { output_bytes: 1 << 40, ..Limits::RUN },
            ..livecode_core::Ceiling::default()
        };
        let spec = ExecutionSpec::new("python", source).limits(limits);
        let running =
            tokio::spawn(async move { runner.ceiling(ceiling).stream(&spec, sender, &token).await });
        output.recv().await.unwrap();
        cancel.cancel();
        let ended = async {
            while reads && output.recv().await.is_some() {}
            running.await.unwrap().unwrap().termination
        };
        let ended = timeout(Duration::from_secs(120), ended).await.expect("it should end");
        assert_eq!(ended, Termination::Cancelled);
    });
}

/// It's always there first with more.
#[test]
fn a_flood_is_cancelled() {
    is_cancelled("import os\nos.fork()\nwhile True: os.write(1, b'x' * 65536)", true);
}

#[test]
fn a_flood_that_nobody_reads_is_cancelled() {
    is_cancelled("import os\nos.fork()\nwhile True: os.write(1, b'x' * 65536)", false);
}

/// The largest that there may be, none of it read, while the other way is full.
#[test]
fn input_that_is_not_read_keeps_nobody_waiting() {
    let body = "
for n in range(40): os.write(1, b'x' * 65536)
os._exit(4)
";
    let run = run(&python(body).stdin(vec![b'x'; 8 << 20]));
    assert_eq!(run.outcome.termination, Termination::Exited { code: 4 });
}

#[test]
fn arguments_and_environment_may_be_as_long_as_there_are() {
    let mut spec =
        ExecutionSpec::new("python", "import os, sys; print(len(sys.argv), len(os.environ['LONG']))");
    spec.args = vec![String::new(); 20_000];
    spec.env.insert("LONG".into(), "ä".repeat(20_000));
    assert_eq!(run(&spec).captured.stdout, "20001 20000\n");
}

#[test]
fn files_may_be_many_and_empty() {
    let names: Vec<String> = (0..99).map(|n| format!("directory/{n}/file")).collect();
    let files = names.iter().map(|name| livecode_core::SourceFile::new(name.clone(), ""));
    let mut spec = ExecutionSpec::new("python", "import glob; print(len(glob.glob('directory/*/file')))");
    spec.files = files.collect();
    assert_eq!(run(&spec).captured.stdout, "99\n");
}
