//! A second layer over the file system: what a program may do even if the root were not the one that we built.
//!
//! <https://docs.kernel.org/userspace-api/landlock.html>

use std::{fs, io, os::fd::OwnedFd, path::PathBuf};

use crate::{
    root::during,
    sys::{self, LandlockAttributes},
};

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// All rights on files that each version has, from version 1 on.
const RIGHTS: [u64; 5] = [(1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1];

/// The newest version whose rules we know.
const NEWEST: u8 = 6;

/// Where a program writes.
const OWN: [&str; 3] = ["/work", "/tmp", "/dev/shm"];

/// The version to be used here; 0 where the kernel has none, or has it switched off.
pub(crate) fn version() -> u8 {
    sys::landlock_version().map_or(0, |version| u8::try_from(version).unwrap_or(u8::MAX).min(NEWEST))
}

/// What is the same for all runs: what programs may read, opened once.
pub(crate) struct Landlock {
    pub(crate) version: u8,
    /// All rights on files that this version has.
    all: u64,
    read: Vec<(OwnedFd, u64)>,
}

impl Landlock {
    /// Version 0 is none.
    pub(crate) fn new(version: u8, shown: &[String]) -> io::Result<Self> {
        let Some(newest) = usize::from(version).checked_sub(1) else {
            return Ok(Self { version, all: 0, read: Vec::new() });
        };
        let all = RIGHTS[newest.min(RIGHTS.len() - 1)];
        let mut read = Vec::new();
        let mut allow = |path: &str, rights: u64| {
            read.push((during(path, sys::open_path(path))?, rights & all));
            Ok::<_, io::Error>(())
        };
        // What there is may be listed from the top.
        allow("/", READ_DIR)?;
        // Without those that this machine doesn't have.
        let real: Vec<_> = shown.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        for (index, path) in real.iter().enumerate() {
            // Many are links into another.
            let is_beneath = |other: &PathBuf| path.starts_with(other) && path != other;
            if !real.iter().any(is_beneath) && !real[..index].contains(path) {
                // A rule on what isn't a directory may not have the rights of one.
                let of_a_directory = if path.is_dir() { READ_DIR } else { 0 };
                allow(&path.to_string_lossy(), EXECUTE | READ_FILE | of_a_directory)?;
            }
        }
        allow("/etc", READ_FILE | READ_DIR)?;
        allow("/dev", READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE)?;
        Ok(Self { version, all, read })
    }

    /// The rules for a program and all that it starts, but for [what is its own](Self::finish): to read what is shown. It
    /// reaches no TCP port and no abstract socket nor process of anybody else's. None where there is no Landlock.
    pub(crate) fn begin(&self) -> io::Result<Option<OwnedFd>> {
        if self.version == 0 {
            return Ok(None);
        }
        let ruleset = sys::landlock_ruleset(&LandlockAttributes {
            files: self.all,
            // Binding and connecting.
            network: if self.version >= 4 { 0b11 } else { 0 },
            // Abstract sockets and signals.
            scoped: if self.version >= 6 { 0b11 } else { 0 },
        })?;
        for (path, rights) in &self.read {
            sys::landlock_allow(&ruleset, path, *rights)?;
        }
        Ok(Some(ruleset))
    }

    /// The rest of them, once what is its own is there.
    pub(crate) fn finish(&self, ruleset: &OwnedFd) -> io::Result<()> {
        let own = OWN.map(|path| (path, self.all & !(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)));
        for (path, rights) in own.into_iter().chain([("/proc", READ_FILE | READ_DIR)]) {
            during(path, sys::landlock_allow(ruleset, &sys::open_path(path)?, rights))?;
        }
        Ok(())
    }
}
