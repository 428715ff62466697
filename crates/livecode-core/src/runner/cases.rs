//! One program, many inputs: each test case is a run of its own, one after another.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Admission, OUTPUT_CHUNKS, Overflow, Runner, captured};
use crate::{
    Captured, CaseResult, Grading, Outcome, Program, Result, Reuse, Termination, TestCase, Verdict,
    compile_cache::MAX_ARTIFACT_BYTES,
};

impl Runner {
    /// Runs the program for each case until the last one, a compile error, a cancellation or, where it's asked for, the first
    /// case that isn't accepted.
    pub(super) async fn grade(
        &self,
        mut program: Program,
        grading: &Grading,
        cancel: &CancellationToken,
        admission: Option<&Admission>,
    ) -> Result<Outcome> {
        // No answer is right that is too long: there's no use in waiting for the rest.
        let runner = Self { overflow: Overflow::Terminate, ..self.clone() };
        if program.compile.is_some() {
            program.reuse = Reuse::Keep { max_bytes: MAX_ARTIFACT_BYTES };
        }
        let mut graded = Outcome::new(Termination::Graded);
        let mut stopped = false;
        for test in &grading.tests {
            if !stopped && cancel.is_cancelled() {
                graded.termination = Termination::Cancelled;
                stopped = true;
            }
            if stopped {
                graded.cases.push(CaseResult::skipped(test));
                continue;
            }
            let (outcome, captured) = runner.case(&program, test, cancel, admission).await?;
            // The next ones begin where the compiler ended. A sandbox that can't do that compiles for each.
            if let Some(artifact) = outcome.artifact {
                program.compile = None;
                program.reuse = Reuse::Begin(artifact);
            }
            graded.compile_output = outcome.compile_output.or(graded.compile_output);
            graded.unprotected = outcome.unprotected;
            if let ended @ (Termination::CompileFailed { .. } | Termination::Cancelled) = outcome.termination
            {
                graded.termination = ended;
                graded.cases.push(CaseResult::skipped(test));
                stopped = true;
                continue;
            }
            let used = &mut graded.usage;
            used.wall_time = used.wall_time.saturating_add(outcome.usage.wall_time);
            used.cpu_time = used.cpu_time.saturating_add(outcome.usage.cpu_time);
            used.memory_peak_bytes = used.memory_peak_bytes.max(outcome.usage.memory_peak_bytes);
            let Captured { stdout, stderr } = captured;
            let case = CaseResult::judge(
                test,
                &grading.compare,
                outcome.termination,
                outcome.usage,
                &stdout,
                &stderr,
            );
            stopped = grading.stop_at_first_failure && case.verdict != Verdict::Accepted;
            graded.cases.push(case);
        }
        CaseResult::bound_excerpts(&mut graded.cases);
        Ok(graded)
    }

    async fn case(
        &self,
        program: &Program,
        test: &TestCase,
        cancel: &CancellationToken,
        admission: Option<&Admission>,
    ) -> Result<(Outcome, Captured)> {
        let (sender, receiver) = mpsc::channel(OUTPUT_CHUNKS);
        let run = self.contain(program, test.stdin.clone(), None, sender, cancel, admission);
        let (outcome, captured) = tokio::join!(run, captured(receiver));
        Ok((outcome?, captured))
    }
}
