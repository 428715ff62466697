//! What the host and `livecode-init` say to each other. Compiled into both.
//!
//! All messages are one packet of a `SEQPACKET` socket, or one sealed memory file where they may be long. Integers are
//! little-endian, byte strings carry their length. Both ends are of one build, so there are no versions.

/// More than this is refused on reading: far above what the core lets through.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The helper's answer to a [`Hello`] that it could follow, with the version of Landlock after it; anything else is why it
/// couldn't.
pub(crate) const READY: &[u8] = b"\0ready";

/// Which resources a cgroup directory controls: a bit set, since a v1 hierarchy may hold several.
pub(crate) mod controller {
    pub(crate) const MEMORY: u8 = 1;
    pub(crate) const PIDS: u8 = 2;
    pub(crate) const CPU: u8 = 4;
    pub(crate) const CPUACCT: u8 = 8;
    /// It's of the unified hierarchy.
    pub(crate) const V2: u8 = 16;
}

/// The host's first packet, with one descriptor for each of `cgroups`: how every world of this helper looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The first of the host uids that runs get, each another one; none where the helper isn't root.
    pub(crate) first_uid: Option<u32>,
    /// The seccomp filter: instructions as the kernel wants them.
    pub(crate) seccomp: Vec<u8>,
    /// Shown read-only where they exist: directories, files or symbolic links.
    pub(crate) shown: Vec<String>,
    /// The controllers of each cgroup directory.
    pub(crate) cgroups: Vec<u8>,
    /// What those directories are called, all of them.
    pub(crate) cgroup_name: String,
    /// The most memory that sandboxes made ahead may hold, in bytes.
    pub(crate) warm_bytes: u64,
}

/// The host's further packets, each with its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A run is to begin.
    Run(Begin),
    /// Programs of this kind are to find sandboxes made ahead from now on. Comes with its [`Booted`] as a sealed memory
    /// file, and where a compiler boots from an archive with that as another.
    Learn(Kind),
    /// [`Counters`] are to be told, when as many sandboxes wait as should. Comes with a socket for them.
    Tell,
}

/// A kind of program: what has to be the same for a sandbox that was made ahead to serve it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) id: u64,
    /// The one that is to be forgotten for it.
    pub(crate) forgets: Option<u64>,
    /// Whether its interpreter is forked, in place of one booted for each.
    pub(crate) forks: bool,
    /// Of each step, as a program of this kind had them.
    pub(crate) steps: Vec<Limits>,
}

/// What boots ahead, for the init of a sandbox alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Booted {
    /// Of each step: what is started, if anything.
    pub(crate) steps: Vec<Option<Command>>,
    /// Files that have to be there for it, with their contents: only as long as it boots.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// What became of the sandboxes made ahead, since the helper began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) waiting: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) boots: u64,
    pub(crate) failures: u64,
    pub(crate) restarts: u64,
}

/// The host's packet for a run, which the helper passes on to the run's init. Comes with these descriptors: the run's own
/// socket, which the helper keeps; a [`Request`] as a sealed memory file, behind its length and before its files; the program's standard input, output and error; where
/// there are two steps, the first one's output; where anything is to be brought back, a pipe for that. So a program's bytes are
/// never in the helper.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Of each step of the request.
    pub(crate) steps: Vec<Limits>,
    /// Whether the last descriptor is there.
    pub(crate) collects: bool,
    /// The kind of the program, where it was learned.
    pub(crate) kind: Option<u64>,
}

/// What a step may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u32,
    pub(crate) file_bytes: u64,
    pub(crate) files: u32,
    pub(crate) open_files: u32,
    pub(crate) stack_bytes: u64,
    pub(crate) cpu_millis: u32,
}

/// What is run, for the init of the run alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// Relative path, and how many bytes of it follow this request in its memory file, in this order.
    pub(crate) files: Vec<(String, u64)>,
    /// Whether what an earlier run's compile step left follows in place of the files.
    pub(crate) begins: bool,
    /// How large at most is what comes through the pipe before anything else, of what the first step of two left; nothing where
    /// this is none or the step failed.
    pub(crate) keep: Option<u64>,
    /// Relative paths. Of each comes through the pipe: 0 or 1, a length, and so many bytes of content or of a reason.
    pub(crate) collect: Vec<String>,
    /// The most bytes of all of them together.
    pub(crate) collect_bytes: u64,
    /// One after the other, each only where the one before it exited with 0. The last is the program, others compile it.
    pub(crate) steps: Vec<Command>,
}

/// A step's program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Absolute, or relative to the work directory.
    pub(crate) path: Vec<u8>,
    pub(crate) argv: Vec<Vec<u8>>,
    /// `NAME=value` each.
    pub(crate) env: Vec<Vec<u8>>,
}

/// Why a run is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// The step's process ended by itself: the raw wait status.
    Status(i32),
    /// It was out of wall time.
    WallTime,
    /// It was out of CPU time.
    CpuTime,
    /// The host asked.
    Killed,
    /// The step's command could not be started, for the reason in the report's message.
    NotStarted,
    /// No world could be had for it now, for the reason in the report's message.
    NoWorld,
    /// We failed, for the reason in the report's message.
    #[default]
    Failed,
}

/// All that the helper says on a run's socket: everything is dead and gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) end: End,
    /// Which step it was.
    pub(crate) step: u32,
    /// Of that step.
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
    /// None where no cgroup counts it.
    pub(crate) memory_peak_bytes: Option<u64>,
    /// How often the kernel killed a process for memory.
    pub(crate) oom_kills: u64,
    /// How often the kernel refused a process or a thread.
    pub(crate) fork_failures: u64,
    /// Whether there was no room left for files at the end.
    pub(crate) files_full: bool,
    pub(crate) message: String,
    pub(crate) counters: Counters,
}

/// A message that came damaged: both ends are ours, so a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// What can be sent.
pub(crate) trait Message: Sized {
    fn write(&self, out: &mut Writer);
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged>;

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::new());
        self.write(&mut out);
        out.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader(bytes);
        let message = Self::read(&mut from)?;
        if from.0.is_empty() { Ok(message) } else { Err(Damaged) }
    }
}

pub(crate) struct Writer(Vec<u8>);

pub(crate) struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*head)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Message for $type {
            fn write(&self, out: &mut Writer) {
                out.0.extend_from_slice(&self.to_le_bytes());
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
                from.take().map(Self::from_le_bytes)
            }
        }
    )*};
}
integers!(u8, u32, u64, i32);

impl<T: Message> Message for Vec<T> {
    fn write(&self, out: &mut Writer) {
        (self.len() as u64).write(out);
        self.iter().for_each(|item| item.write(out));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let len = usize::try_from(u64::read(from)?).map_err(|_| Damaged)?;
        // Every item takes a byte at least, so a wrong length can't make us allocate more than we were sent.
        if len > from.0.len().min(MAX_BYTES) {
            return Err(Damaged);
        }
        (0..len).map(|_| T::read(from)).collect()
    }
}

impl Message for String {
    fn write(&self, out: &mut Writer) {
        (self.len() as u64).write(out);
        out.0.extend_from_slice(self.as_bytes());
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Self::from_utf8(Vec::read(from)?).map_err(|_| Damaged)
    }
}

impl Message for bool {
    fn write(&self, out: &mut Writer) {
        u8::from(*self).write(out);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }
}

impl<T: Message> Message for Option<T> {
    fn write(&self, out: &mut Writer) {
        match self {
            None => false.write(out),
            Some(value) => {
                true.write(out);
                value.write(out);
            }
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<A: Message, B: Message> Message for (A, B) {
    fn write(&self, out: &mut Writer) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl Message for Order {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Run(begin) => {
                0u8.write(out);
                begin.write(out);
            }
            Self::Learn(kind) => {
                1u8.write(out);
                kind.write(out);
            }
            Self::Tell => 2u8.write(out),
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        match u8::read(from)? {
            0 => Begin::read(from).map(Self::Run),
            1 => Kind::read(from).map(Self::Learn),
            2 => Ok(Self::Tell),
            _ => Err(Damaged),
        }
    }
}

impl Message for End {
    fn write(&self, out: &mut Writer) {
        let (tag, status) = match self {
            Self::Status(status) => (0u8, *status),
            Self::WallTime => (1, 0),
            Self::CpuTime => (2, 0),
            Self::Killed => (3, 0),
            Self::NotStarted => (4, 0),
            Self::Failed => (5, 0),
            Self::NoWorld => (6, 0),
        };
        tag.write(out);
        status.write(out);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let (tag, status) = (u8::read(from)?, i32::read(from)?);
        match tag {
            0 => Ok(Self::Status(status)),
            1 => Ok(Self::WallTime),
            2 => Ok(Self::CpuTime),
            3 => Ok(Self::Killed),
            4 => Ok(Self::NotStarted),
            5 => Ok(Self::Failed),
            6 => Ok(Self::NoWorld),
            _ => Err(Damaged),
        }
    }
}

/// A message is its members, one after the other.
macro_rules! message {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::protocol::Message for $name {
            fn write(&self, out: &mut $crate::protocol::Writer) {
                $(self.$field.write(out);)*
            }
            fn read(
                from: &mut $crate::protocol::Reader<'_>,
            ) -> ::std::result::Result<Self, $crate::protocol::Damaged> {
                Ok(Self { $($field: $crate::protocol::Message::read(from)?),* })
            }
        }
    };
}

message!(Hello { first_uid, seccomp, shown, cgroups, cgroup_name, warm_bytes });
message!(Begin { steps, collects, kind });
message!(Kind { id, forgets, forks, steps });
message!(Booted { steps, files });
message!(Counters { waiting, waiting_bytes, hits, misses, boots, failures, restarts });
message!(Limits {
    wall_ns,
    cpu_ns,
    memory_bytes,
    processes,
    file_bytes,
    files,
    open_files,
    stack_bytes,
    cpu_millis,
});
message!(Request { files, begins, keep, collect, collect_bytes, steps });
message!(Command { path, argv, env });
message!(Report {
    end,
    step,
    wall_ns,
    cpu_ns,
    memory_peak_bytes,
    oom_kills,
    fork_failures,
    files_full,
    message,
    counters,
});

#[cfg(test)]
#[path = "protocol/tests.rs"]
mod tests;
