//! What the kernel and the engine show.

use crate::{
    attempt::{attempts, is_in_vain, is_refused, works_without},
    plain::Layer,
};
use rustix::io::Errno;

attempts! {
    what_the_kernel_tells_of_the_machine_is_hidden ACCESS without [] "return len(os.listdir('/sys')) > 0";
    the_cgroup_is_not_looked_into ACCESS without [] "
return any('memory' in name or 'cgroup' in name for name in os.listdir('/sys/fs/cgroup'))
";
    /// It could have others killed before itself.
    proc_is_not_written ACCESS without [] "return open('/proc/self/oom_score_adj', 'w').write('600') == 3";
    /// Of the host's terminals there are so many for all containers together.
    there_are_no_terminals ACCESS without [] "return os.open('/dev/ptmx', os.O_RDWR) > 2";
    /// Their limit is 0.
    queues_are_not_made MFILE without [] "return checked(libc.mq_open(b'/x', 0o102, 0o600, None)) > 2";
    devices_are_not_made PERM without [Capabilities, User] "
os.mknod('/tmp/device', 0o020666, os.makedev(1, 5))
return True
";
    the_devices_are_not_replaced ACCESS "os.unlink('/dev/null'); return True";
    /// As root it could be written but for that.
    the_root_is_not_written ROFS "open('/etc/left', 'w'); return True";
}

#[test]
fn the_root_is_not_written_even_where_permissions_allow_it() {
    works_without(&[Layer::ReadOnly, Layer::User], "open('/etc/left', 'w'); return True");
    let body = "
try: open('/etc/left', 'w')
except OSError as error: return error.errno != errno.EROFS
";
    assert_eq!(crate::plain::run(&[Layer::User], &crate::attempt::program(body)), "contained\n");
}

/// The host's, which the kernel has its own no for.
#[test]
fn the_kernel_is_not_configured() {
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger"] {
        let body = format!(
            "
try: return os.open('{path}', os.O_WRONLY) > 2
except OSError as error: return error.errno not in (errno.EACCES, errno.EROFS, errno.ENOENT)
"
        );
        is_in_vain(&body);
    }
}

#[test]
fn the_memory_and_keys_of_the_host_are_covered() {
    let body = "
for name in ('kcore', 'keys', 'timer_list', 'sched_debug', 'latency_stats', 'acpi', 'scsi'):
    path = '/proc/' + name
    try: told = os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1)
    except OSError: continue
    if told: return True
return False
";
    is_in_vain(body);
}

/// Nor any other device of the host's.
#[test]
fn the_engine_is_out_of_reach() {
    let body = "
paths = ['/var/run/docker.sock', '/run/docker.sock', '/run/containerd/containerd.sock', '/run/podman/podman.sock']
paths += ['/dev/mem', '/dev/kmsg', '/dev/kvm', '/dev/fuse', '/dev/vda', '/dev/sda', '/dev/console', '/dev/loop-control']
return any(os.path.exists(path) for path in paths)
";
    is_in_vain(body);
}

#[test]
fn what_programs_need_of_devices_is_there() {
    is_refused("os.write(os.open('/dev/full', os.O_RDWR), b'x')", Errno::NOSPC);
    is_in_vain(
        "return not (open('/dev/zero', 'rb').read(1) == b'\\0' and open('/dev/urandom', 'rb').read(1) and open('/dev/null', 'w').write('x'))",
    );
}
