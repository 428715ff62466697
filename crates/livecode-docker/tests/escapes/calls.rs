//! Calls that reach into the kernel or into other processes.

use livecode_core::Termination;

use crate::{
    attempt::{attempts, python, run, works_without},
    plain::Layer,
};

attempts! {
    a_sibling_is_not_traced PERM without [Seccomp] "
child = os.fork()
if child == 0: time.sleep(5); os._exit(0)
try:
    call(101, 117, 16, child, 0, 0)
    os.waitpid(child, 0)
    return True
finally: os.kill(child, 9)
";

    the_memory_of_a_sibling_is_not_read PERM without [Seccomp] "
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

    descriptors_of_a_sibling_are_not_taken PERM without [Seccomp] "
child = os.fork()
if child == 0: time.sleep(5); os._exit(0)
try: return call(438, 438, os.pidfd_open(child), 1, 0) > 2
finally: os.kill(child, 9)
";

    processes_are_not_compared PERM without [Seccomp] "return call(312, 272, os.getpid(), os.getpid(), 0, 1, 1) == 0";
    keys_are_not_kept PERM without [Seccomp] "return call(248, 217, b'user', b'x', b'y', 1, -2) > 0";
    keys_are_not_asked_for PERM without [Seccomp] "return call(250, 219, 0, -4, 0, 0, 0) > 0";
    a_user_namespace_is_not_made PERM without [Seccomp] "return call(272, 97, 0x10000000) == 0";

    a_user_namespace_is_not_cloned PERM without [Seccomp] "
child = call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)
if child == 0: os._exit(0)
return True
";

    a_user_namespace_is_not_cloned_behind_a_pointer NOSYS without [Seccomp] "
arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
child = call(435, 435, arguments, 88)
if child == 0: os._exit(0)
return True
";

    namespaces_are_not_entered PERM without [Seccomp] "
try: call(308, 268, os.open('/proc/self/ns/ipc', os.O_RDONLY), 0x10000000)
except OSError as error:
    # The kernel was asked: that's no user namespace.
    if error.errno == errno.EINVAL: return True
    raise
";

    nothing_is_mounted PERM without [Seccomp] "
try: return call(165, 40, b'x', b'/nowhere', b'tmpfs', 0, 0) == 0
except OSError as error:
    if error.errno == errno.ENOENT: return True
    raise
";

    nothing_is_mounted_by_newer_calls PERM without [Seccomp] "return call(428, 428, -100, b'/usr', 0) > 2";
    mounts_are_not_listed NOSYS without [Seccomp] "
request = (ctypes.c_uint64 * 4)(24, 0xFFFFFFFFFFFFFFFF, 0, 0)
return call(458, 458, request, (ctypes.c_uint64 * 64)(), 64, 0) > 0
";

    rings_are_not_made PERM without [Seccomp] "return call(425, 425, 1, ctypes.create_string_buffer(120)) > 2";
    asynchronous_io_is_not_begun NOSYS without [Seccomp] "return call(206, 0, 1, ctypes.byref(ctypes.c_ulong(0))) == 0";
    page_faults_are_not_handled PERM without [Seccomp] "return call(323, 282, 1) > 2";
    memory_is_not_hidden PERM without [Seccomp] "return call(447, 447, 0) > 2";
    huge_pages_are_not_taken PERM without [Seccomp] "return os.memfd_create('x', 4) > 2";
    files_are_not_watched_by_the_kernel PERM without [Seccomp] "return call(300, 262, 0x200, 0) > 2";
    the_clock_is_not_looked_into PERM without [Seccomp] "return call(305, 266, 0, ctypes.create_string_buffer(208)) >= 0";
    addresses_stay_random PERM without [Seccomp] "return call(135, 92, 0x0040000) >= 0";

    /// The kernel has its own no.
    nothing_is_loaded_into_the_kernel PERM "return call(321, 280, 5, ctypes.create_string_buffer(120), 120) > 2";

    files_have_no_handles PERM without [Seccomp] "
handle = (ctypes.c_uint32 * 40)(128)
return call(303, 264, -100, b'/tmp', handle, ctypes.byref(ctypes.c_int()), 0) == 0
";

    filters_are_not_put_on_sockets PERM without [Seccomp] "
instructions = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0xffff))
program = struct.pack('HxxxxxxP', 1, ctypes.addressof(instructions))
socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, 26, program)
return True
";

    /// A core of size 0 is what a pipe in `core_pattern` doesn't heed; 1, which it has, is.
    the_limit_on_cores_is_not_lowered PERM without [Seccomp] "
checked(libc.setrlimit(resource.RLIMIT_CORE, (ctypes.c_uint64 * 2)(0, 0)))
return True
";

    /// The kernel was asked where it says that this is no terminal.
    nothing_is_typed_on_a_terminal PERM without [Seccomp] "
for request in (0x5412, 0x100005412):
    result = libc.ioctl(os.pipe()[0], ctypes.c_ulong(request), b'x')
    if result == -1 and ctypes.get_errno() != errno.ENOTTY: checked(result)
return True
";

    there_is_no_netlink AFNOSUPPORT without [Seccomp] "return socket.socket(16, socket.SOCK_RAW).fileno() > 2";
    there_is_no_vsock AFNOSUPPORT without [Seccomp] "return socket.socket(40, socket.SOCK_STREAM).fileno() > 2";
    /// CVE-2026-31431. Not every kernel has it.
    the_kernel_does_not_encrypt AFNOSUPPORT "return socket.socket(38, socket.SOCK_SEQPACKET).fileno() > 2";
    there_are_no_packets AFNOSUPPORT "return socket.socket(17, socket.SOCK_RAW).fileno() > 2";
    there_is_no_protocol_but_tcp_and_udp PROTONOSUPPORT without [Seccomp] "
return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).fileno() > 2
";
}

/// i386's `getppid`, from machine code: a filter that looked at numbers alone would take it for another call.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_calls_of_another_architecture_are_not_there() {
    let body = "
import mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(b'\\xb8\\x40\\x00\\x00\\x00\\xcd\\x80\\xc3')
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
return function() == os.getppid()
";
    let ended = run(&python(body)).outcome.termination;
    assert_eq!(ended, Termination::Signaled { signal: 31 });
    works_without(&[Layer::Seccomp], body);
}
