//! The system call filter: an allow list, as BPF that searches sorted ranges.
//!
//! What isn't known gets `ENOSYS`, so that runtimes fall back; what is known and refused gets `EPERM`. Nothing kills: a
//! probe isn't an attack. The list is Docker's default profile less what a program that only computes has no use for
//! (<https://github.com/moby/profiles>, seccomp/default.json).

use std::collections::BTreeMap;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Refuse(u32),
    /// Refused with `EPERM` where argument `argument` has any of the bits.
    UnlessBits {
        argument: u32,
        bits: u32,
    },
    /// Refused with `errno` where the low half of argument `argument` is one of these.
    Unless {
        argument: u32,
        values: &'static [u32],
        errno: u32,
    },
    /// Refused with `EPERM` where the low half of argument 1 is one of these levels and that of argument 2 one of its options.
    UnlessOption {
        levels: &'static [(u32, &'static [u32])],
    },
    /// Streams and datagrams of `FAMILIES`, each by its own protocol, and local sockets of all kinds.
    Sockets,
    /// Refused with `errno` unless the low half of argument `argument` is one of these.
    Only {
        argument: u32,
        values: &'static [u32],
        errno: u32,
    },
}

const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;
const EAFNOSUPPORT: u32 = libc::EAFNOSUPPORT as u32;
const EPROTONOSUPPORT: u32 = libc::EPROTONOSUPPORT as u32;

/// Not `CLONE_NEWTIME`, whose bit is the exit signal's in this call.
const NEW_NAMESPACES: u32 = 0x7E02_0000;
/// Not netlink: what waits in its sockets is nobody's memory, gigabytes of it. Nor a protocol that the kernel may not have:
/// it would start the host's `modprobe` for each such call, on nobody's CPU time, and load what no program needs.
const FAMILIES: [u32; 2] = [libc::AF_INET as u32, libc::AF_INET6 as u32];
const PROTOCOLS: [(u32, [u32; 2]); 2] = [
    (libc::SOCK_STREAM as u32, [0, libc::IPPROTO_TCP as u32]),
    (libc::SOCK_DGRAM as u32, [0, libc::IPPROTO_UDP as u32]),
];
/// Typing on a terminal, and what makes the kernel load bridges and VLANs.
const IOCTLS: &[u32] = &[libc::TIOCSTI as u32, 0x541C, 0x8940, 0x8941, 0x8982, 0x8983];
/// Filters on sockets: translated to machine code in memory that is nobody's, of which there is little for the whole machine.
const SOCKET_FILTERS: &[u32] = &[
    libc::SO_ATTACH_FILTER as u32,
    libc::SO_ATTACH_BPF as u32,
    libc::SO_ATTACH_REUSEPORT_CBPF as u32,
    libc::SO_ATTACH_REUSEPORT_EBPF as u32,
];
/// And what else is memory of sockets that no cgroup counts, or makes the kernel load what it hasn't: keys of TCP, and
/// groups, of which nobody has need without a network.
const SOCKET_OPTIONS: &[(u32, &[u32])] = &[
    (libc::SOL_SOCKET as u32, SOCKET_FILTERS),
    // TCP_MD5SIG, TCP_REPAIR and its kin, TCP_ULP, TCP_MD5SIG_EXT, TCP_AO_*.
    (libc::IPPROTO_TCP as u32, &[14, 19, 20, 21, 22, 31, 32, 38, 39, 40, 41, 42, 43]),
    // Groups joined, by source as well.
    (libc::IPPROTO_IP as u32, &[35, 39, 41, 42, 46, 48]),
    (libc::IPPROTO_IPV6 as u32, &[20, 27, 42, 46, 48]),
];
/// Commands that touch nothing but the caller's own: no leases, no watches on directories, and none that is new.
const FCNTL: &[u32] = &[
    libc::F_DUPFD as u32,
    libc::F_GETFD as u32,
    libc::F_SETFD as u32,
    libc::F_GETFL as u32,
    libc::F_SETFL as u32,
    libc::F_GETLK as u32,
    libc::F_SETLK as u32,
    libc::F_SETLKW as u32,
    libc::F_SETOWN as u32,
    libc::F_GETOWN as u32,
    // F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX.
    10,
    11,
    15,
    16,
    libc::F_OFD_GETLK as u32,
    libc::F_OFD_SETLK as u32,
    libc::F_OFD_SETLKW as u32,
    libc::F_DUPFD_CLOEXEC as u32,
    libc::F_SETPIPE_SZ as u32,
    libc::F_GETPIPE_SZ as u32,
    libc::F_ADD_SEALS as u32,
    libc::F_GET_SEALS as u32,
    // F_DUPFD_QUERY.
    1027,
];
const RLIMIT_CORE: u32 = libc::RLIMIT_CORE;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed whatever the arguments.
const ALLOWED: &[libc::c_long] = calls! {
    SYS_accept SYS_accept4 SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_getres SYS_clock_gettime
    SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group
    SYS_faccessat SYS_faccessat2 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat
    SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs
    SYS_ftruncate SYS_futex SYS_futex_waitv SYS_get_mempolicy SYS_get_robust_list SYS_getcpu SYS_getcwd
    SYS_getdents64 SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid
    SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage SYS_getsid
    SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch
    SYS_inotify_init1 SYS_inotify_rm_watch
    SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self
    SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise
    SYS_mbind SYS_membarrier SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall
    SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink
    SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_nanosleep
    SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free
    SYS_pkey_mprotect SYS_ppoll SYS_pread64 SYS_preadv SYS_preadv2 SYS_pselect6 SYS_pwrite64 SYS_pwritev
    SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg
    SYS_remap_file_pages SYS_removexattr SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction
    SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr
    SYS_sched_getparam SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_semctl SYS_semget SYS_semop SYS_semtimedop
    SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_mempolicy SYS_set_robust_list SYS_set_tid_address
    SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid
    SYS_setresgid SYS_setresuid SYS_setreuid SYS_setsid SYS_setuid SYS_setxattr SYS_shmat
    SYS_shmctl SYS_shmdt SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_splice SYS_statfs SYS_statx
    SYS_symlinkat SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create
    SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime
    SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_wait4
    SYS_waitid SYS_write SYS_writev
};

#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = calls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_ctl_old
    SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp SYS_inotify_init
    SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename
    SYS_rmdir SYS_select SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork
};
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Known and refused. All others that aren't listed are unknown or too new.
const REFUSED: &[libc::c_long] = calls! {
    SYS_acct SYS_add_key SYS_adjtimex SYS_bpf SYS_chroot SYS_clock_adjtime SYS_clock_settime SYS_delete_module
    SYS_fanotify_init SYS_fanotify_mark SYS_finit_module SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_init_module
    SYS_io_uring_enter SYS_io_uring_register SYS_io_uring_setup SYS_kcmp SYS_kexec_file_load SYS_kexec_load SYS_keyctl
    SYS_lookup_dcookie SYS_memfd_secret SYS_migrate_pages SYS_mount SYS_mount_setattr SYS_move_mount SYS_move_pages
    SYS_name_to_handle_at SYS_nfsservctl SYS_open_by_handle_at SYS_open_tree SYS_perf_event_open SYS_pidfd_getfd
    SYS_pivot_root SYS_process_madvise SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace
    SYS_quotactl SYS_quotactl_fd SYS_reboot SYS_request_key SYS_seccomp SYS_setdomainname SYS_sethostname SYS_setns
    SYS_settimeofday SYS_swapoff SYS_swapon SYS_syslog SYS_umount2 SYS_unshare SYS_userfaultfd SYS_vhangup SYS_vmsplice
};

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] =
    calls! { SYS_ioperm SYS_iopl SYS_modify_ldt SYS_sysfs SYS_uselib SYS_ustat SYS__sysctl };
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Allowed for some arguments.
const CONDITIONAL: &[(libc::c_long, Action)] = &[
    (libc::SYS_clone, Action::UnlessBits { argument: 0, bits: NEW_NAMESPACES }),
    // Huge pages are nobody's memory but the hugetlb controller's, which isn't everywhere.
    (libc::SYS_mmap, Action::UnlessBits { argument: 3, bits: libc::MAP_HUGETLB as u32 }),
    (libc::SYS_memfd_create, Action::UnlessBits { argument: 1, bits: libc::MFD_HUGETLB }),
    (libc::SYS_shmget, Action::UnlessBits { argument: 2, bits: libc::SHM_HUGETLB as u32 }),
    // Its flags are behind a pointer, which a filter can't follow; libraries fall back to `clone`.
    (libc::SYS_clone3, Action::Refuse(ENOSYS)),
    // PER_LINUX, and the query.
    (libc::SYS_personality, Action::Only { argument: 0, values: &[0, u32::MAX], errno: EPERM }),
    (
        libc::SYS_prctl,
        Action::Unless {
            argument: 0,
            // Of the last two the first groups threads by core, the other merges memory with other runs'.
            values: &[libc::PR_SET_MM as u32, libc::PR_SET_SECCOMP as u32, 62, 67],
            errno: EPERM,
        },
    ),
    // The kernel looks at the low half only, and so must we: CVE-2019-10063.
    (libc::SYS_ioctl, Action::Unless { argument: 1, values: IOCTLS, errno: EPERM }),
    // A lease keeps who opens the file for writing waiting, on the host as well.
    (libc::SYS_fcntl, Action::Only { argument: 1, values: FCNTL, errno: EPERM }),
    // Done: what a program writes is in memory, and the host's disks are not its to hurry, nor the host's cache to empty.
    (libc::SYS_fadvise64, Action::Refuse(0)),
    (libc::SYS_fdatasync, Action::Refuse(0)),
    (libc::SYS_fsync, Action::Refuse(0)),
    (libc::SYS_sync, Action::Refuse(0)),
    (libc::SYS_sync_file_range, Action::Refuse(0)),
    (libc::SYS_syncfs, Action::Refuse(0)),
    (libc::SYS_setsockopt, Action::UnlessOption { levels: SOCKET_OPTIONS }),
    // 1 is what keeps a `core_pattern` with a pipe from being started by a crash, as the host's root; 0 isn't: core(5).
    (libc::SYS_setrlimit, Action::Unless { argument: 0, values: &[RLIMIT_CORE], errno: EPERM }),
    (libc::SYS_prlimit64, Action::Unless { argument: 1, values: &[RLIMIT_CORE], errno: EPERM }),
    (libc::SYS_socket, Action::Sockets),
    (
        libc::SYS_socketpair,
        Action::Only { argument: 0, values: &[libc::AF_UNIX as u32], errno: EAFNOSUPPORT },
    ),
];

type Instruction = (u16, u8, u8, u32);

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const RETURN_ALLOW: u32 = 0x7FFF_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

fn errno(errno: u32) -> Instruction {
    (RETURN, 0, 0, RETURN_ERRNO | errno)
}

const ALLOW: Instruction = (RETURN, 0, 0, RETURN_ALLOW);

/// The filter for this machine's own architecture, as the bytes of `struct sock_filter`s.
pub(crate) fn filter() -> Vec<u8> {
    let mut program =
        vec![(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, ARCH), errno(ENOSYS), (LOAD, 0, 0, NUMBER)];
    // x32 calls have bit 30 set, which is above all that are known, and so unknown like them.
    program.extend(search(&ranges()));
    program
        .into_iter()
        .flat_map(|(code, yes, no, value)| {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&code.to_ne_bytes());
            bytes[2] = yes;
            bytes[3] = no;
            bytes[4..].copy_from_slice(&value.to_ne_bytes());
            bytes
        })
        .collect()
}

/// The first number of each stretch with one action, from 0 on.
fn ranges() -> Vec<(u32, Action)> {
    let mut actions = BTreeMap::new();
    let number = |call: &libc::c_long| u32::try_from(*call).unwrap_or(u32::MAX);
    actions.extend(ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (number(call), Action::Allow)));
    actions.extend(REFUSED.iter().chain(REFUSED_HERE).map(|call| (number(call), Action::Refuse(EPERM))));
    actions.extend(CONDITIONAL.iter().map(|(call, action)| (number(call), *action)));
    let last = actions.keys().next_back().copied().unwrap_or(0);
    let mut ranges: Vec<(u32, Action)> = Vec::new();
    for call in 0..=last + 1 {
        let action = actions.get(&call).copied().unwrap_or(Action::Refuse(ENOSYS));
        if ranges.last().is_none_or(|(_, previous)| *previous != action) {
            ranges.push((call, action));
        }
    }
    ranges
}

/// Halves the ranges until one is left.
fn search(ranges: &[(u32, Action)]) -> Vec<Instruction> {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    match (lower, upper) {
        (_, []) => vec![errno(ENOSYS)],
        ([], [(_, action), ..]) => decide(*action),
        (_, [(middle, _), ..]) => {
            let (below, above) = (search(lower), search(upper));
            let mut program = match u8::try_from(below.len()) {
                Ok(length) => vec![(JUMP_AT_LEAST, length, 0, *middle)],
                // Too far for a conditional jump.
                Err(_) => vec![(JUMP_AT_LEAST, 0, 1, *middle), (JUMP, 0, 0, below.len() as u32)],
            };
            program.extend(below);
            program.extend(above);
            program
        }
    }
}

fn decide(action: Action) -> Vec<Instruction> {
    let low_half = |argument: u32| (LOAD, 0, 0, 16 + 8 * argument);
    // From the test of each value to the instruction after the next one.
    let any_of = |values: &[u32]| -> Vec<Instruction> {
        let far = |index: usize| u8::try_from(values.len() - index).unwrap_or(u8::MAX);
        values.iter().enumerate().map(|(index, value)| (JUMP_EQUAL, far(index), 0, *value)).collect()
    };
    match action {
        Action::Allow => vec![ALLOW],
        Action::Refuse(code) => vec![errno(code)],
        Action::UnlessBits { argument, bits } => {
            vec![low_half(argument), (JUMP_ANY_BIT, 0, 1, bits), errno(EPERM), ALLOW]
        }
        Action::Unless { argument, values, errno: code } => {
            [vec![low_half(argument)], any_of(values), vec![ALLOW, errno(code)]].concat()
        }
        Action::UnlessOption { levels } => {
            let mut program = vec![low_half(1)];
            for (level, options) in levels {
                let refused = [vec![low_half(2)], any_of(options), vec![ALLOW, errno(EPERM)]].concat();
                program.push((JUMP_EQUAL, 0, u8::try_from(refused.len()).unwrap_or(u8::MAX), *level));
                program.extend(refused);
            }
            program.push(ALLOW);
            program
        }
        Action::Sockets => {
            let protocol = |values: &[u32]| {
                [vec![low_half(2)], any_of(values), vec![errno(EPROTONOSUPPORT), ALLOW]].concat()
            };
            let mut program = vec![low_half(1), (AND, 0, 0, 0xF)];
            for (kind, values) in PROTOCOLS {
                let checked = protocol(&values);
                program.push((JUMP_EQUAL, 0, u8::try_from(checked.len()).unwrap_or(u8::MAX), kind));
                program.extend(checked);
            }
            program.push(errno(EPROTONOSUPPORT));
            let family = [any_of(&FAMILIES), vec![errno(EAFNOSUPPORT)]].concat();
            let local = vec![low_half(0), (JUMP_EQUAL, 0, 1, libc::AF_UNIX as u32), ALLOW];
            [local, family, program].concat()
        }
        Action::Only { argument, values, errno: code } => {
            [vec![low_half(argument)], any_of(values), vec![errno(code), ALLOW]].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ALLOWED, ALLOWED_HERE, ARCH, CONDITIONAL, REFUSED, REFUSED_HERE, filter};

    const ALLOW: u32 = 0x7FFF_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    const EAFNOSUPPORT: u32 = 0x0005_0061;
    const EPROTONOSUPPORT: u32 = 0x0005_005D;

    /// What the kernel's interpreter would say.
    fn decide(program: &[u8], arch: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [call.to_ne_bytes(), arch.to_ne_bytes(), [0; 4], [0; 4]].concat();
        data.extend(arguments.into_iter().flat_map(u64::to_ne_bytes));
        let (mut at, mut register) = (0, 0);
        loop {
            let instruction = &program[at * 8..][..8];
            let code = u16::from_ne_bytes([instruction[0], instruction[1]]);
            let (yes, no) = (usize::from(instruction[2]), usize::from(instruction[3]));
            let value = u32::from_ne_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
            at += 1;
            let mut branch = |condition: bool| at += if condition { yes } else { no };
            match code {
                0x20 => {
                    let word = &data[value as usize..][..4];
                    register = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
                }
                0x54 => register &= value,
                0x05 => at += value as usize,
                0x15 => branch(register == value),
                0x35 => branch(register >= value),
                0x45 => branch(register & value != 0),
                0x06 => return value,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn every_number_gets_what_the_lists_say() {
        let program = filter();
        let mut expected = BTreeMap::new();
        let number = |call: &libc::c_long| u32::try_from(*call).unwrap();
        expected.extend(ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (number(call), ALLOW)));
        expected.extend(REFUSED.iter().chain(REFUSED_HERE).map(|call| (number(call), EPERM)));
        let conditional: Vec<u32> = CONDITIONAL.iter().map(|(call, _)| number(call)).collect();
        let listed = ALLOWED.len() + ALLOWED_HERE.len() + REFUSED.len() + REFUSED_HERE.len();
        assert_eq!(expected.len(), listed, "a call is listed twice");
        assert!(conditional.iter().all(|call| !expected.contains_key(call)), "a call is listed twice");
        // All that there are, some that there aren't yet, and x32's.
        for call in (0..2000).chain(0x4000_0000..0x4000_0400).chain([u32::MAX]) {
            if !conditional.contains(&call) {
                let decided = decide(&program, ARCH, call, [0; 6]);
                assert_eq!(decided, expected.get(&call).copied().unwrap_or(ENOSYS), "system call {call}");
            }
        }
    }

    #[test]
    fn another_architecture_gets_nothing() {
        // i386 shares this machine's entry: its numbers mean other calls.
        for call in 0..500 {
            assert_eq!(decide(&filter(), 0x4000_0003, call, [0; 6]), ENOSYS);
        }
    }

    #[test]
    fn arguments_are_looked_at() {
        let program = filter();
        let with = |call: libc::c_long, argument: usize, value: u64| {
            let mut arguments = [0; 6];
            arguments[argument] = value;
            decide(&program, ARCH, u32::try_from(call).unwrap(), arguments)
        };
        assert_eq!(with(libc::SYS_clone, 0, 0x0012_0011), EPERM, "a mount namespace");
        assert_eq!(with(libc::SYS_clone, 0, 0x003D_0F00), ALLOW, "a thread");
        assert_eq!(with(libc::SYS_mmap, 3, 0x4_0022), EPERM, "huge pages");
        assert_eq!(with(libc::SYS_mmap, 3, 0x22), ALLOW);
        assert_eq!(with(libc::SYS_memfd_create, 1, 5), EPERM, "huge pages");
        assert_eq!(with(libc::SYS_shmget, 2, 0o5600), EPERM, "huge pages");
        assert_eq!(with(libc::SYS_clone3, 0, 0), ENOSYS);
        let socket = |family: u64, kind: u64, protocol: u64| {
            let socket = u32::try_from(libc::SYS_socket).unwrap();
            decide(&program, ARCH, socket, [family | 1 << 40, kind, protocol | 1 << 40, 0, 0, 0])
        };
        for family in [2, 10] {
            assert_eq!(socket(family, 1 | 0o2_004_000, 6), ALLOW, "TCP");
            assert_eq!(socket(family, 1, 0), ALLOW);
            assert_eq!(socket(family, 2, 17), ALLOW, "UDP");
            for (kind, protocol) in [(1, 17), (1, 262), (2, 6), (2, 1), (3, 0), (5, 132), (6, 33), (10, 0)] {
                assert_eq!(socket(family, kind, protocol), EPROTONOSUPPORT, "{kind} {protocol}");
            }
        }
        assert_eq!(socket(1, 5, 0), ALLOW, "a local one");
        for family in [0, 3, 16, 17, 38, 40] {
            assert_eq!(socket(family, 1, 0), EAFNOSUPPORT, "family {family}");
        }
        assert_eq!(with(libc::SYS_socketpair, 0, 1 | 1 << 40), ALLOW, "the high half doesn't count");
        assert_eq!(with(libc::SYS_socketpair, 0, 2), EAFNOSUPPORT);
        assert_eq!(with(libc::SYS_ioctl, 1, 0x8940), EPERM, "bridges");
        assert_eq!(with(libc::SYS_fcntl, 1, 1024), EPERM, "a lease");
        assert_eq!(with(libc::SYS_fcntl, 1, 1026), EPERM, "a watch on a directory");
        assert_eq!(with(libc::SYS_fcntl, 1, 1030), ALLOW);
        assert_eq!(with(libc::SYS_fsync, 0, 0), 0x0005_0000, "done");
        assert_eq!(with(libc::SYS_prctl, 0, 67), EPERM, "memory merged");
        assert_eq!(with(libc::SYS_sync, 0, 0), 0x0005_0000, "done");
        assert_eq!(with(libc::SYS_ioctl, 1, 0x5412), EPERM);
        assert_eq!(
            with(libc::SYS_ioctl, 1, 0x1_0000_5412),
            EPERM,
            "the kernel doesn't look at the high half"
        );
        assert_eq!(with(libc::SYS_ioctl, 1, 0x5401), ALLOW);
        let option =
            |level, option| decide(&program, ARCH, libc::SYS_setsockopt as u32, [0, level, option, 0, 0, 0]);
        assert_eq!(option(1, 26), EPERM, "a filter");
        assert_eq!(option(1, 52 | 1 << 40), EPERM, "the high half doesn't count");
        assert_eq!(option(1, 2), ALLOW);
        assert_eq!(option(41, 26), ALLOW, "another option by the same number");
        assert_eq!(option(6, 14), EPERM, "a key of TCP's");
        assert_eq!(option(6, 1), ALLOW, "no delay");
        assert_eq!(option(41, 20), EPERM, "a group");
        assert_eq!(option(0, 35), EPERM, "a group");
        assert_eq!(with(libc::SYS_prlimit64, 1, 4), EPERM, "a core file's size");
        assert_eq!(with(libc::SYS_prlimit64, 1, 7), ALLOW);
        assert_eq!(with(libc::SYS_prctl, 0, 35), EPERM);
        assert_eq!(with(libc::SYS_prctl, 0, 22), EPERM, "a filter of its own");
        assert_eq!(with(libc::SYS_prctl, 0, 15), ALLOW);
        assert_eq!(with(libc::SYS_personality, 0, 0), ALLOW);
        assert_eq!(with(libc::SYS_personality, 0, 0xFFFF_FFFF), ALLOW);
        assert_eq!(with(libc::SYS_personality, 0, 0x0004_0000), EPERM, "no random addresses");
    }
}
