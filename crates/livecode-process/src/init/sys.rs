//! The kernel's calls that std doesn't have, each wrapped so that the rest of the program is safe code.

mod files;
mod landlock;
mod processes;

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_void},
    io,
    mem::size_of,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::Path,
    ptr,
};

pub(crate) use self::{files::*, landlock::*, processes::*};

pub(crate) const CLONE_NEWNS: u64 = 0x0002_0000;
pub(crate) const CLONE_NEWCGROUP: u64 = 0x0200_0000;
pub(crate) const CLONE_NEWUTS: u64 = 0x0400_0000;
pub(crate) const CLONE_NEWIPC: u64 = 0x0800_0000;
pub(crate) const CLONE_NEWUSER: u64 = 0x1000_0000;
pub(crate) const CLONE_NEWPID: u64 = 0x2000_0000;
pub(crate) const CLONE_NEWNET: u64 = 0x4000_0000;

pub(crate) const MS_RDONLY: c_ulong = 1;
pub(crate) const MS_NOSUID: c_ulong = 2;
pub(crate) const MS_NODEV: c_ulong = 4;
pub(crate) const MS_NOEXEC: c_ulong = 8;
pub(crate) const MS_REMOUNT: c_ulong = 32;
pub(crate) const MS_BIND: c_ulong = 4096;
pub(crate) const MS_REC: c_ulong = 16384;
pub(crate) const MS_PRIVATE: c_ulong = 1 << 18;
const MNT_DETACH: c_int = 2;
pub(crate) const MOUNT_ATTR_RDONLY: u64 = 1;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 2;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 4;
const AT_RECURSIVE: c_uint = 0x8000;
const AT_FDCWD: c_int = -100;

pub(crate) const SIGKILL: c_int = 9;

pub(crate) const PR_SET_DUMPABLE: c_int = 4;
pub(crate) const PR_SET_NAME: c_int = 15;
pub(crate) const PR_GET_SECCOMP: c_int = 21;
pub(crate) const PR_SET_SECCOMP: c_int = 22;
pub(crate) const PR_CAPBSET_DROP: c_int = 24;
pub(crate) const PR_SET_SECUREBITS: c_int = 28;
pub(crate) const PR_SET_NO_NEW_PRIVS: c_int = 38;
pub(crate) const PR_CAP_AMBIENT: c_int = 47;
pub(crate) const PR_CAP_AMBIENT_CLEAR_ALL: c_ulong = 4;
pub(crate) const SECCOMP_MODE_FILTER: c_ulong = 2;

const SYS_CLOSE_RANGE: c_long = 436;
const SYS_MOUNT_SETATTR: c_long = 442;
#[cfg(target_arch = "x86_64")]
const SYS_PIVOT_ROOT: c_long = 155;
#[cfg(target_arch = "x86_64")]
const SYS_RT_SIGACTION: c_long = 13;
#[cfg(target_arch = "aarch64")]
const SYS_RT_SIGACTION: c_long = 134;
#[cfg(target_arch = "x86_64")]
const SYS_CAPSET: c_long = 126;
#[cfg(target_arch = "aarch64")]
const SYS_PIVOT_ROOT: c_long = 41;
#[cfg(target_arch = "aarch64")]
const SYS_CAPSET: c_long = 91;

/// A resource of `setrlimit`.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollFd {
    pub(crate) fd: RawFd,
    pub(crate) events: i16,
    pub(crate) revents: i16,
}

impl PollFd {
    pub(crate) fn readable(fd: &impl AsRawFd) -> Self {
        Self { fd: fd.as_raw_fd(), events: 1, revents: 0 }
    }

    /// One that is never ready where there is none.
    pub(crate) fn readable_if_any(fd: Option<&OwnedFd>) -> Self {
        Self { fd: fd.map_or(-1, AsRawFd::as_raw_fd), events: 1, revents: 0 }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.revents != 0
    }
}

#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const u8,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn prctl(option: c_int, ...) -> c_int;
    #[link_name = "mount"]
    fn c_mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    #[link_name = "unshare"]
    fn c_unshare(flags: c_int) -> c_int;
    #[link_name = "sethostname"]
    fn c_sethostname(name: *const c_char, len: usize) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    #[link_name = "setsid"]
    fn c_setsid() -> c_int;
    fn getrlimit(resource: c_int, limit: *mut [u64; 2]) -> c_int;
    fn setrlimit(resource: c_int, limit: *const [u64; 2]) -> c_int;
    fn prlimit(pid: c_int, resource: c_int, new: *const [u64; 2], old: *mut [u64; 2]) -> c_int;
    #[link_name = "dup2"]
    fn c_dup2(from: c_int, to: c_int) -> c_int;
    #[link_name = "execve"]
    fn c_execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    fn setns(fd: c_int, kind: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const [u64; 16], old: *mut [u64; 16]) -> c_int;
    #[link_name = "poll"]
    fn c_poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
}

pub(crate) fn check(result: impl Into<i64>) -> io::Result<i64> {
    let result = result.into();
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(crate) fn c_string(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

fn path_string(path: impl AsRef<Path>) -> io::Result<CString> {
    c_string(path.as_ref().as_os_str().as_encoded_bytes())
}

/// Keeps capabilities across changes of the effective user.
pub(crate) fn keep_powers() -> io::Result<()> {
    const NO_SETUID_FIXUP: c_ulong = 4;
    set_process(PR_SET_SECUREBITS, NO_SETUID_FIXUP)
}

/// Has this process killed when the thread that made it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    const PR_SET_PDEATHSIG: c_int = 1;
    set_process(PR_SET_PDEATHSIG, SIGKILL as c_ulong)
}

pub(crate) fn mount(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> io::Result<()> {
    let (source, target, kind, data) =
        (c_string(source)?, path_string(target)?, c_string(kind)?, c_string(data)?);
    // SAFETY: four strings that live through the call.
    check(unsafe { c_mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })
        .map(drop)
}

pub(crate) fn bind(source: &str, target: &str) -> io::Result<()> {
    mount(source, target, "", MS_BIND | MS_REC, "")
}

/// Gives everything mounted at `target` and below these attributes.
pub(crate) fn lock_down(target: &str, attributes: u64) -> io::Result<()> {
    let attributes = MountAttr { set: attributes, clear: 0, propagation: 0, userns_fd: 0 };
    let target = path_string(target)?;
    // SAFETY: the string and the structure live through the call, the structure has the size that is given.
    check(unsafe {
        syscall(
            SYS_MOUNT_SETATTR,
            AT_FDCWD,
            target.as_ptr(),
            AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

pub(crate) fn unmount(target: &str) -> io::Result<()> {
    let target = path_string(target)?;
    // SAFETY: a string that lives through the call.
    check(unsafe { umount2(target.as_ptr(), MNT_DETACH) }).map(drop)
}

pub(crate) fn pivot_root(new: &str, old: &str) -> io::Result<()> {
    let (new, old) = (path_string(new)?, path_string(old)?);
    // SAFETY: two strings that live through the call.
    check(unsafe { syscall(SYS_PIVOT_ROOT, new.as_ptr(), old.as_ptr()) }).map(drop)
}

pub(crate) fn unshare_cgroup() -> io::Result<()> {
    unshare(CLONE_NEWCGROUP)
}

/// Makes namespaces of these kinds and enters them.
pub(crate) fn unshare(namespaces: u64) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { c_unshare(namespaces as c_int) }).map(drop)
}

/// Enters a namespace of that kind.
pub(crate) fn enter(namespace: &impl AsRawFd, kind: u64) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { setns(namespace.as_raw_fd(), kind as c_int) }).map(drop)
}

pub(crate) fn sethostname(name: &CStr) -> io::Result<()> {
    // SAFETY: a string and its length.
    check(unsafe { c_sethostname(name.as_ptr(), name.count_bytes()) }).map(drop)
}

/// Becomes that user and group, without supplementary groups where those may be changed.
pub(crate) fn become_user(uid: u32, gid: u32, clear_groups: bool) -> io::Result<()> {
    // SAFETY: no memory is involved; no groups are read where the count is 0.
    unsafe {
        if clear_groups {
            check(setgroups(0, ptr::null()))?;
        }
        check(setresgid(gid, gid, gid))?;
        check(setresuid(uid, uid, uid)).map(drop)
    }
}

pub(crate) fn set_process(option: c_int, value: c_ulong) -> io::Result<()> {
    // SAFETY: only options whose arguments are integers are passed here.
    check(unsafe { prctl(option, value, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) }).map(drop)
}

/// For options without arguments, whose answer is a number.
pub(crate) fn get_process(option: c_int) -> io::Result<c_ulong> {
    // SAFETY: no memory is involved.
    check(unsafe { prctl(option, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) })
        .map(|answer| answer as c_ulong)
}

pub(crate) fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: a string; the kernel reads 16 bytes of it at most and stops at its end.
    check(unsafe { prctl(PR_SET_NAME, name.as_ptr()) }).map(drop)
}

/// What this process is called.
#[expect(dead_code, reason = "for copies of interpreters, which the library makes")]
pub(crate) fn own_name() -> io::Result<CString> {
    const PR_GET_NAME: c_int = 16;
    let mut name = [0u8; 16];
    // SAFETY: the kernel writes 16 bytes at most, with a null among them.
    check(unsafe { prctl(PR_GET_NAME, name.as_mut_ptr()) })?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    c_string(&name[..end])
}

/// Gives up every capability in every set, for good.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    // All but keep-caps, each with its lock: root has no powers by being root, and nothing is raised on exec.
    const SECUREBITS: c_ulong = 0b1110_1111;
    for capability in 0.. {
        match set_process(PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // The one after the last that this kernel knows.
            Err(error) if error.raw_os_error() == Some(22) && capability > 30 => break,
            Err(error) => return Err(error),
        }
    }
    set_process(PR_SET_SECUREBITS, SECUREBITS)?;
    set_process(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)?;
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    // SAFETY: a header of version 3 for this process and the two triples of that version.
    check(unsafe { syscall(SYS_CAPSET, header.as_ptr(), none.as_ptr()) }).map(drop)
}

/// Keeps of all capabilities only those to be another user and, as one, to enter a cgroup of ours, and to enter a network; beyond
/// an exec.
pub(crate) fn keep_few_powers() -> io::Result<()> {
    const DAC_OVERRIDE: c_ulong = 1;
    const SETUID: c_ulong = 7;
    const SYS_ADMIN: c_ulong = 21;
    for capability in (0..).filter(|capability| ![DAC_OVERRIDE, SETUID, SYS_ADMIN].contains(capability)) {
        match set_process(PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // The one after the last that this kernel knows.
            Err(error) if error.raw_os_error() == Some(22) && capability > 30 => break,
            Err(error) => return Err(error),
        }
    }
    set_process(PR_SET_NO_NEW_PRIVS, 1)
}

pub(crate) fn install_seccomp(program: &[u8]) -> io::Result<()> {
    let instructions =
        u16::try_from(program.len() / 8).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = SockFprog { len: instructions, filter: program.as_ptr() };
    // SAFETY: the kernel reads `len` instructions of 8 bytes at `filter`, which are there and live through the call.
    check(unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) }).map(drop)
}

pub(crate) fn setsid() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { c_setsid() }).map(drop)
}

/// Lowers a limit; what is lower already stays so.
pub(crate) fn lower_rlimit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let mut limit = [0u64; 2];
    // SAFETY: the pair lives through the call.
    check(unsafe { getrlimit(resource as c_int, &raw mut limit) })?;
    limit = [soft.min(limit[1]), hard.min(limit[1])];
    // SAFETY: as before.
    check(unsafe { setrlimit(resource as c_int, &raw const limit) }).map(drop)
}

/// Lowers a limit of a process of ours, which is as high as our own.
pub(crate) fn limit_other(pid: i32, resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let mut limit = [0u64; 2];
    // SAFETY: the pair lives through the call.
    check(unsafe { getrlimit(resource as c_int, &raw mut limit) })?;
    limit = [soft.min(limit[1]), hard.min(limit[1])];
    // SAFETY: as before.
    check(unsafe { prlimit(pid, resource as c_int, &raw const limit, ptr::null_mut()) }).map(drop)
}

/// As high as it may be.
pub(crate) fn raise_rlimit(resource: Resource) -> io::Result<()> {
    let mut limit = [0u64; 2];
    // SAFETY: the pair lives through the call.
    check(unsafe { getrlimit(resource as c_int, &raw mut limit) })?;
    limit[0] = limit[1];
    // SAFETY: as before.
    check(unsafe { setrlimit(resource as c_int, &raw const limit) }).map(drop)
}

pub(crate) fn dup2(from: &impl AsRawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved; only standard streams, which std doesn't own, and numbers that nobody has are replaced.
    check(unsafe { c_dup2(from.as_raw_fd(), to) }).map(drop)
}

/// Closes every descriptor from 3 on that isn't in `keep`. The owners of the others must never be dropped afterwards.
pub(crate) fn close_others(keep: &mut [RawFd]) -> io::Result<()> {
    keep.sort_unstable();
    let mut first = 3;
    for &fd in keep.iter().chain([&RawFd::MAX]) {
        if fd > first {
            // SAFETY: no memory is involved; the caller gives up the owners.
            check(unsafe { syscall(SYS_CLOSE_RANGE, first as c_uint, (fd - 1) as c_uint, 0 as c_uint) })?;
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}

/// Only comes back where it fails.
pub(crate) fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: three things that live through the call: a string and two lists of strings that end with a null.
    unsafe { c_execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Every signal does what it does by itself, and none is blocked. By the call itself: the C library keeps two to itself.
pub(crate) fn reset_signals() {
    let default = [0u64; 4];
    for number in 1..=64 {
        // SAFETY: `struct sigaction` of the kernel, with a set of 8 bytes: all zeroes is the default. Those that can't be set
        // have it.
        unsafe {
            syscall(SYS_RT_SIGACTION, number as c_int, default.as_ptr(), ptr::null::<c_void>(), 8usize)
        };
    }
    let none = [0u64; 16];
    // SAFETY: a set of signals, of the C library's size, lives through the call; it can't fail with these arguments.
    unsafe { sigprocmask(2, &raw const none, ptr::null_mut()) };
}

/// Waits until something is readable or hung up, at most so long; forever without a time.
pub(crate) fn poll(fds: &mut [PollFd], timeout_ms: Option<i32>) -> io::Result<()> {
    // SAFETY: the list and its length.
    match check(unsafe { c_poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout_ms.unwrap_or(-1)) }) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(error),
    }
}
