//! Processes: made, waited for, killed, and what they used.

use std::{
    ffi::{c_int, c_long, c_uint, c_void},
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use super::{SIGKILL, check, die_with_parent, setresuid, syscall};

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const SIGCHLD: u64 = 17;
const P_PIDFD: c_int = 3;
const WEXITED: c_int = 4;
const SYS_CLONE3: c_long = 435;
const SYS_PIDFD_SEND_SIGNAL: c_long = 424;

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

unsafe extern "C" {
    #[link_name = "fork"]
    fn c_fork() -> c_int;
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut [i64; 18]) -> c_int;
    fn waitid(kind: c_int, id: c_uint, info: *mut [u64; 16], options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
    fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int;
}

/// What [`fork`] gave back.
pub(crate) enum Fork {
    Parent { pid: i32, pidfd: OwnedFd },
    Child,
}

/// `clone3` like fork, with new namespaces, into a cgroup of the unified hierarchy where one is given.
pub(crate) fn fork(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        // A child of our parent's has that of ours.
        exit_signal: if namespaces & CLONE_PARENT == 0 { SIGCHLD } else { 0 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live through the call and have the size that is given. No stack is given and memory isn't
    // shared, so the child goes on with a copy of everything; this process has one thread, so no lock is left behind.
    let pid = check(unsafe { syscall(SYS_CLONE3, &raw mut args, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Fork::Child);
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Fork::Parent { pid: pid as i32, pidfd })
}

/// [`fork`] as another effective user, where one is given: ours again behind it. Takes [`keep_powers`].
pub(crate) fn fork_as(
    user: Option<u32>,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Fork> {
    const SAME: c_uint = c_uint::MAX;
    let Some(user) = user else {
        return fork(namespaces, cgroup);
    };
    // SAFETY: no memory is involved.
    check(unsafe { setresuid(SAME, user, SAME) })?;
    let forked = fork(namespaces, cgroup);
    if !matches!(forked, Ok(Fork::Child)) {
        // SAFETY: no memory is involved.
        check(unsafe { setresuid(SAME, 0, SAME) })?;
        // A change of users makes the kernel forget it.
        die_with_parent()?;
    }
    forked
}

/// [`fork_as`] for a child of our parent's, where it comes to no harm when we end.
#[expect(dead_code, reason = "for copies of interpreters, which the library makes")]
pub(crate) fn fork_sibling_as(
    user: Option<u32>,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
) -> io::Result<Fork> {
    fork_as(user, namespaces | CLONE_PARENT, cgroup)
}

/// The C library's own fork, which keeps what it knows of the process true: for what goes on as a program without an exec.
/// None in the child.
pub(crate) fn fork_program() -> io::Result<Option<i32>> {
    // SAFETY: as in `fork`.
    let pid = check(unsafe { c_fork() })?;
    Ok((pid > 0).then_some(pid as i32))
}

pub(crate) fn kill_pid(pid: i32) {
    // SAFETY: no memory is involved. It fails where it's dead, which is fine.
    unsafe { c_kill(pid, SIGKILL) };
}

pub(crate) fn kill_all_but_me() {
    // SAFETY: no memory is involved. It fails where there is nobody, which is fine.
    unsafe { c_kill(-1, SIGKILL) };
}

/// Waits for a child: its pid, its raw status, and the CPU time of it and of those that it waited for. None where there is no
/// child.
pub(crate) fn wait(pid: i32) -> Option<(i32, i32, u64)> {
    // Of `struct rusage` the first four words are user and system time, in seconds and microseconds.
    let (mut status, mut usage) = (0, [0i64; 18]);
    loop {
        // SAFETY: the status and the 144 bytes of `struct rusage` live through the call.
        match check(unsafe { wait4(pid, &raw mut status, 0, &raw mut usage) }) {
            Ok(pid) => {
                let [seconds, micros] = [usage[0] + usage[2], usage[1] + usage[3]].map(i64::unsigned_abs);
                return Some((pid as i32, status, seconds * 1_000_000_000 + micros * 1000));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Reaps a child that is dead, if there is one.
pub(crate) fn reap_dead() -> bool {
    const WNOHANG: c_int = 1;
    // SAFETY: without a status or a usage no memory is involved.
    unsafe { wait4(-1, ptr::null_mut(), WNOHANG, ptr::null_mut()) > 0 }
}

/// Whether there are children, dead or alive.
pub(crate) fn has_children() -> bool {
    const P_ALL: c_int = 0;
    const WNOHANG_AND_NOWAIT: c_int = 1 | 0x0100_0000;
    // SAFETY: without an info no memory is involved; nobody is reaped.
    unsafe { waitid(P_ALL, 0, ptr::null_mut(), WEXITED | WNOHANG_AND_NOWAIT) == 0 }
}

/// Reaps the child that a pidfd names.
pub(crate) fn reap(pidfd: &OwnedFd) -> io::Result<()> {
    let mut info = [0u64; 16];
    // SAFETY: `siginfo_t` has 128 bytes, and these are there.
    check(unsafe { waitid(P_PIDFD, pidfd.as_raw_fd() as c_uint, &raw mut info, WEXITED) }).map(drop)
}

pub(crate) fn kill(pidfd: &OwnedFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe {
        syscall(SYS_PIDFD_SEND_SIGNAL, pidfd.as_raw_fd(), SIGKILL, ptr::null::<c_void>(), 0 as c_uint)
    })
    .map(drop)
}

pub(crate) fn exit(status: c_int) -> ! {
    // SAFETY: never comes back; nothing of ours needs an exit handler.
    unsafe { _exit(status) }
}

/// CPU time of this process.
pub(crate) fn own_cpu_ns() -> io::Result<u64> {
    const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
    clock_ns(CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of another process with all its threads: its clock's number is made of its pid, as clock_getcpuclockid(3) does.
pub(crate) fn cpu_ns_of(pid: i32) -> io::Result<u64> {
    const CPUCLOCK_SCHED: c_int = 2;
    clock_ns(!pid << 3 | CPUCLOCK_SCHED)
}

fn clock_ns(clock: c_int) -> io::Result<u64> {
    let mut time = [0i64; 2];
    // SAFETY: a timespec, which has two words, lives through the call.
    check(unsafe { clock_gettime(clock, &raw mut time) })?;
    Ok(time[0].unsigned_abs() * 1_000_000_000 + time[1].unsigned_abs())
}
