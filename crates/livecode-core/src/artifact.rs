//! What a compile step leaves, kept so that a later run can begin from it.

use std::fmt;

use bytes::Bytes;

/// All files that a compile step left where a program may write, the work directory and others, as they were before the
/// program's first instruction. Bytes that mean something to the sandbox alone that gave them.
#[derive(Clone, PartialEq, Eq)]
pub struct Artifact(Bytes);

impl Artifact {
    /// For a sandbox to make.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// For a sandbox to read.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// How large it is: what is in it is a stranger's.
impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({} bytes)", self.0.len())
    }
}

/// What becomes of the work of compile steps: the [`CompileCache`](crate::CompileCache)'s to say, and a
/// [`Runner`](crate::Runner)'s that runs one program for many test cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing: it goes with the run.
    #[default]
    Nothing,
    /// It's brought back as [`Outcome::artifact`](crate::Outcome::artifact) where the compile step succeeded, unless it would
    /// have more bytes than this, or the sandbox can't carry some of it faithfully, or can't at all.
    Keep {
        /// The most bytes.
        max_bytes: u64,
    },
    /// This, which the same sandbox has kept, is there when the program begins, in place of
    /// [`Program::files`](crate::Program::files), which are in it as the compile step left them.
    /// [`Program::compile`](crate::Program::compile) is none then.
    Begin(Artifact),
}
