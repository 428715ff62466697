//! What a runner adds to a sandbox: the program put together, the output bounded and its characters kept whole.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use livecode_core::{
    Capabilities, Ceiling, Error, ErrorKind, ExecutionSpec, Io, Language, Languages, LimitRequest, Limits,
    Outcome, Output, Overflow, Owner, Program, Result, Reuse, Runner, Sandbox, SourceFile, Stdio, Step,
    Termination,
};
use proptest::{collection::vec, prelude::*};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A sandbox that writes what it was told to and then ends as it was told to; it notes what it's given.
#[derive(Debug)]
struct Script {
    writes: Vec<Output>,
    end: End,
    given: Mutex<Vec<(Program, Bytes)>>,
    accepted: AtomicUsize,
}

#[derive(Debug)]
enum End {
    With(Box<Outcome>),
    InError(ErrorKind),
    WhenCancelled,
    Never,
}

fn script(writes: Vec<Output>, end: End) -> Arc<Script> {
    Arc::new(Script { writes, end, given: Mutex::default(), accepted: AtomicUsize::new(0) })
}

fn exits(code: i32) -> End {
    End::With(Box::new(Outcome::new(Termination::Exited { code })))
}

impl Script {
    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn only_program(&self) -> Program {
        let given = self.given.lock().unwrap();
        assert_eq!(given.len(), 1);
        given[0].0.clone()
    }
}

#[async_trait::async_trait]
impl Sandbox for Script {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "script".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        self.given.lock().unwrap().push((program.clone(), io.stdin));
        for write in &self.writes {
            io.output.send(write.clone()).await.map_err(|_| Error::internal("the runner hung up"))?;
            self.accepted.fetch_add(1, Ordering::SeqCst);
        }
        match &self.end {
            End::With(outcome) => Ok((**outcome).clone()),
            End::InError(kind) => Err(Error::new(*kind, "the sandbox broke")),
            End::WhenCancelled => {
                cancel.cancelled().await;
                Ok(Outcome::new(Termination::Cancelled))
            }
            End::Never => std::future::pending().await,
        }
    }
}

fn runner(script: &Arc<Script>) -> Runner {
    Runner::shared(script.clone())
}

fn spec() -> ExecutionSpec {
    ExecutionSpec::new("python", "print(1)")
}

/// A spec that may write `bytes` to each of its streams.
fn up_to(bytes: usize) -> ExecutionSpec {
    spec().limits(LimitRequest { output_bytes: Some(bytes as u64), ..LimitRequest::default() })
}

fn stdout(bytes: impl Into<Bytes>) -> Output {
    Output::new(Stdio::Stdout, bytes)
}

fn stderr(bytes: impl Into<Bytes>) -> Output {
    Output::new(Stdio::Stderr, bytes)
}

/// Runs it and gives back the chunks as they were passed on.
async fn chunks(script: &Arc<Script>, spec: &ExecutionSpec) -> (Outcome, Vec<Output>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let listen = async {
        let mut chunks = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            chunks.push(chunk);
        }
        chunks
    };
    let (runner, cancel) = (runner(script), CancellationToken::new());
    let (outcome, chunks) = tokio::join!(runner.stream(spec, sender, &cancel), listen);
    (outcome.unwrap(), chunks)
}

#[tokio::test]
async fn what_a_program_writes_is_collected_by_stream() {
    let script = script(vec![stdout("a"), stderr("b"), stdout(&b"\0\xff"[..]), stderr("d")], exits(3));
    let run = runner(&script).run(&spec().stdin("in")).await.unwrap();
    assert_eq!(run.outcome, Outcome::new(Termination::Exited { code: 3 }));
    assert_eq!(run.captured.stdout, &b"a\0\xff"[..]);
    assert_eq!(run.captured.stderr, "bd");
    assert_eq!(script.given.lock().unwrap()[0].1, "in");
}

#[tokio::test]
async fn a_program_is_put_together_from_spec_and_language() {
    let mut languages = Languages::none();
    languages
        .add(Language {
            aliases: vec!["c99".into()],
            compile: Some(vec!["cc".into(), "main.c".into()]),
            env: [("LEVEL".into(), "1".into()), ("KEPT".into(), "yes".into())].into(),
            ..Language::new("c", "main.c", ["./main"])
        })
        .unwrap();
    let ceiling = Ceiling { run: Limits { processes: 7, ..Limits::RUN }, ..Ceiling::default() };
    let asked = ExecutionSpec {
        files: vec![SourceFile::new("lib/a.h", "header")],
        args: vec!["-x".into(), "".into()],
        env: [("LEVEL".into(), "2".into())].into(),
        compile_limits: LimitRequest { processes: Some(5), ..LimitRequest::default() },
        ..ExecutionSpec::new("C99", "int main() {}")
    };
    let script = script(Vec::new(), exits(0));
    let runner = runner(&script).languages(languages).ceiling(ceiling);
    runner.run(&asked).await.unwrap();
    let expected = Program {
        language: "c".into(),
        files: vec![SourceFile::new("main.c", "int main() {}"), SourceFile::new("lib/a.h", "header")],
        compile: Some(Step {
            command: vec!["cc".into(), "main.c".into()],
            env: [("LEVEL".into(), "1".into()), ("KEPT".into(), "yes".into())].into(),
            limits: Limits { processes: 5, ..Limits::COMPILE },
        }),
        run: Step {
            command: vec!["./main".into(), "-x".into(), "".into()],
            env: [("LEVEL".into(), "2".into()), ("KEPT".into(), "yes".into())].into(),
            limits: ceiling.run,
        },
        collect: Vec::new(),
        owner: Owner::anonymous(),
        reuse: Reuse::Nothing,
        name: String::new(),
    };
    assert_eq!(script.only_program(), expected);
}

#[tokio::test]
async fn a_command_may_name_the_memory_limit_of_its_step() {
    let mut languages = Languages::none();
    let run = ["vm", "-Xmx{memory_bytes}", "main"];
    let compile = ["cc".into(), "--max={memory_bytes}".into()];
    languages.add(Language { compile: Some(compile.into()), ..Language::new("vm", "main", run) }).unwrap();
    let script = script(Vec::new(), exits(0));
    let limits = LimitRequest { memory_bytes: Some(1234), ..LimitRequest::default() };
    let mut spec = ExecutionSpec::new("vm", "x").limits(limits);
    spec.args = vec!["{memory_bytes}".into()];
    runner(&script).languages(languages).run(&spec).await.unwrap();
    let program = script.only_program();
    assert_eq!(program.run.command, ["vm", "-Xmx1234", "main", "{memory_bytes}"], "arguments are left alone");
    assert_eq!(program.compile.unwrap().command[1], format!("--max={}", Limits::COMPILE.memory_bytes));
}

#[tokio::test]
async fn a_program_that_writes_too_much_is_ended_where_the_host_says_so() {
    let script = script(vec![stdout("abc"), stdout("defg")], End::WhenCancelled);
    let run = runner(&script).overflow(Overflow::Terminate).run(&up_to(5)).await.unwrap();
    assert_eq!(run.outcome.termination, Termination::OutputExceeded { limit: 5 });
    assert_eq!(run.captured.stdout, "abcde");
    assert!(run.outcome.stdout_truncated);
}

#[tokio::test]
async fn a_cancelled_program_is_cancelled_whatever_it_wrote() {
    let script = script(vec![stdout("abcdef")], End::WhenCancelled);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let (sender, _receiver) = mpsc::channel(16);
    let runner = runner(&script).overflow(Overflow::Terminate);
    let outcome = runner.stream(&up_to(5), sender, &cancel).await.unwrap();
    assert_eq!(outcome.termination, Termination::Cancelled);
}

#[tokio::test]
async fn only_plain_paths_can_be_collected() {
    let script = script(Vec::new(), exits(0));
    for path in ["", "/etc/passwd", "../x", "a/../b", "a\0"] {
        let error = runner(&script).collect([path]).run(&spec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{path}");
    }
    let many = (0..101).map(|n| n.to_string());
    assert!(runner(&script).collect(many).run(&spec()).await.is_err());
    runner(&script).collect(["a/b"]).run(&spec()).await.unwrap();
    assert_eq!(script.only_program().collect, ["a/b"]);
}

#[tokio::test]
async fn what_is_refused_never_reaches_the_sandbox() {
    let script = script(Vec::new(), exits(0));
    for refused in [ExecutionSpec::new("cobol", "1"), ExecutionSpec::new("python", ""), up_to(0)] {
        let error = runner(&script).run(&refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert!(script.given.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_failure_of_the_sandbox_is_an_error() {
    for kind in [ErrorKind::Unsupported, ErrorKind::Unavailable, ErrorKind::Internal] {
        let script = script(vec![stdout("early")], End::InError(kind));
        let error = runner(&script).run(&spec()).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
}

#[tokio::test]
async fn output_beyond_the_limit_is_thrown_away_and_the_program_goes_on() {
    let writes = vec![stdout("12345"), stderr("e"), stdout("678"), stdout("9"), stderr("rr")];
    let script = script(writes, exits(0));
    let run = runner(&script).run(&up_to(7)).await.unwrap();
    assert_eq!(run.captured.stdout, "1234567");
    assert_eq!(run.captured.stderr, "err");
    assert!(run.outcome.stdout_truncated && !run.outcome.stderr_truncated);
    assert!(run.outcome.is_success());
    assert_eq!(script.accepted(), 5, "the program could write all that it had");
}

#[tokio::test]
async fn output_up_to_the_limit_is_whole() {
    let script = script(vec![stdout("1234"), stderr("12345"), stdout("5"), stdout("")], exits(0));
    let run = runner(&script).run(&up_to(5)).await.unwrap();
    assert_eq!((&*run.captured.stdout, &*run.captured.stderr), (&b"12345"[..], &b"12345"[..]));
    assert!(!run.outcome.stdout_truncated && !run.outcome.stderr_truncated);
}

#[tokio::test]
async fn output_is_truncated_between_characters() {
    for (limit, kept) in [(1, ""), (2, "é"), (3, "é"), (4, "é"), (5, "é漢"), (8, "é漢"), (9, "é漢🦀")]
    {
        for whole in [true, false] {
            let text = "é漢🦀!";
            let writes = if whole {
                vec![stderr(text)]
            } else {
                text.bytes().map(|byte| stderr(vec![byte])).collect()
            };
            let run = runner(&script(writes, exits(0))).run(&up_to(limit)).await.unwrap();
            assert_eq!(run.captured.stderr, kept, "{limit} bytes");
            assert!(run.outcome.stderr_truncated);
        }
    }
}

#[tokio::test]
async fn what_the_sandbox_truncated_stays_truncated() {
    let outcome =
        Outcome { stdout_truncated: true, ..Outcome::new(Termination::OutputExceeded { limit: 1 }) };
    let script = script(vec![stdout("1")], End::With(Box::new(outcome.clone())));
    let run = runner(&script).run(&spec()).await.unwrap();
    assert_eq!(run.outcome, outcome);
}

#[tokio::test]
async fn a_begun_character_is_passed_on_at_the_end() {
    let script = script(vec![stdout(&b"a\xf0\x9f"[..]), stderr(&b"\xe6"[..])], exits(0));
    let (_, mut chunks) = chunks(&script, &spec()).await;
    chunks.sort_by_key(|chunk| chunk.stdio == Stdio::Stderr);
    assert_eq!(chunks, [stdout("a"), stdout(&b"\xf0\x9f"[..]), stderr(&b"\xe6"[..])]);
}

#[tokio::test]
async fn complete_characters_are_passed_on_at_once() {
    let script = script(
        vec![stdout("prompt é"), stdout(&b"\xff\xfe"[..]), stdout(&b"\x80\x80\x80\x80"[..])],
        End::WhenCancelled,
    );
    let (sender, mut receiver) = mpsc::channel(8);
    let cancel = CancellationToken::new();
    let runner = runner(&script);
    let spec = spec();
    let listen = async {
        for expected in &script.writes {
            assert_eq!(receiver.recv().await.as_ref(), Some(expected), "before the end");
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(runner.stream(&spec, sender, &cancel), listen);
    assert_eq!(outcome.unwrap().termination, Termination::Cancelled);
}

#[tokio::test]
async fn a_program_goes_on_when_nobody_listens_any_more() {
    let script = script(vec![stdout("a"); 1_000], exits(0));
    let (sender, mut receiver) = mpsc::channel(1);
    let (runner, cancel) = (runner(&script), CancellationToken::new());
    let spec = up_to(900);
    let leave = async move {
        receiver.recv().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(runner.stream(&spec, sender, &cancel), leave);
    let outcome = outcome.unwrap();
    assert!(outcome.is_success() && outcome.stdout_truncated);
    assert_eq!(script.accepted(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_program_waits_for_a_slow_listener() {
    let script = script(vec![stdout("a"); 1_000], exits(0));
    let (sender, mut receiver) = mpsc::channel(1);
    let (runner, cancel) = (runner(&script), CancellationToken::new());
    let spec = spec();
    let mut run = Box::pin(runner.stream(&spec, sender, &cancel));
    // Paused time goes on only when nothing else can: the program is stuck in a write by then.
    let stuck = tokio::time::timeout(Duration::from_secs(1), &mut run).await;
    assert!(stuck.is_err());
    assert!((1..=32).contains(&script.accepted()), "{} chunks are held", script.accepted());
    let listen = async {
        let mut heard = 0;
        while receiver.recv().await.is_some() {
            heard += 1;
        }
        heard
    };
    let (outcome, heard) = tokio::join!(run, listen);
    assert!(outcome.unwrap().is_success());
    assert_eq!(heard, 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_ends_although_its_listener_stalls() {
    let script = script(vec![stdout("a"); 1_000], exits(0));
    let (sender, mut receiver) = mpsc::channel(1);
    let (runner, cancel) = (runner(&script), CancellationToken::new());
    cancel.cancel();
    let outcome = runner.stream(&spec(), sender, &cancel).await.unwrap();
    assert!(outcome.is_success());
    assert!(receiver.recv().await.is_some(), "what it had room for is kept");
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_is_not_taken_for_a_stuck_sandbox() {
    let script = script(vec![stdout("a"); 40], exits(0));
    let (sender, mut receiver) = mpsc::channel(1);
    let (runner, cancel) = (runner(&script), CancellationToken::new());
    let listen = async {
        let mut heard = 0;
        loop {
            // As long as a store may be away.
            tokio::time::sleep(Duration::from_secs(60)).await;
            match receiver.recv().await {
                Some(_) => heard += 1,
                None => return heard,
            }
        }
    };
    let spec = spec();
    let (outcome, heard) = tokio::join!(runner.stream(&spec, sender, &cancel), listen);
    assert!(outcome.unwrap().is_success());
    assert_eq!(heard, 40);
}

#[tokio::test]
async fn what_was_accepted_elsewhere_runs_under_the_lower_limits() {
    let script = script(Vec::new(), exits(0));
    let own = Ceiling { source_chars: 1, ..Ceiling::default() };
    let own = Ceiling { run: Limits { wall_time: Duration::from_secs(2), ..own.run }, ..own };
    let runner = runner(&script).ceiling(own);
    let asked = LimitRequest { wall_time_ms: Some(9_000), processes: Some(3), ..LimitRequest::default() };
    let spec = spec().limits(asked);
    let (sender, _receiver) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let refused = runner.stream(&spec, sender.clone(), &cancel).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    runner.stream_accepted(&spec, sender, &cancel).await.unwrap();
    let limits = script.only_program().run.limits;
    assert_eq!((limits.wall_time, limits.processes), (Duration::from_secs(2), 3));
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_never_ends_is_given_up() {
    let script = script(vec![stdout("early")], End::Never);
    let begun = tokio::time::Instant::now();
    let error = runner(&script).run(&spec()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("the sandbox didn't end"), "{error}");
    assert!(begun.elapsed() > Limits::RUN.wall_time, "not before the program's own limit");
}

#[tokio::test]
async fn a_version_is_the_first_line_of_either_stream() {
    for writes in [vec![stdout("Lang 1.2.3\nmore\n")], vec![stderr("\n  Lang 1."), stderr("2.3 \r\n")]] {
        let script = script(writes, exits(0));
        let language = Languages::builtin().get("python").unwrap().clone();
        let version = runner(&script).version(&language).await.unwrap();
        assert_eq!(version, "Lang 1.2.3");
        let program = script.only_program();
        assert_eq!(program.run.command, language.version);
        assert!(program.files.is_empty() && program.compile.is_none());
    }
}

#[tokio::test]
async fn a_language_that_tells_no_version_is_unsupported() {
    let language = Languages::builtin().get("python").unwrap().clone();
    for (script, word) in [
        (script(vec![stderr("no such option")], exits(2)), "no such option"),
        (script(Vec::new(), exits(0)), "python"),
        (script(vec![stdout(" \n")], exits(0)), "python"),
        (script(Vec::new(), End::InError(ErrorKind::Unsupported)), "the sandbox broke"),
    ] {
        let error = runner(&script).version(&language).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(word), "{error}");
    }
    let mute = Language::new("mute", "main", ["run"]);
    let error = runner(&script(Vec::new(), exits(0))).version(&mute).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("mute"), "{error}");
}

/// `bytes` in pieces that end at `cuts`.
fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Output> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| stdout(Bytes::copy_from_slice(&bytes[cut[0]..cut[1]]))).collect()
}

fn passed_on(writes: Vec<Output>, limit: usize) -> (bool, Vec<Output>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (outcome, chunks) = runtime.block_on(chunks(&script(writes, exits(0)), &up_to(limit)));
    (outcome.stdout_truncated, chunks)
}

fn joined(chunks: &[Output]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()
}

proptest! {
    #[test]
    fn characters_are_never_cut_whatever_the_chunks_and_the_limit(
        text in "[aé漢🦀]{0,24}",
        cuts in vec(any::<usize>(), 0..16),
        limit in 1..100_usize,
    ) {
        let (truncated, chunks) = passed_on(pieces(text.as_bytes(), &cuts), limit);
        for chunk in &chunks {
            prop_assert!(!chunk.bytes.is_empty());
            prop_assert!(std::str::from_utf8(&chunk.bytes).is_ok(), "cut: {:?}", chunk.bytes);
        }
        prop_assert_eq!(truncated, text.len() > limit);
        let kept = text.floor_char_boundary(limit);
        prop_assert_eq!(joined(&chunks), &text.as_bytes()[..kept]);
    }

    #[test]
    fn any_bytes_are_passed_on_as_they_are(
        bytes in vec(prop_oneof![Just(0xF0_u8), Just(0x9F), Just(0xE6), Just(0xC3), Just(0x80), any::<u8>()], 0..48),
        cuts in vec(any::<usize>(), 0..16),
        limit in 1..64_usize,
    ) {
        let (truncated, chunks) = passed_on(pieces(&bytes, &cuts), limit);
        let kept = joined(&chunks);
        prop_assert_eq!(truncated, bytes.len() > limit);
        prop_assert!(bytes.starts_with(&kept) && kept.len() <= limit);
        let lost = bytes.len().min(limit) - kept.len();
        prop_assert!(lost <= if truncated { 3 } else { 0 }, "{lost} bytes are lost");
    }
}
