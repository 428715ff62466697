//! Calls that reach into the kernel or into other processes.

use std::fs;

use livecode_process::Layer;

use crate::attempt::{Attempt, attempts};

attempts! {
    a_sibling_is_not_traced [Seccomp] "
child = os.fork()
if child == 0: time.sleep(5); os._exit(0)
try:
    call(101, 117, 16, child, 0, 0)
    os.waitpid(child, 0)
    return True
finally: os.kill(child, 9)
";

    the_memory_of_a_sibling_is_not_read [Seccomp] "
secret = ctypes.create_string_buffer(b'secret')
child = os.fork()
if child == 0: time.sleep(5); os._exit(0)
copy = ctypes.create_string_buffer(7)
here = (ctypes.c_void_p * 2)(ctypes.addressof(copy), 7)
there = (ctypes.c_void_p * 2)(ctypes.addressof(secret), 7)
try: call(310, 270, child, here, 1, there, 1, 0)
finally: os.kill(child, 9)
return copy.value == b'secret'
";

    /// Its own sibling, through whose eyes it could read the host: needs nothing but the filter, since all of a run is one user.
    descriptors_of_a_sibling_are_not_taken [Seccomp] "
child = os.fork()
if child == 0: time.sleep(5); os._exit(0)
try: return call(438, 438, os.pidfd_open(child), 1, 0) > 2
finally: os.kill(child, 9)
";

    processes_are_not_compared [Seccomp] "return call(312, 272, os.getpid(), os.getpid(), 0, 1, 1) == 0";
    keys_are_not_kept [Seccomp] "return call(248, 217, b'user', b'x', b'y', 1, -2) > 0";
    a_user_namespace_is_not_made [Seccomp] "return call(272, 97, 0x10000000) == 0";

    a_user_namespace_is_not_cloned [Seccomp] "
child = call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)
if child == 0: os._exit(0)
return True
";

    a_user_namespace_is_not_cloned_behind_a_pointer [Seccomp] "
arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
child = call(435, 435, arguments, 88)
if child == 0: os._exit(0)
return True
";

    /// Landlock refuses every change to mounts as well.
    nothing_is_mounted_in_namespaces_of_its_own [Seccomp, Landlock] "
call(272, 97, 0x10000000 | 0x20000)
return call(165, 40, b'x', b'/tmp', b'tmpfs', 0, 0) == 0
";

    the_root_is_not_changed [Seccomp] "
call(272, 97, 0x10000000)
os.mkdir('/tmp/root')
return call(161, 51, b'/tmp/root') == 0
";

    namespaces_are_not_entered [Seccomp] "
call(272, 97, 0x10000000 | 0x8000000)
return call(308, 268, os.open('/proc/self/ns/ipc', os.O_RDONLY), 0) == 0
";

    the_host_is_not_renamed [Seccomp] "
call(272, 97, 0x10000000 | 0x4000000)
return call(170, 161, b'mine', 4) == 0
";

    a_mount_is_not_picked_up [Seccomp] "return call(428, 428, -100, b'/usr', 0) > 2";
    mounts_are_not_listed [Seccomp] "
request = (ctypes.c_uint64 * 4)(24, 0xFFFFFFFFFFFFFFFF, 0, 0)
return call(458, 458, request, (ctypes.c_uint64 * 64)(), 64, 0) > 0
";

    rings_are_not_made [Seccomp] "return call(425, 425, 1, ctypes.create_string_buffer(120)) > 2";
    asynchronous_io_is_not_begun [Seccomp] "return call(206, 0, 1, ctypes.byref(ctypes.c_ulong(0))) == 0";

    /// A software event of its own, which `perf_event_paranoid` up to 2 allows.
    nothing_is_measured [Seccomp] "
event = struct.pack('IIQQQQQ', 1, 112, 0, 0, 0, 0, 0b1100000) + bytes(64)
return call(298, 241, event, 0, -1, -1, 0) > 2
";

    page_faults_are_not_handled [Seccomp] "return call(323, 282, 1) > 2";
    memory_is_not_hidden [Seccomp] "return call(447, 447, 0) > 2";
    huge_pages_are_not_taken [Seccomp] "return os.memfd_create('x', 4) > 2";
    pages_are_not_given_away [Seccomp] "
page = ctypes.create_string_buffer(4096)
return call(278, 75, os.pipe()[1], (ctypes.c_void_p * 2)(ctypes.addressof(page), 4096), 1, 0) == 4096
";

    files_have_no_handles [Seccomp] "
handle = (ctypes.c_uint32 * 40)(128)
return call(303, 264, -100, b'/work', handle, ctypes.byref(ctypes.c_int()), 0) == 0
";

    files_are_not_watched_by_the_kernel [Seccomp] "return call(300, 262, 0x200, 0) > 2";
    the_clock_is_not_looked_into [Seccomp] "return call(305, 266, 0, ctypes.create_string_buffer(208)) >= 0";

    filters_are_not_installed [Seccomp] "
allow = struct.pack('HBBI', 6, 0, 0, 0x7fff0000)
instructions = ctypes.create_string_buffer(allow)
program = (ctypes.c_void_p * 2)(1, ctypes.addressof(instructions))
return call(317, 277, 1, 0, program) == 0
";

    filters_are_not_put_on_sockets [Seccomp] "
instructions = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0xffff))
program = struct.pack('HxxxxxxP', 1, ctypes.addressof(instructions))
socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, 26, program)
return True
";

    /// No random addresses, for itself and whatever it executes.
    addresses_stay_random [Seccomp] "return call(135, 92, 0x0040000) >= 0";

    /// A core of size 0 is what a pipe in `core_pattern` doesn't heed; 1, which it has, is.
    the_limit_on_cores_is_not_lowered [Seccomp] "
limit(resource.RLIMIT_CORE, 0)
return True
";

    there_is_no_netlink [Seccomp] "return socket.socket(16, socket.SOCK_RAW).fileno() > 2";
    there_is_no_vsock [Seccomp] "return socket.socket(40, socket.SOCK_STREAM).fileno() > 2";

    /// Here TCP on several paths; where the kernel hasn't one, asking makes it start the host's `modprobe`.
    there_is_no_protocol_but_tcp_and_udp [Seccomp] "
return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).fileno() > 2
";

    there_are_no_packets [Seccomp] "
call(272, 97, 0x10000000 | 0x40000000)
return socket.socket(17, socket.SOCK_RAW).fileno() > 2
";
}

/// CVE-2026-31431.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kernel_does_not_encrypt() {
    let has_it =
        fs::read_to_string("/proc/net/protocols").unwrap().lines().any(|line| line.starts_with("ALG "));
    Attempt::against(&[Layer::Seccomp])
        .where_possible(has_it)
        .python("return socket.socket(38, socket.SOCK_SEQPACKET).fileno() > 2")
        .await;
}

/// i386's `getppid`, from machine code: a filter that looked at numbers alone would take it for another call.
#[cfg(target_arch = "x86_64")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_another_architecture_are_not_there() {
    Attempt::against(&[Layer::Seccomp])
        .python(
            "
import mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(b'\\xb8\\x40\\x00\\x00\\x00\\xcd\\x80\\xc3')
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
return function() == os.getppid()
",
        )
        .await;
}

/// Lines as if typed on the host's terminal, CVE-2017-5226, and with high bits set, CVE-2019-10063: on a descriptor that
/// came by mistake. Nobody's without the mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_typed_on_the_hosts_terminal() {
    // The slave leaks. Let go of again by each run, so that its end doesn't hang it up.
    let (mut master, mut slave) = (0, 0);
    let nothing = std::ptr::null_mut();
    // SAFETY: two descriptors are written; name and settings may be absent.
    let result =
        unsafe { libc::openpty(&raw mut master, &raw mut slave, nothing, nothing.cast(), nothing.cast()) };
    assert_eq!(result, 0);
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::fcntl(master, libc::F_SETFD, libc::FD_CLOEXEC) }, 0);
    for request in ["0x5412", "0x100005412"] {
        Attempt::against(&[Layer::CloseOthers, Layer::Seccomp])
            .python(&format!(
                "
signal.signal(signal.SIGHUP, signal.SIG_IGN)
for fd in range(3, 100):
    if not os.isatty(fd) or libc.ioctl(fd, ctypes.c_ulong(0x540E), 0) == -1: continue
    typed = libc.ioctl(fd, ctypes.c_ulong({request}), b'x')
    checked(libc.ioctl(fd, ctypes.c_ulong(0x5422)))
    if typed == 0: return True
return False
"
            ))
            .await;
    }
    for fd in [master, slave] {
        // SAFETY: nobody else owns it.
        assert_eq!(unsafe { libc::close(fd) }, 0);
    }
}
