//! What a program may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a step may use, complete. What a sandbox enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first instruction to the end.
    pub wall_time: Duration,
    /// User and system time of all processes together.
    pub cpu_time: Duration,
    /// Memory of all processes and of the files in memory together.
    pub memory_bytes: u64,
    /// Processes and threads at a time.
    pub processes: u32,
    /// Bytes kept of each of the two output streams.
    pub output_bytes: u64,
    /// Bytes that all files written may hold at a time.
    pub file_bytes: u64,
    /// Files and directories that may be there at a time, the program's own included.
    pub files: u32,
    /// Files that a process may have open at a time. Beyond, the program sees `EMFILE`; no verdict tells of it.
    pub open_files: u32,
    /// The stack of the main thread, and of others where they don't choose. Beyond, the program dies of `SIGSEGV`.
    pub stack_bytes: u64,
    /// Thousandths of a processor that it may use at a time.
    pub cpu_millis: u32,
}

impl Limits {
    /// Of a run step where the host says nothing: 10 s wall and CPU time, 128 MiB, 64 processes, 1 MiB of each output
    /// stream, 64 MiB in 65,536 files, 1,024 of them open, 64 MiB of stack, one processor.
    pub const RUN: Self = Self {
        wall_time: Duration::from_secs(10),
        cpu_time: Duration::from_secs(10),
        memory_bytes: 128 * 1024 * 1024,
        processes: 64,
        output_bytes: 1024 * 1024,
        file_bytes: 64 * 1024 * 1024,
        files: 65_536,
        open_files: 1024,
        stack_bytes: 64 * 1024 * 1024,
        cpu_millis: 1000,
    };

    /// Of a compile step where the host says nothing: 30 s wall and CPU time, 1 GiB, 128 processes, 64 KiB of output,
    /// 256 MiB in 65,536 files, 1,024 of them open, 64 MiB of stack, one processor.
    pub const COMPILE: Self = Self {
        wall_time: Duration::from_secs(30),
        cpu_time: Duration::from_secs(30),
        memory_bytes: 1024 * 1024 * 1024,
        processes: 128,
        output_bytes: 64 * 1024,
        file_bytes: 256 * 1024 * 1024,
        ..Self::RUN
    };
}

/// The limits that somebody asks for: what is absent is the host's default.
///
/// The names are those of the HTTP API.
///
/// ```
/// use livecode_core::{LimitRequest, Limits};
/// use std::time::Duration;
///
/// let request = LimitRequest { wall_time_ms: Some(2_000), ..LimitRequest::default() };
/// let limits = request.resolve(&Limits::RUN, "limits").unwrap();
/// assert_eq!(limits.wall_time, Duration::from_secs(2));
/// assert_eq!(limits.processes, Limits::RUN.processes);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitRequest {
    /// [`Limits::wall_time`] in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_time_ms: Option<u64>,
    /// [`Limits::cpu_time`] in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time_ms: Option<u64>,
    /// [`Limits::memory_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// [`Limits::processes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// [`Limits::output_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// [`Limits::file_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// [`Limits::files`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// [`Limits::open_files`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// [`Limits::stack_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_bytes: Option<u64>,
    /// [`Limits::cpu_millis`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
}

impl LimitRequest {
    /// Complete limits: what was asked for, else `ceiling`, which is the default as well. `member` is named in errors.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for zero and for anything above `ceiling`.
    pub fn resolve(&self, ceiling: &Limits, member: &str) -> Result<Limits> {
        self.each(ceiling, |name, asked, most| match asked {
            None => Ok(most),
            Some(0) => Err(Error::invalid(format!(
                "{member}.{name} is 0: it is at least 1, or absent for the default"
            ))),
            Some(value) if value > most => {
                Err(Error::invalid(format!("{member}.{name} is {value}, at most {most} is accepted")))
            }
            Some(value) => Ok(value),
        })
    }

    /// Complete limits that are never above `ceiling`: what was asked for where that is lower, else `ceiling`. For what was
    /// accepted under another ceiling.
    pub fn clamp(&self, ceiling: &Limits) -> Limits {
        self.each(ceiling, |_, asked, most| Ok(asked.map_or(most, |value| value.min(most))))
            .unwrap_or(*ceiling)
    }

    /// The same with what is absent taken from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            wall_time_ms: self.wall_time_ms.or(other.wall_time_ms),
            cpu_time_ms: self.cpu_time_ms.or(other.cpu_time_ms),
            memory_bytes: self.memory_bytes.or(other.memory_bytes),
            processes: self.processes.or(other.processes),
            output_bytes: self.output_bytes.or(other.output_bytes),
            file_bytes: self.file_bytes.or(other.file_bytes),
            files: self.files.or(other.files),
            open_files: self.open_files.or(other.open_files),
            stack_bytes: self.stack_bytes.or(other.stack_bytes),
            cpu_millis: self.cpu_millis.or(other.cpu_millis),
        }
    }

    /// Decides each limit by its name, what was asked and the most that may be.
    fn each(
        &self,
        ceiling: &Limits,
        decide: impl Fn(&str, Option<u64>, u64) -> Result<u64>,
    ) -> Result<Limits> {
        let top = Self::from(*ceiling);
        let long =
            |name, asked: Option<u64>, most: Option<u64>| decide(name, asked, most.unwrap_or(u64::MAX));
        let short = |name, asked: Option<u32>, most: Option<u32>| {
            long(name, asked.map(u64::from), most.map(u64::from))
                .map(|value| u32::try_from(value).unwrap_or(u32::MAX))
        };
        let time = |name, asked, most: Duration| {
            long(name, asked, Some(millis(most)))
                // A ceiling may be finer than a millisecond.
                .map(|value| if value == millis(most) { most } else { Duration::from_millis(value) })
        };
        Ok(Limits {
            wall_time: time("wall_time_ms", self.wall_time_ms, ceiling.wall_time)?,
            cpu_time: time("cpu_time_ms", self.cpu_time_ms, ceiling.cpu_time)?,
            memory_bytes: long("memory_bytes", self.memory_bytes, top.memory_bytes)?,
            processes: short("processes", self.processes, top.processes)?,
            output_bytes: long("output_bytes", self.output_bytes, top.output_bytes)?,
            file_bytes: long("file_bytes", self.file_bytes, top.file_bytes)?,
            files: short("files", self.files, top.files)?,
            open_files: short("open_files", self.open_files, top.open_files)?,
            stack_bytes: long("stack_bytes", self.stack_bytes, top.stack_bytes)?,
            cpu_millis: short("cpu_millis", self.cpu_millis, top.cpu_millis)?,
        })
    }
}

impl From<Limits> for LimitRequest {
    fn from(limits: Limits) -> Self {
        Self {
            wall_time_ms: Some(millis(limits.wall_time)),
            cpu_time_ms: Some(millis(limits.cpu_time)),
            memory_bytes: Some(limits.memory_bytes),
            processes: Some(limits.processes),
            output_bytes: Some(limits.output_bytes),
            file_bytes: Some(limits.file_bytes),
            files: Some(limits.files),
            open_files: Some(limits.open_files),
            stack_bytes: Some(limits.stack_bytes),
            cpu_millis: Some(limits.cpu_millis),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The most that a host accepts, and what a request that says nothing gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Of a run step.
    pub run: Limits,
    /// Of a compile step.
    pub compile: Limits,
    /// Characters in one source, the entry file's.
    pub source_chars: usize,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self { run: Limits::RUN, compile: Limits::COMPILE, source_chars: 65_536 }
    }
}

impl Ceiling {
    /// Refuses a source that is longer than [`Ceiling::source_chars`].
    pub fn check_source(&self, source_code: &str) -> Result<()> {
        let chars = source_code.chars().count();
        if chars > self.source_chars {
            return Err(Error::invalid(format!(
                "source_code has {chars} characters, at most {} are accepted",
                self.source_chars
            )));
        }
        Ok(())
    }
}
