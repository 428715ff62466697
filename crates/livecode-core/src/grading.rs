//! Tests as data: what a program is given, what it's to answer, and what became of each case.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Termination, Usage, spec::base64_bytes};

/// Test cases for a program, and how its answers are compared. Each case is a run of its own, under the limits of the run step,
/// one after another; the program is compiled once where the sandbox can keep what the compiler left.
///
/// ```
/// use livecode_core::{Compare, ExecutionSpec, Grading, TestCase};
///
/// let tests = vec![TestCase::new("1 2\n", "3\n"), TestCase::new("20 22\n", "42\n").points(5)];
/// let grading = Grading { compare: Compare::Exact, ..Grading::new(tests) };
/// let spec = ExecutionSpec::new("python", "print(sum(map(int, input().split())))").grading(grading);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grading {
    /// 1 to [`Grading::MAX_TESTS`] cases, in the order in which they're run.
    pub tests: Vec<TestCase>,
    /// When an answer is right.
    #[serde(default)]
    pub compare: Compare,
    /// Whether the cases after the first that isn't accepted are skipped.
    #[serde(default)]
    pub stop_at_first_failure: bool,
}

impl Grading {
    /// The most cases of one run.
    pub const MAX_TESTS: usize = 100;

    /// These cases, all of them run, their lines compared as [`Compare::TrimmedLines`] says.
    pub fn new(tests: impl Into<Vec<TestCase>>) -> Self {
        Self { tests: tests.into(), compare: Compare::default(), stop_at_first_failure: false }
    }

    /// What all cases hold.
    pub(crate) fn bytes(&self) -> usize {
        self.tests.iter().map(|test| test.stdin.len() + test.expected_stdout.len()).sum()
    }

    /// Refuses what can't be judged; a program may write `output_bytes` to a stream.
    pub(crate) fn check(&self, output_bytes: u64) -> Result<()> {
        if self.tests.is_empty() {
            return Err(Error::invalid(
                "tests is empty: send a case, or leave tests out to run the program once",
            ));
        }
        if self.tests.len() > Self::MAX_TESTS {
            return Err(Error::invalid(format!(
                "tests has {} cases, at most {} are accepted",
                self.tests.len(),
                Self::MAX_TESTS
            )));
        }
        for (at, test) in self.tests.iter().enumerate() {
            // White space at its end need not be written.
            let bytes = test.expected_stdout.trim_ascii_end().len();
            if bytes as u64 > output_bytes {
                return Err(Error::invalid(format!(
                    "tests[{at}].expected_stdout has {bytes} bytes, limits.output_bytes allows a program {output_bytes}"
                )));
            }
        }
        self.compare.check()
    }
}

/// One case: what the program reads, and what it's to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCase {
    /// What the program reads from its standard input, which then ends.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "base64_bytes")]
    pub stdin: Bytes,
    /// What it's to write to its standard output. No program ever sees it, and it's in no record.
    #[serde(with = "base64_bytes")]
    pub expected_stdout: Bytes,
    /// What it's worth.
    #[serde(default = "one")]
    pub points: u32,
    /// Whether nothing is kept of what the program writes: it may be its input, for whoever reads the result. The verdict, the
    /// exit status and what was used are told all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

fn one() -> u32 {
    1
}

impl TestCase {
    /// A case worth one point.
    pub fn new(stdin: impl Into<Bytes>, expected_stdout: impl Into<Bytes>) -> Self {
        Self { stdin: stdin.into(), expected_stdout: expected_stdout.into(), points: 1, hidden: false }
    }

    /// The same, worth so many points.
    #[must_use]
    pub fn points(mut self, points: u32) -> Self {
        self.points = points;
        self
    }

    /// The same, of which no output is kept.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// When what a program wrote to its standard output is the expected answer. Letters in upper and in lower case differ.
///
/// White space is space, tab, carriage return, form feed and the end of a line (`\n`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compare {
    /// Every byte is the same.
    Exact,
    /// The lines are the same but for white space at the end of each, and for lines at the end that are empty or white space. So
    /// the last line may lack its `\n`, and `\r\n` ends a line as `\n` does. What online judges mostly mean by "the same".
    #[default]
    TrimmedLines,
    /// The same words in the same order, whatever white space is between, before and after them.
    Tokens,
    /// As [`Compare::Tokens`], but two numbers are the same also where they differ by no more than `absolute`, or by no more than
    /// `relative` times the expected one. A number is what Rust reads as a finite `f64`: `1`, `-.5`, `+1e-6`. Two integers of up
    /// to 38 digits are subtracted as such, everything else is reckoned as `f64`.
    Tolerance {
        /// At least 0; one of the two is more, where it's asked for.
        #[serde(default)]
        absolute: f64,
        /// At least 0; a part of the expected number, so 0.01 is a hundredth.
        #[serde(default)]
        relative: f64,
    },
}

impl Compare {
    /// Whether `actual` is as good as `expected`.
    ///
    /// ```
    /// use livecode_core::Compare;
    ///
    /// assert!(!Compare::Exact.accepts(b"1 2\n", b"1 2"));
    /// assert!(Compare::TrimmedLines.accepts(b"1 2\n", b"1 2 \r\n\n"));
    /// assert!(!Compare::TrimmedLines.accepts(b"1 2", b"1  2"));
    /// assert!(Compare::Tokens.accepts(b"1 2", b"1\n2\n"));
    /// assert!(Compare::Tolerance { absolute: 1e-6, relative: 0.0 }.accepts(b"x 0.5", b"x 0.4999999"));
    /// ```
    pub fn accepts(&self, expected: &[u8], actual: &[u8]) -> bool {
        match *self {
            Self::Exact => expected == actual,
            Self::TrimmedLines => lines(expected).eq(lines(actual)),
            Self::Tokens => tokens(expected).eq(tokens(actual)),
            Self::Tolerance { absolute, relative } => {
                let (mut expected, mut actual) = (tokens(expected), tokens(actual));
                loop {
                    match (expected.next(), actual.next()) {
                        (None, None) => return true,
                        (Some(expected), Some(actual)) if is_close(expected, actual, absolute, relative) => {}
                        (_, _) => return false,
                    }
                }
            }
        }
    }

    fn check(&self) -> Result<()> {
        let Self::Tolerance { absolute, relative } = *self else {
            return Ok(());
        };
        if absolute == 0.0 && relative == 0.0 {
            return Err(Error::invalid(
                "compare.tolerance has neither an absolute nor a relative above 0: give one, or compare tokens",
            ));
        }
        for (name, value) in [("absolute", absolute), ("relative", relative)] {
            if !value.is_finite() || value < 0.0 {
                return Err(Error::invalid(format!(
                    "compare.tolerance.{name} is {value}: it is a finite number of at least 0"
                )));
            }
        }
        Ok(())
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.trim_ascii_end().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
}

fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty())
}

fn is_close(expected: &[u8], actual: &[u8], absolute: f64, relative: f64) -> bool {
    if expected == actual {
        return true;
    }
    let (Some(number), Some(other)) = (number(expected), number(actual)) else {
        return false;
    };
    // Beyond 2^53 two integers can be one `f64`.
    let difference = match (integer(expected), integer(actual)) {
        (Some(expected), Some(actual)) => expected.abs_diff(actual) as f64,
        (_, _) => (number - other).abs(),
    };
    difference <= absolute || difference <= relative * number.abs()
}

fn number(token: &[u8]) -> Option<f64> {
    // What is infinite or no number is a word like any other.
    std::str::from_utf8(token).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

fn integer(token: &[u8]) -> Option<i128> {
    std::str::from_utf8(token).ok()?.parse().ok()
}

/// What became of a test case, by the names of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It exited with status 0 and gave the expected answer.
    Accepted,
    /// It exited with status 0 and gave another.
    WrongAnswer,
    /// It used up its wall or CPU time.
    TimeLimitExceeded,
    /// It needed more memory than it may.
    MemoryLimitExceeded,
    /// It wrote more than it may: to standard output or standard error, or it failed for files that were full.
    OutputLimitExceeded,
    /// It exited with another status, whatever it had answered, was killed by a signal, or needed too many processes.
    RuntimeError,
    /// It wasn't run to an end: an earlier case wasn't accepted and the rest was not to be run, the program didn't compile, or the
    /// execution was cancelled.
    Skipped,
}

impl Verdict {
    fn of(termination: &Termination, is_right: impl FnOnce() -> bool) -> Self {
        match termination {
            Termination::Exited { code: 0 } if is_right() => Self::Accepted,
            Termination::Exited { code: 0 } => Self::WrongAnswer,
            Termination::Exited { .. }
            | Termination::Signaled { .. }
            | Termination::ProcessesExceeded { .. } => Self::RuntimeError,
            Termination::WallTimeExceeded { .. } | Termination::CpuTimeExceeded { .. } => {
                Self::TimeLimitExceeded
            }
            Termination::MemoryExceeded { .. } => Self::MemoryLimitExceeded,
            Termination::FilesExceeded { .. } | Termination::OutputExceeded { .. } => {
                Self::OutputLimitExceeded
            }
            Termination::CompileFailed { .. } | Termination::Cancelled | Termination::Graded => Self::Skipped,
        }
    }
}

/// What became of one test case. The expected answer is never in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseResult {
    /// How it was judged.
    pub verdict: Verdict,
    /// [`CaseResult::max_points`] where it was accepted, else 0.
    pub points: u32,
    /// What it was worth.
    pub max_points: u32,
    /// Why the program ended; none where it was skipped.
    pub termination: Option<Termination>,
    /// What it used.
    pub usage: Usage,
    /// The beginning of its standard output.
    #[serde(default)]
    pub stdout: Excerpt,
    /// The beginning of its standard error.
    #[serde(default)]
    pub stderr: Excerpt,
}

impl CaseResult {
    /// The most of one stream that is kept.
    pub const MAX_EXCERPT_BYTES: usize = 4096;
    /// The most that is kept of all cases together. Where they wrote more, those that weren't accepted have their excerpts first.
    pub const MAX_EXCERPTS_BYTES: usize = 64 * 1024;

    /// Judges a case that came to an end.
    pub(crate) fn judge(
        test: &TestCase,
        compare: &Compare,
        termination: Termination,
        usage: Usage,
        stdout: &[u8],
        stderr: &[u8],
    ) -> Self {
        let verdict = Verdict::of(&termination, || compare.accepts(&test.expected_stdout, stdout));
        let room = if test.hidden { 0 } else { Self::MAX_EXCERPT_BYTES };
        Self {
            verdict,
            points: if verdict == Verdict::Accepted { test.points } else { 0 },
            max_points: test.points,
            termination: Some(termination),
            usage,
            stdout: Excerpt::of(stdout, room),
            stderr: Excerpt::of(stderr, room),
        }
    }

    /// A case that wasn't run to an end.
    pub(crate) fn skipped(test: &TestCase) -> Self {
        Self {
            verdict: Verdict::Skipped,
            points: 0,
            max_points: test.points,
            termination: None,
            usage: Usage::default(),
            stdout: Excerpt::default(),
            stderr: Excerpt::default(),
        }
    }

    /// Keeps the excerpts of all cases below their bound.
    pub(crate) fn bound_excerpts(cases: &mut [Self]) {
        let mut left = Self::MAX_EXCERPTS_BYTES;
        let mut by_need: Vec<&mut Self> = cases.iter_mut().collect();
        by_need.sort_by_key(|case| case.verdict == Verdict::Accepted);
        for case in by_need {
            for excerpt in [&mut case.stdout, &mut case.stderr] {
                excerpt.cut(left);
                left -= excerpt.text.len();
            }
        }
    }
}

/// The beginning of what a program wrote to a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// What was not UTF-8 is rendered with U+FFFD.
    pub text: String,
    /// Whether there was more.
    pub truncated: bool,
}

impl Excerpt {
    fn of(bytes: &[u8], most: usize) -> Self {
        // A character that is cut in two here ends beyond the most, and is thrown away whole.
        let begun = &bytes[..bytes.len().min(most.saturating_add(3))];
        let text = String::from_utf8_lossy(begun).into_owned();
        let mut excerpt = Self { text, truncated: bytes.len() > begun.len() };
        excerpt.cut(most);
        excerpt
    }

    fn cut(&mut self, most: usize) {
        if self.text.len() > most {
            self.text.truncate(self.text.floor_char_boundary(most));
            self.truncated = true;
        }
    }
}
