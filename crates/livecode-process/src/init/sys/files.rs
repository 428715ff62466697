//! Files by directory descriptor, and file systems.

use std::{
    ffi::{c_char, c_int, c_long, c_uint, c_void},
    fs::File,
    io::{self, Read, Write},
    mem::size_of,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::PermissionsExt,
    },
    ptr,
};

use super::{AT_FDCWD, c_string, check, path_string, syscall};
use crate::{in_force, layer::Layer};

const AT_REMOVEDIR: c_int = 0x200;
const O_RDONLY: c_int = 0;
const O_WRONLY: c_int = 1;
const O_NOCTTY: c_int = 0o400;
const O_NONBLOCK: c_int = 0o4_000;
const O_CLOEXEC: c_int = 0o2_000_000;
const O_PATH: c_int = 0o10_000_000;
#[cfg(target_arch = "aarch64")]
const O_DIRECTORY: c_int = 0o40_000;
#[cfg(not(target_arch = "aarch64"))]
const O_DIRECTORY: c_int = 0o200_000;
#[cfg(target_arch = "aarch64")]
const O_NOFOLLOW: c_int = 0o100_000;
#[cfg(not(target_arch = "aarch64"))]
const O_NOFOLLOW: c_int = 0o400_000;

const SYS_FSCONFIG: c_long = 431;
const SYS_FSPICK: c_long = 433;
const SYS_OPENAT2: c_long = 437;

unsafe extern "C" {
    fn openat(directory: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn mkdirat(directory: c_int, path: *const c_char, mode: c_uint) -> c_int;
    fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    #[link_name = "umask"]
    fn c_umask(mask: c_uint) -> c_uint;
    #[link_name = "statfs"]
    fn c_statfs(path: *const c_char, into: *mut [u64; 15]) -> c_int;
}

/// `struct open_how`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

fn open_at(directory: &OwnedFd, name: &str, flags: c_int) -> io::Result<OwnedFd> {
    let name = c_string(name)?;
    // SAFETY: a string that lives through the call; without O_CREAT there is no mode.
    let fd = check(unsafe { openat(directory.as_raw_fd(), name.as_ptr(), flags | O_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub(crate) fn open_read(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    open_at(directory, name, O_RDONLY)
}

pub(crate) fn open_write(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    open_at(directory, name, O_WRONLY)
}

pub(crate) fn make_directory(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let c_name = c_string(name)?;
    // SAFETY: a string that lives through the call.
    check(unsafe { mkdirat(directory.as_raw_fd(), c_name.as_ptr(), 0o755) })?;
    open_at(directory, name, O_RDONLY | O_DIRECTORY)
}

pub(crate) fn remove_directory(directory: &OwnedFd, name: &str) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: a string that lives through the call.
    check(unsafe { unlinkat(directory.as_raw_fd(), name.as_ptr(), AT_REMOVEDIR) }).map(drop)
}

/// A short file of `/proc`, which its kernel makes anew for each call.
pub(crate) fn read_at_once(path: &str) -> io::Result<String> {
    let mut text = vec![0; 8192];
    let len = File::open(path)?.read(&mut text)?;
    text.truncate(len);
    String::from_utf8(text).map_err(io::Error::other)
}

/// Names a file without opening it.
pub(crate) fn open_path(path: &str) -> io::Result<OwnedFd> {
    let path = path_string(path)?;
    // SAFETY: a string that lives through the call; without O_CREAT there is no mode.
    let fd = check(unsafe { openat(AT_FDCWD, path.as_ptr(), O_PATH | O_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Opens what is beneath the current directory for reading, without following a link, leaving its file system or waiting.
pub(crate) fn open_beneath(path: &str) -> io::Result<File> {
    /// No other mount, no magic link, no link, nothing above.
    const RESOLVE: u64 = 0b1111;
    let (follow, resolve) = if in_force(Layer::Links) { (O_NOFOLLOW, RESOLVE) } else { (0, 0) };
    let path = path_string(path)?;
    let how =
        OpenHow { flags: (O_RDONLY | follow | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) as u64, mode: 0, resolve };
    // SAFETY: the string and the structure live through the call, the structure has the size that is given.
    let fd = check(unsafe {
        syscall(SYS_OPENAT2, AT_FDCWD, path.as_ptr(), &raw const how, size_of::<OpenHow>())
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { File::from_raw_fd(fd as RawFd) })
}

/// A file in memory with these bytes, closed on exec, for others to map.
pub(crate) fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    const MFD_CLOEXEC: c_uint = 1;
    const MFD_EXEC: c_uint = 0x10;
    let make = |flags| {
        // SAFETY: a string that lives through the call.
        check(unsafe { memfd_create(c"livecode-warm".as_ptr(), flags) })
    };
    // Kernels before 6.3 don't know the flag, and need it not.
    let fd = make(MFD_CLOEXEC | MFD_EXEC).or_else(|_| make(MFD_CLOEXEC))?;
    // SAFETY: the kernel has just made this descriptor for us.
    let mut file = unsafe { File::from_raw_fd(fd as RawFd) };
    file.write_all(bytes)?;
    // What is opened by its name in /proc is opened anew: nobody else may write it.
    file.set_permissions(PermissionsExt::from_mode(0o555))?;
    Ok(file.into())
}

/// Whether a file system has no room left, for another byte or another file.
pub(crate) fn is_full(path: &str) -> io::Result<bool> {
    /// Words of `struct statfs` on 64-bit machines.
    const AVAILABLE_BLOCKS: usize = 4;
    const FREE_FILES: usize = 6;
    let path = path_string(path)?;
    let mut found = [0; 15];
    // SAFETY: a string, and the 120 bytes of `struct statfs`, both of which live through the call.
    check(unsafe { c_statfs(path.as_ptr(), &raw mut found) })?;
    Ok(found[AVAILABLE_BLOCKS] == 0 || found[FREE_FILES] == 0)
}

/// Sets options of the file system that is mounted where `root` is.
pub(crate) fn reconfigure(root: &OwnedFd, options: &[(&str, &str)]) -> io::Result<()> {
    const FSPICK_CLOEXEC: c_uint = 1;
    const FSPICK_EMPTY_PATH: c_uint = 8;
    const SET_STRING: c_uint = 1;
    const RECONFIGURE: c_uint = 7;
    let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
    // SAFETY: an empty string.
    let fd = check(unsafe { syscall(SYS_FSPICK, root.as_raw_fd(), c"".as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    let file_system = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let fd = file_system.as_raw_fd();
    for (name, value) in options {
        let (name, value) = (c_string(*name)?, c_string(*value)?);
        // SAFETY: two strings that live through the call.
        check(unsafe { syscall(SYS_FSCONFIG, fd, SET_STRING, name.as_ptr(), value.as_ptr(), 0 as c_int) })?;
    }
    let none = ptr::null::<c_void>();
    // SAFETY: this command takes neither name nor value.
    check(unsafe { syscall(SYS_FSCONFIG, fd, RECONFIGURE, none, none, 0 as c_int) }).map(drop)
}

pub(crate) fn umask(mask: u32) {
    // SAFETY: no memory is involved; it can't fail.
    unsafe { c_umask(mask) };
}
