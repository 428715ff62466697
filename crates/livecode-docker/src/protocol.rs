//! What the sandbox and its runner in the container say to each other. Compiled into both.
//!
//! Each way it's frames: a kind, the length of what follows as four bytes, least significant first, and that. Both ends are of one
//! build, so there are no versions.

use serde::{Deserialize, Serialize};

/// More in one frame is a defect.
pub(crate) const MAX_FRAME: usize = 64 * 1024 * 1024;

/// Files that aren't the program's: the root of the file system, and the two directories that programs write in.
pub(crate) const OWN_FILES: u64 = 3;

/// How many bytes of a stream or a file there are in one frame at most.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Kind and length.
pub(crate) const HEADER: usize = 5;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To the runner: a [`Request`]. Then come the bytes of its files, one after the other.
    Request,
    Files,
    /// To the runner: the program's standard input, a part of it after each [`Kind::More`]; an empty one is its end.
    Input,
    /// To the runner: the limits of the next step are in force.
    Go,
    /// To the runner: end it.
    Kill,
    /// From the runner, first of all: a [`Ready`].
    Ready,
    /// From the runner: the last part of the input is the program's.
    More,
    /// From the runner: the program has closed its input, and no more is asked for.
    NoMore,
    Stdout,
    Stderr,
    /// From the runner: what the compiler wrote.
    Compiler,
    /// From the runner: the compile step is over, and the next waits for [`Kind::Go`].
    Compiled,
    /// From the runner, a part of a file that was to be brought back; an empty one is its end.
    Brought,
    /// From the runner: why the next file isn't brought back.
    NotBrought,
    /// From the runner: a [`Report`], the last of all. Nothing but the runner is alive.
    End,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Request,
        Self::Files,
        Self::Input,
        Self::Go,
        Self::Kill,
        Self::Ready,
        Self::More,
        Self::NoMore,
        Self::Stdout,
        Self::Stderr,
        Self::Compiler,
        Self::Compiled,
        Self::Brought,
        Self::NotBrought,
        Self::End,
    ];
}

/// What came is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// A frame's header. No frame is longer than [`MAX_FRAME`].
pub(crate) fn header(kind: Kind, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [kind as u8, a, b, c, d]
}

/// Where a whole frame is at the beginning of `bytes`: its kind, and how long what follows the header is.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<(Kind, usize)>, Damaged> {
    let Some(([kind, length @ ..], rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Damaged)?;
    let kind = Kind::ALL.get(usize::from(*kind)).ok_or(Damaged)?;
    if length > MAX_FRAME {
        return Err(Damaged);
    }
    Ok((rest.len() >= length).then_some((*kind, length)))
}

/// What the runner found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// What can't be enforced or counted in this container, each with the reason and the remedy.
    pub(crate) missing: Vec<String>,
}

/// What is run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Relative path and length.
    pub(crate) files: Vec<(String, u64)>,
    /// One after the other, each only where the one before it exited with 0. The last is the program, another compiles it.
    pub(crate) steps: Vec<Step>,
    /// Whether there is any standard input, or may be.
    pub(crate) has_input: bool,
    /// Relative paths of files to be brought back.
    pub(crate) collect: Vec<String>,
    /// The most bytes of all of them together.
    pub(crate) collect_bytes: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) command: Vec<String>,
    /// Replaces what the image says.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
    /// What all files may hold, and how many there may be, when it begins.
    pub(crate) file_bytes: u64,
    pub(crate) files: u64,
    pub(crate) open_files: u64,
    pub(crate) stack_bytes: u64,
}

/// Why it's over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Exited(i32),
    Signaled(i32),
    WallTime,
    CpuTime,
    /// The sandbox asked.
    Killed,
    /// The step's command could not be started, for the reason in the report's message.
    NotStarted,
    /// The program's files found no room.
    FilesFull,
    /// The runner failed, for the reason in the report's message.
    #[default]
    Failed,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) end: End,
    /// Which step it was.
    pub(crate) step: usize,
    /// Of that step, as what follows.
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
    /// Of the whole container.
    pub(crate) memory_peak_bytes: Option<u64>,
    /// How often the kernel killed a process for memory.
    pub(crate) oom_kills: u64,
    /// How often the kernel refused a process or a thread.
    pub(crate) fork_failures: u64,
    /// Whether there was no room left for files at the end.
    pub(crate) files_full: bool,
    pub(crate) message: String,
}

#[cfg(test)]
#[path = "protocol/tests.rs"]
mod tests;
