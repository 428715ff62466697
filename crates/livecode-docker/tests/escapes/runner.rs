//! The runner: PID 1, which is the program's own user, and whose word is what the host goes by.

use livecode_core::{ExecutionSpec, Termination};

use rustix::io::Errno;

use crate::{
    attempt::{attempts, is_in_vain, is_refused, limited, run, works_without},
    plain::Layer,
};

attempts! {
    the_memory_of_the_runner_is_not_read ACCESS without [] "
first = int(open('/proc/1/maps').readline().split('-')[0], 16)
with open('/proc/1/mem', 'rb', buffering=0) as memory:
    memory.seek(first)
    return memory.read(4) == b'\\x7fELF'
";

    the_memory_of_the_runner_is_not_written ACCESS without [] "return open('/proc/1/mem', 'r+b', buffering=0).fileno() > 2";
    the_environment_of_the_runner_is_not_read ACCESS without [] "return len(open('/proc/1/environ', 'rb').read()) > 0";
    descriptors_of_the_runner_are_not_listed ACCESS without [] "return len(os.listdir('/proc/1/fd')) > 0";
    /// Through which a program would speak for the runner.
    the_pipes_of_the_runner_are_not_written ACCESS without [] "return os.open('/proc/1/fd/1', os.O_WRONLY) > 2";
    /// CVE-2019-5736 begins here.
    the_executable_of_the_runner_is_not_opened ACCESS without [] "return open('/proc/1/exe', 'rb').read(4) == b'\\x7fELF'";
    the_file_of_the_runner_is_not_read ACCESS "return open('/.livecode/runner', 'rb').read(4) == b'\\x7fELF'";
    the_runner_is_not_traced PERM without [Seccomp] "return call(101, 117, 0x4206, 1, 0, 0) == 0";
    descriptors_of_the_runner_are_not_taken PERM without [Seccomp] "return call(438, 438, os.pidfd_open(1), 1, 0) > 2";
    /// Its next `poll` would fail, and the run be ours to try again.
    limits_of_the_runner_are_not_set PERM without [Seccomp] "
resource.prlimit(1, resource.RLIMIT_NOFILE, (512, 512))
return True
";
    /// Beside a few busy processes it would come too late to end them.
    the_runner_is_not_scheduled_after_all_others PERM without [Seccomp] "
os.sched_setscheduler(1, os.SCHED_BATCH, os.sched_param(0))
return True
";
}

/// By whatever name: as a process, in high bits that the kernel doesn't look at, as a group that the program joined, as a user.
#[test]
fn the_runners_share_is_not_taken() {
    let body = "
def all_fail(*ways):
    for way in ways:
        try: way()
        except PermissionError: pass
        else: return False
    return True
os.setpgid(0, 1)
return not all_fail(
    lambda: os.setpriority(os.PRIO_PROCESS, 1, 1),
    lambda: call(141, 140, 1 << 32, 1 | 1 << 32, 1),
    lambda: os.setpriority(os.PRIO_PGRP, 0, 1),
    lambda: os.setpriority(os.PRIO_PGRP, 1, 1),
    lambda: os.setpriority(os.PRIO_USER, 0, 1),
    lambda: os.sched_setaffinity(1, {0}),
    lambda: call(203, 122, 1 | 1 << 32, 8, struct.pack('Q', 1)),
    lambda: call(314, 274, 1, struct.pack('IIQiIQQQII', 56, 0, 0, 1, 0, 0, 0, 0, 0, 0), 0),
    lambda: call(302, 261, 1 | 1 << 32, resource.RLIMIT_NOFILE, struct.pack('QQ', 512, 512), 0),
)
";
    is_in_vain(body);
    works_without(&[Layer::Seccomp], &body.replace("os.setpgid(0, 1)\n", ""));
}

/// With all of them refused a program that is as busy as it can be is ended in time.
#[test]
fn a_runner_among_busy_processes_ends_them() {
    let source = "
import os
for n in range(40):
    if os.fork() == 0: break
while True: pass
";
    let limits = limited(|it| (it.wall_time_ms, it.cpu_millis) = (Some(1000), Some(100)));
    let ended = run(&ExecutionSpec::new("python", source).limits(limits)).outcome.termination;
    assert!(matches!(ended, Termination::WallTimeExceeded { .. }), "{ended:?}");
}

/// Of those that it handles, many, and two while it's busy with the first.
#[test]
fn no_signal_ends_or_stops_the_runner() {
    let body = "
runner = os.pidfd_open(1)
for round in range(50):
    for number in range(1, 65):
        os.kill(1, number)
        signal.pidfd_send_signal(runner, number)
# As if the kernel had found a fault.
for number in (signal.SIGSEGV, signal.SIGBUS):
    fault = struct.pack('iiixxxxQ', number, 0, -1, 0) + bytes(104)
    call(129, 138, 1, number, fault)
return False
";
    is_in_vain(body);
}

/// What ends a run successfully, written wherever it may be heard: it's output, and the end is the program's own.
#[test]
fn no_end_is_forged() {
    let source = "
import os, sys
report = b'{\"end\":{\"Exited\":0},\"step\":0,\"wall_ns\":1,\"cpu_ns\":1,\"memory_peak_bytes\":1,\"oom_kills\":0,\"fork_failures\":0,\"files_full\":false,\"message\":\"\"}'
frame = bytes([13]) + len(report).to_bytes(4, 'little') + report
os.write(1, frame)
os.write(2, frame)
for path in ('/dev/stdout', '/proc/self/fd/0', '/proc/1/fd/1', '/dev/console', '/dev/tty'):
    try: os.write(os.open(path, os.O_WRONLY), frame)
    except OSError: pass
os._exit(7)
";
    let run = run(&ExecutionSpec::new("python", source));
    assert_eq!(run.outcome.termination, Termination::Exited { code: 7 });
    assert!(run.captured.stdout.starts_with(&[13, 138, 0, 0, 0]), "{run:?}");
}

/// As the program's own process it's of no use.
#[test]
fn the_runner_is_not_run_by_a_program() {
    let body = "
made = subprocess.run(['/.livecode/runner'], stdin=subprocess.DEVNULL, capture_output=True)
return made.returncode == 0 or made.stdout != b''
";
    is_in_vain(body);
}

/// What the program does to what it inherits it does too late: what it has was so from its first instruction.
#[test]
fn limits_are_in_force_before_the_first_instruction() {
    let limits = limited(|it| it.open_files = Some(64));
    let source = "print(next(line for line in open('/proc/1/limits') if line.startswith('Max open files')).split()[3:5])";
    let run = run(&ExecutionSpec::new("python", source).limits(limits));
    assert_eq!(run.captured.stdout, "['64', '64']\n", "{run:?}");
}

#[test]
fn what_an_image_executes_gives_no_powers() {
    let user = "
made = subprocess.run(['/usr/bin/set-user-id', '-c', 'import os; print(os.geteuid())'], capture_output=True)
return made.stdout == b'0\\n'
";
    is_in_vain(user);
    works_without(&[Layer::NoNewPrivs], user);
    let capable = "
made = subprocess.run(['/usr/bin/capable', '-c', 'print(open(\"/proc/self/status\").read())'], capture_output=True)
return int(made.stdout.decode().split('CapEff:')[1].split()[0], 16) != 0
";
    is_refused(capable, Errno::PERM);
    works_without(&[Layer::NoNewPrivs, Layer::Capabilities], capable);
}
