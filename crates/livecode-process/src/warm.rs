//! Sandboxes made ahead, in which the interpreter has booted and waits for its program.

/// How programs of a language are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warm {
    /// The interpreter is started for each program.
    #[default]
    Off,
    /// An interpreter has booted ahead, in a sandbox of its own, and waits in there for one program.
    SingleUse,
    /// One interpreter has booted ahead; each program gets a copy of it, forked into a sandbox of its own. Programs that come
    /// from the same one share what it drew at random when it began: its address layout and its seed of hashes. It's
    /// replaced every now and then.
    Fork,
}

/// What became of the sandboxes that a [`ProcessSandbox`](crate::ProcessSandbox) made ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmStats {
    /// So many are waiting for a program, as of the last word about it: the end of a run, or of
    /// [`ProcessSandbox::warmed`](crate::ProcessSandbox::warmed).
    pub waiting: u64,
    /// The memory that these hold, in bytes, as their cgroups count it; 0 without cgroups.
    pub waiting_bytes: u64,
    /// So many programs found one.
    pub hits: u64,
    /// So many of a kind that is made ahead found none and were started cold.
    pub misses: u64,
    /// So many interpreters were booted ahead.
    pub boots: u64,
    /// So many of these failed: that kind of program goes the cold way after a few.
    pub failures: u64,
    /// So many times an interpreter that is forked was replaced because it had died, which its programs didn't notice.
    pub restarts: u64,
}
