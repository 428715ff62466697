//! Test cases: in requests, and what became of them in records.

use std::time::Duration;

use livecode::{CaseResult, Compare, Grading, Outcome, TestCase, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::openapi;

/// A case of a request.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = TestCase)]
pub(crate) struct TestMember {
    /// What the program reads from its standard input.
    #[serde(default)]
    stdin: String,
    /// What it has to write to its standard output.
    expected_stdout: String,
    /// What it's worth; 1 where it isn't said.
    points: Option<u32>,
    /// Whether nothing of what the program writes is kept: it may write what it reads.
    #[serde(default)]
    hidden: bool,
}

/// What a request asks: nothing without `tests`, whatever else it says.
pub(crate) fn grading(
    tests: Option<Vec<TestMember>>,
    compare: Option<Compare>,
    stop_at_first_failure: Option<bool>,
) -> Option<Grading> {
    let case = |test: TestMember| TestCase {
        hidden: test.hidden,
        ..TestCase::new(test.stdin, test.expected_stdout).points(test.points.unwrap_or(1))
    };
    Some(Grading {
        tests: tests?.into_iter().map(case).collect(),
        compare: compare.unwrap_or_default(),
        stop_at_first_failure: stop_at_first_failure.unwrap_or(false),
    })
}

/// What a record says of test cases: all null until they were run, and where there were none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Grade {
    tests: Option<Vec<Case>>,
    points: Option<u64>,
    max_points: Option<u64>,
}

/// What became of one of them, in the order in which they were asked. All members are always there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TestResult)]
struct Case {
    #[schema(value_type = openapi::Verdict)]
    verdict: Verdict,
    points: u32,
    max_points: u32,
    exit_code: Option<i32>,
    signal: Option<i32>,
    error_message: Option<String>,
    execution_time_ms: Option<u64>,
    cpu_time_ms: Option<u64>,
    memory_peak_bytes: Option<u64>,
    stdout: String,
    stderr: String,
    stdout_truncated: bool,
    stderr_truncated: bool,
}

impl From<&CaseResult> for Case {
    fn from(case: &CaseResult) -> Self {
        let ended = case.termination.as_ref();
        let millis =
            |duration: Duration| ended.map(|_| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        Self {
            verdict: case.verdict,
            points: case.points,
            max_points: case.max_points,
            exit_code: ended.and_then(|ended| ended.exit_code()),
            signal: ended.and_then(|ended| ended.signal()),
            error_message: ended.filter(|ended| ended.error_type().is_some()).map(ToString::to_string),
            execution_time_ms: millis(case.usage.wall_time),
            cpu_time_ms: millis(case.usage.cpu_time),
            memory_peak_bytes: case.usage.memory_peak_bytes,
            stdout: case.stdout.text.clone(),
            stderr: case.stderr.text.clone(),
            stdout_truncated: case.stdout.truncated,
            stderr_truncated: case.stderr.truncated,
        }
    }
}

impl From<Option<&Outcome>> for Grade {
    fn from(outcome: Option<&Outcome>) -> Self {
        let graded = outcome.filter(|outcome| !outcome.cases.is_empty());
        Self {
            tests: graded.map(|outcome| outcome.cases.iter().map(Case::from).collect()),
            points: graded.map(Outcome::points),
            max_points: graded.map(Outcome::max_points),
        }
    }
}

impl Grade {
    /// How much output it has in it.
    pub(crate) fn output_bytes(&self) -> usize {
        self.tests.iter().flatten().map(|case| case.stdout.len() + case.stderr.len()).sum()
    }
}
