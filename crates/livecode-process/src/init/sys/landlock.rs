//! Landlock's three calls.

use std::{
    ffi::{c_int, c_long, c_uint, c_void},
    io,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use super::{check, syscall};

const SYS_CREATE_RULESET: c_long = 444;
const SYS_ADD_RULE: c_long = 445;
const SYS_RESTRICT_SELF: c_long = 446;

/// What a ruleset decides: `struct landlock_ruleset_attr`. Kernels that don't know the later ones take zeroes for them.
#[repr(C)]
pub(crate) struct LandlockAttributes {
    pub(crate) files: u64,
    pub(crate) network: u64,
    pub(crate) scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// The version that this kernel has.
pub(crate) fn landlock_version() -> io::Result<i64> {
    const VERSION: c_uint = 1;
    // SAFETY: with this flag no memory is involved.
    check(unsafe { syscall(SYS_CREATE_RULESET, ptr::null::<c_void>(), 0usize, VERSION) })
}

pub(crate) fn landlock_ruleset(attributes: &LandlockAttributes) -> io::Result<OwnedFd> {
    let size = size_of::<LandlockAttributes>();
    // SAFETY: the structure lives through the call and has the size that is given.
    let fd = check(unsafe { syscall(SYS_CREATE_RULESET, ptr::from_ref(attributes), size, 0 as c_uint) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Allows `rights` on a file or beneath a directory.
pub(crate) fn landlock_allow(ruleset: &OwnedFd, path: &OwnedFd, rights: u64) -> io::Result<()> {
    const PATH_BENEATH: c_int = 1;
    let rule = PathBeneath { allowed: rights, parent: path.as_raw_fd() };
    // SAFETY: the structure lives through the call.
    check(unsafe { syscall(SYS_ADD_RULE, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0 as c_uint) })
        .map(drop)
}

/// Puts it in force for this process, for good. Takes `no_new_privs`.
pub(crate) fn landlock_restrict(ruleset: &OwnedFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { syscall(SYS_RESTRICT_SELF, ruleset.as_raw_fd(), 0 as c_uint) }).map(drop)
}
