//! One program, many inputs: each run of it is as fresh as the first, whether its compile step's work is used again or not.

use std::sync::Arc;

use super::{millis, programs::compiled, python};
use crate::{CompileCache, ExecutionSpec, Grading, Outcome, Runner, Sandbox, Termination, TestCase, Verdict};

/// Does what its input says, and tells whether an earlier run has left anything.
const OBEYS: &str = "
import os, sys, time
line = input()
print(line, os.path.exists('/work/trace'), os.path.exists('/tmp/trace'), flush=True)
open('/work/trace', 'w').close(); open('/tmp/trace', 'w').close()
if line == 'fails': sys.exit(3)
if line == 'crashes': os.abort()
if line == 'sleeps': time.sleep(60)
if line == 'floods':
    while True: print('x' * 65536)
";

/// Each line is the input of a case, and what is to become of it.
fn grading(lines: &[(&str, Verdict)]) -> Grading {
    let case = |(line, verdict): &(&str, Verdict)| {
        let other = if *verdict == Verdict::WrongAnswer { "?" } else { "" };
        TestCase::new(format!("{line}\n"), format!("{line} False False{other}\n"))
    };
    Grading::new(lines.iter().map(case).collect::<Vec<_>>())
}

fn judged(outcome: &Outcome, lines: &[(&str, Verdict)]) {
    let verdicts = outcome.cases.iter().map(|case| case.verdict);
    assert!(verdicts.eq(lines.iter().map(|(_, verdict)| *verdict)), "{outcome:#?}");
    assert_eq!(outcome.termination, Termination::Graded);
    for (case, (line, _)) in outcome.cases.iter().zip(lines) {
        assert!(case.stdout.text.starts_with(&format!("{line} False False\n")), "{outcome:#?}");
        assert!(case.usage.wall_time <= outcome.usage.wall_time);
    }
}

pub async fn test_cases_are_runs_of_their_own<S: Sandbox>(sandbox: Arc<S>) {
    let lines = [
        ("adds", Verdict::Accepted),
        ("sleeps", Verdict::TimeLimitExceeded),
        ("floods", Verdict::OutputLimitExceeded),
        ("adds", Verdict::Accepted),
    ];
    let spec = python(OBEYS).limits(millis(5_000)).grading(grading(&lines));
    judged(&Runner::shared(sandbox).run(&spec).await.unwrap().outcome, &lines);
}

pub async fn test_cases_of_a_compiled_program_are_runs_of_their_own<S: Sandbox>(sandbox: Arc<S>) {
    let lines = [
        ("fails", Verdict::RuntimeError),
        ("crashes", Verdict::RuntimeError),
        ("adds", Verdict::Accepted),
        ("adds", Verdict::WrongAnswer),
    ];
    let compiler = "
import os, shutil
os.mkdir('out'); shutil.copy('main.src', 'out/program.py')
print(os.listdir('/tmp'), 'compiled')
";
    let (plain, spec) = compiled(sandbox.clone(), compiler);
    let (cached, _) = compiled(Arc::new(CompileCache::shared(sandbox)), compiler);
    let spec = ExecutionSpec { source_code: OBEYS.into(), ..spec }.grading(grading(&lines));
    for runner in [plain, cached.clone(), cached] {
        let outcome = runner.run(&spec).await.unwrap().outcome;
        judged(&outcome, &lines);
        let ends = [&outcome.cases[0].termination, &outcome.cases[1].termination];
        assert_eq!(ends[0], &Some(Termination::Exited { code: 3 }));
        assert_eq!(ends[1], &Some(Termination::Signaled { signal: 6 }));
        assert_eq!(outcome.compile_output.as_deref(), Some("[] compiled\n"));
    }
}
