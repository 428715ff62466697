//! A second layer over the file system: what a program may do even if the root were not the one that we built.
//!
//! <https://docs.kernel.org/userspace-api/landlock.html>

use std::{io, os::fd::OwnedFd};

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

/// The rules for a program and all that it starts: to read `shown` and to write what is its own. It reaches no TCP port and no
/// abstract socket nor process of anybody else's. None where there is no Landlock.
pub(crate) fn rules(version: u8, shown: &[String]) -> io::Result<Option<OwnedFd>> {
    let Some(newest) = usize::from(version).checked_sub(1) else {
        return Ok(None);
    };
    let all = RIGHTS[newest.min(RIGHTS.len() - 1)];
    let ruleset = sys::landlock_ruleset(&LandlockAttributes {
        files: all,
        // Binding and connecting.
        network: if version >= 4 { 0b11 } else { 0 },
        // Abstract sockets and signals.
        scoped: if version >= 6 { 0b11 } else { 0 },
    })?;
    let allow = |path: &str, rights: u64| match sys::open_path(path) {
        Ok(path) => sys::landlock_allow(&ruleset, &path, rights & all),
        // Not on this machine.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    // What there is may be listed from the top.
    allow("/", READ_DIR)?;
    for path in shown {
        during(path, allow(path, file_rights(path, EXECUTE | READ_FILE | READ_DIR)))?;
    }
    for path in ["/etc", "/proc"] {
        allow(path, READ_FILE | READ_DIR)?;
    }
    allow("/dev", READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE)?;
    for path in OWN {
        allow(path, all & !(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV))?;
    }
    Ok(Some(ruleset))
}

/// A rule on what isn't a directory may not have the rights of one.
fn file_rights(path: &str, rights: u64) -> u64 {
    if std::path::Path::new(path).is_dir() { rights } else { rights & !READ_DIR }
}
