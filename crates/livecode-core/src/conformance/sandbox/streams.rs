//! What goes in and comes out.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{LONG, compiled, expect_output, interact, limited, millis, python, run, start, stdout};
use crate::{LimitRequest, Overflow, Runner, Sandbox, Termination};

pub async fn input_arrives_whole<S: Sandbox>(sandbox: Arc<S>) {
    let input: Vec<u8> = (0..3_000_000u32).map(|byte| byte.to_le_bytes()[byte as usize % 3]).collect();
    let spec =
        python("import sys, zlib; data = sys.stdin.buffer.read(); print(len(data), zlib.adler32(data))");
    let run = run(&sandbox, &spec.stdin(input.clone())).await;
    assert_eq!(run.captured.stdout, format!("{} {}\n", input.len(), adler32(&input)));
}

fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1u32, 0u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}

pub async fn input_need_not_be_read<S: Sandbox>(sandbox: Arc<S>) {
    let input = vec![b'x'; 3_000_000];
    let unread = run(&sandbox, &python("print('no, thank you')").stdin(input.clone())).await;
    assert_eq!(unread.captured.stdout, "no, thank you\n");
    let closed = run(&sandbox, &python("import os; os.close(0); print('closed')").stdin(input)).await;
    assert_eq!(closed.captured.stdout, "closed\n");
    let none = run(&sandbox, &python("print(repr(input()) if False else repr(open(0).read()))")).await;
    assert_eq!(none.captured.stdout, "''\n");
}

pub async fn a_program_reads_answers_and_reads_again<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
while True:
    line = input()
    if line == 'bye': break
    print('heard', line, flush=True)
print('bye')
";
    // Three times, so that a sandbox that starts programs in several ways takes them all.
    for _ in 0..3 {
        let (running, input, mut output) = interact(&sandbox, python(source));
        for line in ["one", "two", "three"] {
            input.send(format!("{line}\n").into()).await.unwrap();
            expect_output(&mut output, &format!("heard {line}\n")).await;
        }
        input.send("bye\n".into()).await.unwrap();
        expect_output(&mut output, "bye\n").await;
        assert!(running.await.unwrap().unwrap().is_success());
    }
}

pub async fn input_that_ends_while_the_program_runs_is_at_its_end<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import sys
print('ready', flush=True)
print(repr(sys.stdin.read()))
";
    for sent in [&["a", "b"][..], &[]] {
        let (running, input, mut output) = interact(&sandbox, python(source));
        expect_output(&mut output, "ready\n").await;
        for piece in sent {
            input.send((*piece).into()).await.unwrap();
        }
        drop(input);
        expect_output(&mut output, &format!("'{}'\n", sent.concat())).await;
        assert!(running.await.unwrap().unwrap().is_success());
    }
}

/// Reads all and says how much it was.
const COUNT: &str = "import sys, zlib; data = sys.stdin.buffer.read(); print(len(data), zlib.adler32(data))";

pub async fn input_sent_in_pieces_arrives_whole<S: Sandbox>(sandbox: Arc<S>) {
    let all: Vec<u8> = (0..3_000_000u32).map(|byte| byte.to_le_bytes()[byte as usize % 3]).collect();
    let (running, input, mut output) = interact(&sandbox, python(COUNT));
    let mut rest = &all[..];
    for size in [1, 4095, 4096, 65_536, 1_000_003].into_iter().cycle() {
        let piece;
        (piece, rest) = rest.split_at(size.min(rest.len()));
        if piece.is_empty() {
            break;
        }
        input.send(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    drop(input);
    expect_output(&mut output, &format!("{} {}\n", all.len(), adler32(&all))).await;
    assert!(running.await.unwrap().unwrap().is_success());
}

pub async fn what_was_there_first_is_read_first<S: Sandbox>(sandbox: Arc<S>) {
    let source = "import sys; print(input(), flush=True); print(input()); print(repr(sys.stdin.read()))";
    let (running, input, mut output) = interact(&sandbox, python(source).stdin("first\nsec"));
    expect_output(&mut output, "first\n").await;
    input.send("ond\nthird".into()).await.unwrap();
    drop(input);
    expect_output(&mut output, "second\n'third'\n").await;
    assert!(running.await.unwrap().unwrap().is_success());
}

pub async fn input_that_nobody_reads_waits_outside<S: Sandbox>(sandbox: Arc<S>) {
    let (sender, mut output) = mpsc::channel(1);
    let (input, receiver) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let runner = Runner::shared(sandbox);
    let spec = python("import time; print('deaf', flush=True); time.sleep(9)");
    let running = runner.interact(&spec, receiver, sender, &cancel);
    let talk = async {
        expect_output(&mut output, "deaf\n").await;
        // What pipes and buffers on the way hold is a matter of a MiB at most.
        let mut taken = 0;
        let piece = Bytes::from(vec![b'x'; 64 * 1024]);
        while let Ok(sent) = timeout(LONG / 20, input.send(piece.clone())).await {
            sent.unwrap();
            taken += piece.len();
            assert!(taken <= 1024 * 1024, "it's taken without being read");
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(running, talk);
    assert_eq!(outcome.unwrap().termination, Termination::Cancelled);
}

pub async fn input_keeps_no_program_from_its_end<S: Sandbox>(sandbox: Arc<S>) {
    // One has read some of it, another none; a third ends while its input is open and silent.
    for (source, sends) in
        [("import sys; sys.stdin.buffer.read(100_000)", true), ("1", true), ("print('silent')", false)]
    {
        let (running, input, output) = interact(&sandbox, python(source));
        drop(output);
        if sends {
            // Until it's refused, which is the end of the program.
            let piece = Bytes::from(vec![b'x'; 50_000]);
            let sending = async { while input.send(piece.clone()).await.is_ok() {} };
            timeout(LONG, sending).await.unwrap();
        }
        assert!(timeout(LONG, running).await.unwrap().unwrap().unwrap().is_success());
        assert!(input.is_closed());
    }
}

pub async fn a_program_that_closes_its_input_is_sent_no_more<S: Sandbox>(sandbox: Arc<S>) {
    let source = "import os, time; os.close(0); print('closed', flush=True); time.sleep(9)";
    let (sender, mut output) = mpsc::channel(1);
    let (input, receiver) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let runner = Runner::shared(sandbox);
    let spec = python(source);
    let running = runner.interact(&spec, receiver, sender, &cancel);
    let talk = async {
        expect_output(&mut output, "closed\n").await;
        let piece = Bytes::from(vec![b'x'; 50_000]);
        let sending = async { while input.send(piece.clone()).await.is_ok() {} };
        timeout(LONG / 2, sending).await.unwrap();
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(running, talk);
    assert_eq!(outcome.unwrap().termination, Termination::Cancelled, "it ran on");
}

pub async fn input_is_not_the_compilers<S: Sandbox>(sandbox: Arc<S>) {
    let compiler = "
import os, shutil, sys
assert sys.stdin.read() == ''
os.mkdir('out'); shutil.copy(sys.argv[1], 'out/program.py')
";
    let (runner, mut spec) = compiled(sandbox, compiler);
    spec.source_code = "print('heard', input())".into();
    let (sender, mut output) = mpsc::channel(1);
    let (input, receiver) = mpsc::channel(1);
    input.send("me\n".into()).await.unwrap();
    let cancel = CancellationToken::new();
    let running = runner.interact(&spec, receiver, sender, &cancel);
    let (outcome, ()) = tokio::join!(running, expect_output(&mut output, "heard me\n"));
    assert!(outcome.unwrap().is_success());
}

pub async fn output_arrives_whole_and_in_order<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import sys
for n in range(5000):
    print('out', n)
    print('err', n, file=sys.stderr)
";
    let run = run(&sandbox, &python(source)).await;
    let lines = |stream: &str| (0..5000).map(|n| format!("{stream} {n}\n")).collect::<String>();
    assert_eq!(run.captured.stdout, lines("out"));
    assert_eq!(run.captured.stderr, lines("err"));
}

pub async fn any_bytes_arrive_as_they_are<S: Sandbox>(sandbox: Arc<S>) {
    let run = run(&sandbox, &python("import sys; sys.stdout.buffer.write(bytes(range(256)) * 3)")).await;
    let bytes: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(3);
    assert_eq!(run.captured.stdout, bytes);
}

pub async fn a_million_lines_arrive<S: Sandbox>(sandbox: Arc<S>) {
    // Two bytes a line: beyond the default limit, and below what this one asks for it is cut.
    let source = "import sys; sys.stdout.write('y\\n' * 1_000_000)";
    let run = run(&sandbox, &python(source)).await;
    assert!(run.outcome.is_success());
    assert_eq!(run.captured.stdout.len(), 1024 * 1024);
    assert!(run.outcome.stdout_truncated);
}

pub async fn output_comes_while_the_program_runs<S: Sandbox>(sandbox: Arc<S>) {
    let (running, mut output, cancel) = start(&sandbox, python("import time; print('now'); time.sleep(9)"));
    expect_output(&mut output, "now\n").await;
    assert!(!running.is_finished());
    cancel.cancel();
    assert_eq!(running.await.unwrap().unwrap().termination, Termination::Cancelled);
}

pub async fn a_program_may_close_its_streams<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os, time
print('before', flush=True)
os.close(1); os.close(2)
time.sleep(0.2)
os._exit(7)
";
    let run = run(&sandbox, &python(source)).await;
    assert_eq!(run.outcome.termination, Termination::Exited { code: 7 });
    assert_eq!(run.captured.stdout, "before\n");
}

pub async fn a_reader_that_is_gone_does_not_end_the_program<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import sys
for n in range(200): print('x' * 10_000)
sys.exit(5)
";
    let (running, output, _cancel) = start(&sandbox, python(source));
    drop(output);
    assert_eq!(running.await.unwrap().unwrap().termination, Termination::Exited { code: 5 });
}

pub async fn the_streams_can_be_opened_by_name<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
text = open('/dev/stdin').read()
open('/dev/stdout', 'w').write(text * 2)
open('/proc/self/fd/2', 'w').write('error')
";
    let run = run(&sandbox, &python(source).stdin("ab")).await;
    assert_eq!(
        (&run.captured.stdout[..], &run.captured.stderr[..]),
        (&b"abab"[..], &b"error"[..]),
        "{run:?}"
    );
}

pub async fn output_before_a_kill_is_kept<S: Sandbox>(sandbox: Arc<S>) {
    let spec = limited("print('before')\nwhile True: pass", millis(700));
    let run = run(&sandbox, &spec).await;
    assert!(matches!(run.outcome.termination, Termination::WallTimeExceeded { .. }), "{:?}", run.outcome);
    assert_eq!(run.captured.stdout, "before\n");
}

pub async fn too_much_output_is_cut_and_the_program_goes_on<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import sys
sys.stdout.write('ä' * 100_000)
sys.stderr.write('short')
sys.exit(3)
";
    let limits = LimitRequest { output_bytes: Some(1001), ..LimitRequest::default() };
    let run = run(&sandbox, &limited(source, limits)).await;
    assert_eq!(run.outcome.termination, Termination::Exited { code: 3 });
    assert_eq!(run.captured.stdout, "ä".repeat(500));
    assert_eq!((run.outcome.stdout_truncated, run.outcome.stderr_truncated), (true, false));
}

pub async fn too_much_output_ends_the_program_where_the_host_says_so<S: Sandbox>(sandbox: Arc<S>) {
    let limits = LimitRequest { output_bytes: Some(1000), ..LimitRequest::default() };
    let runner = Runner::shared(sandbox).overflow(Overflow::Terminate);
    for stream in ["stdout", "stderr"] {
        let source =
            format!("import sys, time; sys.{stream}.write('x' * 2000); sys.{stream}.flush(); time.sleep(30)");
        let run = timeout(LONG, runner.run(&limited(&source, limits))).await.unwrap().unwrap();
        assert_eq!(run.outcome.termination, Termination::OutputExceeded { limit: 1000 });
        assert_eq!(run.captured.stdout.len() + run.captured.stderr.len(), 1000);
    }
    let fits = runner.run(&limited("print('x' * 999)", limits)).await.unwrap();
    assert!(fits.outcome.is_success(), "{fits:?}");
}

pub async fn the_end_of_the_main_process_is_the_end<S: Sandbox>(sandbox: Arc<S>) {
    // Its children hold its streams, in sessions of their own, deaf to signals.
    let source = "
import os, signal, time
for n in range(3):
    if os.fork() == 0:
        os.setsid()
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
        if os.fork() == 0: time.sleep(20)
        time.sleep(20)
        os._exit(0)
print('parent is done')
";
    let ended = timeout(LONG, stdout(&sandbox, source)).await.unwrap();
    assert_eq!(ended, "parent is done\n");
}
