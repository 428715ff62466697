//! What a runner makes of test cases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use livecode_core::{
    Artifact, Capabilities, CaseResult, CompileCache, Error, ErrorKind, ExecutionSpec, Grading, Io,
    LimitRequest, Outcome, Output, Program, Result, Reuse, Run, Runner, Sandbox, Stdio, Termination,
    TestCase, Usage, Verdict,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a program does in one of its runs.
#[derive(Clone, Debug)]
struct Answer {
    writes: Vec<Output>,
    /// None: it goes on until it's cancelled.
    ends: Option<Termination>,
    usage: Usage,
    /// Asks for the end of the whole before this one ends.
    asks: Option<CancellationToken>,
}

/// A program that does the next thing in each run, whose compiler leaves what later runs can begin from or doesn't.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    given: Mutex<Vec<(Program, Bytes)>>,
    keeps: bool,
}

#[async_trait::async_trait]
impl Sandbox for Script {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "script".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        self.given.lock().unwrap().push((program.clone(), io.stdin));
        let answer = self.answers.lock().unwrap().pop_front();
        let Some(answer) = answer else {
            return Err(Error::unavailable("the sandbox is away"));
        };
        for write in answer.writes {
            io.output.send(write).await.map_err(|_| Error::internal("the runner hung up"))?;
        }
        if let Some(asks) = answer.asks {
            asks.cancel();
        }
        let termination = match answer.ends {
            Some(termination) => termination,
            None => {
                cancel.cancelled().await;
                Termination::Cancelled
            }
        };
        let keeps = self.keeps && matches!(program.reuse, Reuse::Keep { .. });
        Ok(Outcome {
            usage: answer.usage,
            compile_output: program.compile.as_ref().map(|_| "a warning".into()),
            artifact: keeps.then(|| Artifact::new("compiled")),
            ..Outcome::new(termination)
        })
    }

    async fn compiler(&self, _: &Program) -> Result<Option<String>> {
        Ok(self.keeps.then(|| "cc".into()))
    }
}

fn ends(stdout: &str, termination: Termination) -> Answer {
    let writes = vec![Output::new(Stdio::Stdout, stdout.to_owned())];
    Answer { writes, ends: Some(termination), usage: Usage::default(), asks: None }
}

fn says(stdout: &str) -> Answer {
    ends(stdout, Termination::Exited { code: 0 })
}

fn script(answers: impl IntoIterator<Item = Answer>) -> Arc<Script> {
    Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), ..Script::default() })
}

fn tests(count: usize) -> Vec<TestCase> {
    (0..count).map(|n| TestCase::new(format!("in {n}"), format!("out {n}\n")).points(1 << n)).collect()
}

fn spec(grading: Grading) -> ExecutionSpec {
    ExecutionSpec::new("python", "print(1)").grading(grading)
}

async fn grade(script: &Arc<Script>, grading: Grading) -> Run {
    Runner::shared(script.clone()).run(&spec(grading)).await.unwrap()
}

fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    outcome.cases.iter().map(|case| case.verdict).collect()
}

#[tokio::test]
async fn each_case_has_its_input_its_verdict_and_its_points() {
    let script = script([says("out 0"), says("something else"), says("out 2\n\n")]);
    let run = grade(&script, Grading::new(tests(3))).await;
    assert_eq!(verdicts(&run.outcome), [Verdict::Accepted, Verdict::WrongAnswer, Verdict::Accepted]);
    assert_eq!(run.outcome.termination, Termination::Graded);
    let points: Vec<_> = run.outcome.cases.iter().map(|case| (case.points, case.max_points)).collect();
    assert_eq!(points, [(1, 1), (0, 2), (4, 4)]);
    assert_eq!((run.outcome.points(), run.outcome.max_points()), (5, 7));
    let given = script.given.lock().unwrap();
    let inputs: Vec<_> = given.iter().map(|(_, stdin)| stdin.clone()).collect();
    assert_eq!(inputs, ["in 0", "in 1", "in 2"]);
    assert_eq!((&*run.captured.stdout, &*run.captured.stderr), (&b""[..], &b""[..]), "it's many programs'");
}

#[tokio::test]
async fn every_end_of_a_program_has_its_verdict() {
    let second = Duration::from_secs(1);
    let ends_so = [
        (Termination::Exited { code: 0 }, Verdict::Accepted),
        (Termination::Exited { code: 1 }, Verdict::RuntimeError),
        (Termination::Signaled { signal: 11 }, Verdict::RuntimeError),
        (Termination::ProcessesExceeded { limit: 1 }, Verdict::RuntimeError),
        (Termination::WallTimeExceeded { limit: second }, Verdict::TimeLimitExceeded),
        (Termination::CpuTimeExceeded { limit: second }, Verdict::TimeLimitExceeded),
        (Termination::MemoryExceeded { limit: 1 }, Verdict::MemoryLimitExceeded),
        (Termination::FilesExceeded { bytes: 1, files: 1 }, Verdict::OutputLimitExceeded),
    ];
    // Each with the right answer.
    let script = script(ends_so.iter().map(|(termination, _)| ends("right", termination.clone())));
    let outcome = grade(&script, Grading::new(vec![TestCase::new("", "right"); ends_so.len()])).await.outcome;
    for (case, (termination, verdict)) in outcome.cases.iter().zip(ends_so) {
        assert_eq!((case.verdict, &case.termination), (verdict, &Some(termination)));
    }
    assert_eq!((outcome.points(), outcome.termination), (1, Termination::Graded));
}

#[tokio::test]
async fn a_flood_of_output_is_ended_and_exceeds_the_limit() {
    let flood = Answer { ends: None, ..says("12345678901") };
    let script = script([flood, says("1234567890")]);
    let tests = vec![TestCase::new("", "1234567890"); 2];
    let limits = LimitRequest { output_bytes: Some(10), ..LimitRequest::default() };
    let runner = Runner::shared(script.clone());
    let outcome = runner.run(&spec(Grading::new(tests)).limits(limits)).await.unwrap().outcome;
    assert_eq!(verdicts(&outcome), [Verdict::OutputLimitExceeded, Verdict::Accepted]);
    assert_eq!(outcome.cases[0].termination, Some(Termination::OutputExceeded { limit: 10 }));
}

#[tokio::test]
async fn the_cases_after_the_first_failure_are_skipped_where_that_is_asked_for() {
    let script = script([says("out 0"), says("?")]);
    let outcome =
        grade(&script, Grading { stop_at_first_failure: true, ..Grading::new(tests(4)) }).await.outcome;
    let expected = [Verdict::Accepted, Verdict::WrongAnswer, Verdict::Skipped, Verdict::Skipped];
    assert_eq!(verdicts(&outcome), expected);
    assert_eq!((outcome.points(), outcome.max_points()), (1, 15));
    assert_eq!((&outcome.cases[2].termination, outcome.termination), (&None, Termination::Graded));
    assert_eq!(script.given.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_used_is_the_sum_of_times_and_the_most_memory() {
    let used = |millis, memory_peak_bytes| Answer {
        usage: Usage {
            wall_time: Duration::from_millis(millis),
            cpu_time: Duration::from_millis(millis / 2),
            memory_peak_bytes,
        },
        ..says("")
    };
    let script = script([used(10, Some(5)), used(30, Some(9)), used(2, None)]);
    let outcome = grade(&script, Grading::new(tests(3))).await.outcome;
    let (wall_time, cpu_time) = (Duration::from_millis(42), Duration::from_millis(21));
    assert_eq!(outcome.usage, Usage { wall_time, cpu_time, memory_peak_bytes: Some(9) });
    assert_eq!(outcome.cases[1].usage.wall_time, Duration::from_millis(30));
}

#[tokio::test]
async fn a_program_is_compiled_once_where_the_sandbox_can_keep_that() {
    for keeps in [true, false] {
        let answers = [says("out 0"), says("out 1"), says("out 2")].into_iter().collect();
        let script = Arc::new(Script { answers: Mutex::new(answers), keeps, ..Script::default() });
        let spec = ExecutionSpec::new("c", "int main;").grading(Grading::new(tests(3)));
        let outcome = Runner::shared(script.clone()).run(&spec).await.unwrap().outcome;
        assert_eq!(verdicts(&outcome), [Verdict::Accepted; 3]);
        assert_eq!((outcome.compile_output.as_deref(), outcome.artifact), (Some("a warning"), None));
        let given = script.given.lock().unwrap();
        let compiles = given.iter().filter(|(program, _)| program.compile.is_some()).count();
        assert_eq!(compiles, if keeps { 1 } else { 3 });
        if keeps {
            assert_eq!(given[2].0.reuse, Reuse::Begin(Artifact::new("compiled")));
        }
    }
}

#[tokio::test]
async fn a_compile_cache_serves_cases_and_plain_runs_alike() {
    let answers = (0..6).map(|_| says("out 0")).collect();
    let script = Arc::new(Script { answers: Mutex::new(answers), keeps: true, ..Script::default() });
    let cache = Arc::new(CompileCache::shared(script.clone()));
    let runner = Runner::shared(cache.clone());
    let plain = ExecutionSpec::new("c", "int main;");
    let graded = plain.clone().grading(Grading::new(tests(2)));
    for spec in [&graded, &plain, &graded, &plain] {
        let outcome = runner.run(spec).await.unwrap().outcome;
        assert_eq!((outcome.compile_output.as_deref(), outcome.artifact), (Some("a warning"), None));
    }
    let given = script.given.lock().unwrap();
    assert_eq!(given.len(), 6);
    assert_eq!(given.iter().filter(|(program, _)| program.compile.is_some()).count(), 1);
    assert_eq!((cache.stats().misses, cache.stats().hits), (1, 3));
}

#[tokio::test]
async fn a_compile_error_ends_it_with_every_case_skipped() {
    let failed = Termination::CompileFailed { message: "the compiler exited with status 1".into() };
    let script = script([ends("", failed.clone())]);
    let spec = ExecutionSpec::new("c", "int main;").grading(Grading::new(tests(3)));
    let outcome = Runner::shared(script.clone()).run(&spec).await.unwrap().outcome;
    assert_eq!((&outcome.termination, outcome.compile_output.as_deref()), (&failed, Some("a warning")));
    assert_eq!(verdicts(&outcome), [Verdict::Skipped; 3]);
    assert_eq!((outcome.points(), outcome.max_points()), (0, 7));
}

#[tokio::test]
async fn a_cancellation_ends_it_in_a_case_and_between_cases() {
    for (ends, verdict) in [
        (None, Verdict::Skipped),
        // It came to an end by itself: its result stands, and the next one doesn't begin.
        (Some(Termination::Exited { code: 0 }), Verdict::Accepted),
    ] {
        let cancel = CancellationToken::new();
        let cancelled = Answer { ends, asks: Some(cancel.clone()), ..says("out 1") };
        let script = script([says("out 0"), cancelled]);
        let (sender, mut output) = mpsc::channel(1);
        let runner = Runner::shared(script);
        let outcome = runner.stream(&spec(Grading::new(tests(3))), sender, &cancel).await.unwrap();
        assert_eq!(verdicts(&outcome), [Verdict::Accepted, verdict, Verdict::Skipped]);
        assert_eq!(outcome.termination, Termination::Cancelled);
        assert_eq!(output.recv().await, None, "nothing was sent");
    }
}

#[tokio::test]
async fn a_cancellation_after_the_last_case_is_too_late() {
    let cancel = CancellationToken::new();
    let runner = Runner::shared(script([Answer { asks: Some(cancel.clone()), ..says("out 0") }]));
    let (sender, _output) = mpsc::channel(1);
    let outcome = runner.stream(&spec(Grading::new(tests(1))), sender, &cancel).await.unwrap();
    assert_eq!((verdicts(&outcome), outcome.termination), (vec![Verdict::Accepted], Termination::Graded));
}

#[tokio::test]
async fn our_own_failure_in_a_case_is_an_error() {
    let script = script([says("out 0")]);
    let error = Runner::shared(script).run(&spec(Grading::new(tests(2)))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_excerpt_of_what_was_written_is_kept_between_characters() {
    let long = format!("{}é", "a".repeat(CaseResult::MAX_EXCERPT_BYTES - 1));
    let mut wrong = says(&long);
    wrong.writes.push(Output::new(Stdio::Stderr, &b"trace\xff\0"[..]));
    let script = script([wrong, says("out 1")]);
    let outcome = grade(&script, Grading::new(tests(2))).await.outcome;
    let (first, second) = (&outcome.cases[0], &outcome.cases[1]);
    assert_eq!(first.stdout.text, long.trim_end_matches('é'));
    assert!(first.stdout.truncated);
    assert_eq!((&*first.stderr.text, first.stderr.truncated), ("trace\u{FFFD}\0", false));
    assert_eq!((&*second.stdout.text, second.stdout.truncated), ("out 1", false));
}

#[tokio::test]
async fn all_excerpts_together_are_bounded_and_failures_come_first() {
    let full = "x".repeat(CaseResult::MAX_EXCERPT_BYTES);
    let script = script((0..40).map(|n| says(&if n < 38 { full.clone() } else { full.replace('x', "y") })));
    let tests: Vec<_> = (0..40).map(|_| TestCase::new("", full.clone())).collect();
    let outcome = grade(&script, Grading::new(tests)).await.outcome;
    let kept: usize = outcome.cases.iter().map(|case| case.stdout.text.len()).sum();
    assert_eq!(kept, CaseResult::MAX_EXCERPTS_BYTES);
    assert!(
        outcome.cases[38..].iter().all(|case| !case.stdout.truncated && case.stdout.text.starts_with('y'))
    );
    assert!(outcome.cases[37].stdout.truncated && outcome.cases[37].stdout.text.is_empty());
}

#[tokio::test]
async fn nothing_is_kept_of_what_a_hidden_case_writes() {
    let mut secret = says("in 0");
    secret.writes.push(Output::new(Stdio::Stderr, "in 0"));
    let tests = vec![TestCase::new("in 0", "secret").hidden()];
    let outcome = grade(&script([secret]), Grading::new(tests)).await.outcome;
    let case = &outcome.cases[0];
    assert_eq!(case.verdict, Verdict::WrongAnswer);
    assert_eq!((&*case.stdout.text, &*case.stderr.text), ("", ""));
    assert!(case.stdout.truncated && case.stderr.truncated, "there was more than is shown");
}

#[tokio::test]
async fn the_expected_answer_is_neither_in_the_program_nor_in_the_outcome() {
    let script = script([says("?"), says("?")]);
    let tests = vec![TestCase::new("", "hunter2"), TestCase::new("", "hunter2").hidden()];
    let run = grade(&script, Grading::new(tests)).await;
    assert!(!serde_json::to_string(&run.outcome).unwrap().contains("hunter2"));
    assert!(!format!("{:?}", script.given.lock().unwrap()).contains("hunter2"));
}
