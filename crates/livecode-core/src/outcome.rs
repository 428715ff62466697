//! What became of a program. Data, never an error.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Artifact, CaseResult, Transition};

/// What became of a program that a sandbox ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it ended.
    pub termination: Termination,
    /// What it used.
    pub usage: Usage,
    /// What the compiler wrote to both its streams, where there was a compiler. Not UTF-8: rendered with U+FFFD.
    pub compile_output: Option<String>,
    /// Whether standard output went on beyond the limit; the part up to there was kept.
    pub stdout_truncated: bool,
    /// Whether standard error went on beyond the limit; the part up to there was kept.
    pub stderr_truncated: bool,
    /// Protections that were missing, each with the reason, because the host had lowered the bar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unprotected: Vec<String>,
    /// What became of each test case of [`ExecutionSpec::grading`](crate::ExecutionSpec::grading), in that order; empty where
    /// there were none. [`Outcome::usage`] is then the sum of their times and the most of their memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<CaseResult>,
    /// What [`Program::collect`](crate::Program::collect) asked for, in that order. No part of a record: for hosts of a
    /// [`Runner`](crate::Runner) alone.
    #[serde(skip)]
    pub files: Vec<CollectedFile>,
    /// What [`Reuse::Keep`](crate::Reuse::Keep) asked for. No part of a record either.
    #[serde(skip)]
    pub artifact: Option<Artifact>,
}

/// A file that a program left, brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectedFile {
    /// Relative to the work directory, as it was asked for.
    pub path: String,
    /// What is in it, or why it isn't brought back, for people: it isn't there, it's a link or a directory, it's too large.
    pub content: Result<Bytes, String>,
}

impl Outcome {
    /// An outcome with nothing used, nothing truncated and nothing missing.
    ///
    /// ```
    /// use livecode_core::{Outcome, Termination};
    ///
    /// let outcome = Outcome::new(Termination::Exited { code: 0 });
    /// assert!(outcome.is_success());
    /// ```
    pub fn new(termination: Termination) -> Self {
        Self {
            termination,
            usage: Usage::default(),
            compile_output: None,
            stdout_truncated: false,
            stderr_truncated: false,
            unprotected: Vec::new(),
            cases: Vec::new(),
            files: Vec::new(),
            artifact: None,
        }
    }

    /// The points that its test cases earned; 0 where there were none.
    pub fn points(&self) -> u64 {
        self.cases.iter().map(|case| u64::from(case.points)).sum()
    }

    /// The points that its test cases were worth.
    pub fn max_points(&self) -> u64 {
        self.cases.iter().map(|case| u64::from(case.max_points)).sum()
    }

    /// Whether the program exited with status 0; of test cases [`Outcome::cases`] tells.
    pub fn is_success(&self) -> bool {
        self.termination == Termination::Exited { code: 0 }
    }
}

/// Why a program ended, from what the kernel counted and from who stopped it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Termination {
    /// It exited by itself with this status.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// A signal that wasn't ours killed it.
    Signaled {
        /// The number of the signal.
        signal: i32,
    },
    /// The compile step didn't end with status 0, or met a limit; the program was never started.
    CompileFailed {
        /// What happened to the compiler, in words.
        message: String,
    },
    /// It was still running when its wall time was used up.
    WallTimeExceeded {
        /// The limit.
        limit: Duration,
    },
    /// It and its descendants used up their CPU time.
    CpuTimeExceeded {
        /// The limit.
        limit: Duration,
    },
    /// The kernel killed one of its processes for memory, and it failed.
    MemoryExceeded {
        /// The limit in bytes.
        limit: u64,
    },
    /// The kernel refused it another process or thread, and it failed.
    ProcessesExceeded {
        /// The limit.
        limit: u32,
    },
    /// It failed, and there was no room left for another byte or another file.
    FilesExceeded {
        /// The limit of all files together, in bytes.
        bytes: u64,
        /// The limit in files and directories.
        files: u32,
    },
    /// It wrote more to a stream than it may, and the host had chosen to end it there.
    OutputExceeded {
        /// The limit in bytes.
        limit: u64,
    },
    /// Somebody asked for the end while it was running.
    Cancelled,
    /// It was run for its test cases, and how each ended is in [`Outcome::cases`].
    Graded,
}

impl Termination {
    /// The arrow of the state machine that this end takes.
    pub fn transition(&self) -> Transition {
        match self {
            Self::Exited { code: 0 } | Self::Graded => Transition::Complete,
            Self::Exited { .. }
            | Self::Signaled { .. }
            | Self::CompileFailed { .. }
            | Self::MemoryExceeded { .. }
            | Self::ProcessesExceeded { .. }
            | Self::FilesExceeded { .. }
            | Self::OutputExceeded { .. } => Transition::Fail,
            Self::WallTimeExceeded { .. } | Self::CpuTimeExceeded { .. } => Transition::TimeOut,
            Self::Cancelled => Transition::Cancel,
        }
    }

    /// The name of the error for clients; none for exit status 0 and where test cases were run.
    pub fn error_type(&self) -> Option<ErrorType> {
        match self {
            Self::Exited { code: 0 } | Self::Graded => None,
            Self::Exited { .. } | Self::Signaled { .. } => Some(ErrorType::RuntimeError),
            Self::CompileFailed { .. } => Some(ErrorType::CompileError),
            Self::WallTimeExceeded { .. } | Self::CpuTimeExceeded { .. } => Some(ErrorType::TimeoutError),
            Self::MemoryExceeded { .. } => Some(ErrorType::MemoryLimitError),
            Self::ProcessesExceeded { .. } => Some(ErrorType::ProcessLimitError),
            Self::FilesExceeded { .. } | Self::OutputExceeded { .. } => Some(ErrorType::OutputLimitError),
            Self::Cancelled => Some(ErrorType::Cancelled),
        }
    }

    /// The exit status, where it exited by itself.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exited { code } => Some(*code),
            _ => None,
        }
    }

    /// The signal, where one that wasn't ours killed it.
    pub fn signal(&self) -> Option<i32> {
        match self {
            Self::Signaled { signal } => Some(*signal),
            _ => None,
        }
    }
}

/// One sentence for people.
impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "the program exited with status {code}"),
            Self::Signaled { signal } => write!(f, "the program was killed by signal {signal}"),
            Self::CompileFailed { message } => f.write_str(message),
            Self::WallTimeExceeded { limit } => {
                write!(
                    f,
                    "the program was still running after its wall time limit of {} ms",
                    limit.as_millis()
                )
            }
            Self::CpuTimeExceeded { limit } => {
                write!(f, "the program used up its CPU time limit of {} ms", limit.as_millis())
            }
            Self::MemoryExceeded { limit } => {
                write!(f, "the program needed more than its memory limit of {limit} bytes")
            }
            Self::ProcessesExceeded { limit } => {
                write!(f, "the program needed more than its limit of {limit} processes and threads")
            }
            Self::FilesExceeded { bytes, files } => {
                write!(f, "the program filled its file system: {bytes} bytes in {files} files are its limit")
            }
            Self::OutputExceeded { limit } => {
                write!(f, "the program wrote more than its output limit of {limit} bytes")
            }
            Self::Cancelled => f.write_str("the execution was cancelled"),
            Self::Graded => f.write_str("the program was run for its test cases"),
        }
    }
}

/// Why an execution didn't complete, by the names that clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorType {
    /// The compiler refused the program or met a limit.
    CompileError,
    /// The program exited with a status other than 0 or was killed by a signal.
    RuntimeError,
    /// The program used up its wall or CPU time.
    TimeoutError,
    /// The program needed more memory than it may.
    MemoryLimitError,
    /// The program wrote more than it may, to a stream or to files.
    OutputLimitError,
    /// The program needed more processes or threads than it may.
    ProcessLimitError,
    /// Somebody asked for the end.
    Cancelled,
    /// We failed, and no attempt was left.
    InternalError,
}

impl ErrorType {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CompileError => "CompileError",
            Self::RuntimeError => "RuntimeError",
            Self::TimeoutError => "TimeoutError",
            Self::MemoryLimitError => "MemoryLimitError",
            Self::OutputLimitError => "OutputLimitError",
            Self::ProcessLimitError => "ProcessLimitError",
            Self::Cancelled => "Cancelled",
            Self::InternalError => "InternalError",
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a program used: its run step alone, without the queue, the set-up or the compiler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From the program's first instruction to its end.
    pub wall_time: Duration,
    /// User and system time of it and all its descendants.
    pub cpu_time: Duration,
    /// The most memory that it and its files in memory held at once; none where nobody counts it here.
    pub memory_peak_bytes: Option<u64>,
}
