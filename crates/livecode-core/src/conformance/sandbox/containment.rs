//! What a program can't reach, what it can't leave behind, and that it ends when it's told to.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LONG, expect_output, python, run, start, stdout};
use crate::{ExecutionSpec, LimitRequest, Runner, Sandbox, Termination};

async fn is_cancelled<S: Sandbox>(sandbox: &Arc<S>, spec: ExecutionSpec) {
    let (running, mut output, cancel) = start(sandbox, spec);
    expect_output(&mut output, "ready\n").await;
    cancel.cancel();
    // Its writes must not wait for us.
    drop(output);
    let outcome = tokio::time::timeout(LONG, running).await.unwrap().unwrap().unwrap();
    assert_eq!(outcome.termination, Termination::Cancelled);
}

pub async fn a_cancelled_program_ends<S: Sandbox>(sandbox: Arc<S>) {
    is_cancelled(&sandbox, python("import time; print('ready'); time.sleep(30)")).await;
    is_cancelled(&sandbox, python("print('ready')\nwhile True: pass")).await;
    is_cancelled(&sandbox, python("print('ready')\nwhile True: print('x' * 1000)")).await;
}

pub async fn a_run_cancelled_before_its_start_ends<S: Sandbox>(sandbox: Arc<S>) {
    let (running, _output, cancel) = start(&sandbox, python("import time; time.sleep(30)"));
    cancel.cancel();
    let outcome = tokio::time::timeout(LONG, running).await.unwrap().unwrap().unwrap();
    assert_eq!(outcome.termination, Termination::Cancelled);
}

pub async fn a_program_that_ignores_signals_is_cancelled<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os, signal, time
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
for n in range(4):
    if os.fork() == 0:
        os.setsid()
        break
else: print('ready', flush=True)
time.sleep(30)
";
    is_cancelled(&sandbox, python(source)).await;
}

pub async fn an_ended_run_is_not_cancelled<S: Sandbox>(sandbox: Arc<S>) {
    let (running, mut output, cancel) = start(&sandbox, python("print('done')"));
    while output.recv().await.is_some() {}
    let outcome = running.await.unwrap().unwrap();
    cancel.cancel();
    assert!(outcome.is_success());
}

pub async fn runs_at_a_time_do_not_see_each_other<S: Sandbox>(sandbox: Arc<S>) {
    let secret = "
import os, socket, time
for path in ('/tmp/secret', '/dev/shm/secret', '/work/secret'): open(path, 'w').write('x')
listener = socket.socket(socket.AF_UNIX); listener.bind('\\0secret'); listener.listen()
print('ready')
time.sleep(30)
";
    let (running, mut output, cancel) = start(&sandbox, python(secret));
    expect_output(&mut output, "ready\n").await;
    assert_eq!(stdout(&sandbox, SEARCH).await, "nothing\n");
    let processes = "
import os
for pid in filter(str.isdigit, os.listdir('/proc')):
    try: print(open(f'/proc/{pid}/cmdline').read().count('python'), end=' ')
    except OSError: pass
";
    // Only itself, whoever else is there.
    let seen = stdout(&sandbox, processes).await;
    assert_eq!(seen.split_whitespace().filter(|count| *count != "0").count(), 1, "{seen}");
    cancel.cancel();
    running.await.unwrap().unwrap();
}

/// Looks for what another run left.
const SEARCH: &str = "
import os, socket
found = [path for path in ('/tmp/secret', '/dev/shm/secret', '/work/secret') if os.path.exists(path)]
found += os.listdir('/tmp') + os.listdir('/dev/shm') + [name for name in os.listdir('/work') if name != 'main.py']
try: socket.socket(socket.AF_UNIX).connect('\\0secret'); found.append('socket')
except OSError: pass
for kind in ('shm', 'msg', 'sem'):
    try: found += open(f'/proc/sysvipc/{kind}').read().splitlines()[1:]
    except OSError: pass
print(found or 'nothing')
";

pub async fn a_later_run_finds_no_trace<S: Sandbox>(sandbox: Arc<S>) {
    let traces = "
import ctypes, os, socket
for path in ('/tmp/secret', '/dev/shm/secret', '/work/secret'): open(path, 'w').write('x')
listener = socket.socket(socket.AF_UNIX); listener.bind('\\0secret'); listener.listen()
libc = ctypes.CDLL(None)
libc.shmget(0x1234, 4096, 0o1666); libc.msgget(0x1234, 0o1666); libc.semget(0x1234, 1, 0o1666)
if os.fork() == 0:
    os.setsid()
    import time; time.sleep(30)
";
    assert!(run(&sandbox, &python(traces)).await.outcome.is_success());
    assert_eq!(stdout(&sandbox, SEARCH).await, "nothing\n");
}

pub async fn the_network_is_out_of_reach<S: Sandbox>(sandbox: Arc<S>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = format!(
        "
import socket
reached = []
for address in (('127.0.0.1', {port}), ('192.0.2.1', 80), ('169.254.169.254', 80)):
    try:
        socket.create_connection(address, 1)
        reached.append(address)
    except OSError: pass
try: socket.getaddrinfo('example.com', 80); reached.append('names')
except OSError: pass
try: names = [name for _, name in socket.if_nameindex() if name != 'lo']
except OSError: names = []
print(reached, names)
"
    );
    assert_eq!(stdout(&sandbox, &source).await, "[] []\n");
}

pub async fn the_system_cannot_be_written<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os
written = []
for path in ('/x', '/usr/x', '/usr/bin/x', '/etc/x', '/etc/passwd', '/bin/x', '/lib/x', '/proc/sys/kernel/hostname',
             '/proc/sysrq-trigger', '/proc/self/oom_score_adj', '/dev/x', '/home/x', '/root/x', '/var/x', '/run/x'):
    try:
        open(path, 'a').close()
        if path != '/proc/self/oom_score_adj': written.append(path)
        else: open(path, 'w').write('-1000'); written.append(path)
    except OSError: pass
print(written)
";
    assert_eq!(stdout(&sandbox, source).await, "[]\n");
}

pub async fn the_hosts_files_are_out_of_sight<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os
seen = []
for path in ('/etc/shadow', '/etc/ssh', '/root/.ssh', '/root/.bashrc', '/home', '/var/run/docker.sock', '/var/lib',
             '/sys/fs/cgroup', '/sys/class', '/run/systemd', '/proc/kcore', '/proc/1/root/etc/shadow', '/dev/sda',
             '/dev/vda', '/dev/mem', '/dev/kmsg', '/dev/tty', '/dev/console', '/boot', '/mnt', '/srv', '/opt'):
    try:
        if os.path.isdir(path): seen += [path] if os.listdir(path) else []
        elif open(path, 'rb').read(1): seen.append(path)
    except OSError: pass
print(seen)
";
    assert_eq!(stdout(&sandbox, source).await, "[]\n");
}

pub async fn the_init_gives_nothing_away<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os
got = []
for name in ('environ', 'mem', 'maps', 'stack', 'syscall', 'auxv'):
    try:
        if open(f'/proc/1/{name}', 'rb').read(1): got.append(name)
    except OSError: pass
for name in ('fd', 'root', 'cwd', 'map_files'):
    try:
        if os.listdir(f'/proc/1/{name}'): got.append(name)
    except OSError: pass
try: open('/proc/1/exe', 'ab'); got.append('exe')
except OSError: pass
try: os.kill(1, 9); open('/work/still-here', 'w')
except OSError: pass
print(got, sorted(map(int, os.listdir('/proc/self/fd')))[:3])
";
    assert_eq!(stdout(&sandbox, source).await, "[] [0, 1, 2]\n");
}

pub async fn there_are_no_powers<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import os
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines())
print({status[name] for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')}, status['NoNewPrivs'],
      status['Seccomp'], os.getuid() != 0, os.getgid() != 0, [group for group in os.getgroups() if group == 0])
";
    assert_eq!(stdout(&sandbox, source).await, "{'0000000000000000'} 1 2 True True []\n");
}

pub async fn calls_that_reach_into_the_kernel_are_refused<S: Sandbox>(sandbox: Arc<S>) {
    let source = "
import ctypes, errno, fcntl, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
allowed = []
def refused(name, result):
    if result != -1: allowed.append(name)
def call(name, x86_64, arm64, *arguments):
    refused(name, libc.syscall(x86_64 if x86 else arm64, *arguments))
call('ptrace', 101, 117, 0, 0, 0, 0)
call('process_vm_readv', 310, 270, os.getpid(), 0, 0, 0, 0, 0)
call('mount', 165, 40, b'x', b'/tmp', b'tmpfs', 0, 0)
call('umount2', 166, 39, b'/tmp', 2)
call('pivot_root', 155, 41, b'/tmp', b'/tmp')
call('chroot', 161, 51, b'/tmp')
call('unshare', 272, 97, 0x10000000)
call('setns', 308, 268, 0, 0)
call('keyctl', 250, 219, 0, -3, 1)
call('add_key', 248, 217, b'user', b'x', b'y', 1, -2)
call('bpf', 321, 280, 0, 0, 0)
call('perf_event_open', 298, 241, 0, 0, -1, -1, 0)
call('userfaultfd', 323, 282, 0)
call('io_uring_setup', 425, 425, 1, ctypes.create_string_buffer(200))
call('open_by_handle_at', 304, 265, 0, 0, 0)
call('name_to_handle_at', 303, 264, -100, b'/', 0, 0, 0)
call('init_module', 175, 105, 0, 0, b'')
call('kexec_load', 246, 104, 0, 0, 0, 0)
call('reboot', 169, 142, 0xfee1dead, 672274793, 0, 0)
call('clone into a user namespace', 56, 220, 0x10000000 | 17, 0, 0, 0, 0)
call('clone3', 435, 435, 0, 0)
call('personality', 135, 92, 0x0040000)
call('open_tree', 428, 428, -100, b'/', 1)
call('fsopen', 430, 430, b'tmpfs', 0)
call('memfd_secret', 447, 447, 0)
for family in (16, 38, 40, 17, 44):  # AF_NETLINK, AF_ALG, AF_VSOCK, AF_PACKET, AF_XDP
    try: socket.socket(family, socket.SOCK_STREAM if family == 40 else socket.SOCK_RAW); allowed.append(family)
    except OSError: pass
call('io_setup', 206, 0, 1, ctypes.byref(ctypes.c_ulong(0)))
call('seccomp', 317, 277, 2, 0, 0)
pair = socket.socketpair()
for option in (26, 50, 51, 52):
    try: pair[0].setsockopt(1, option, bytes(16)); allowed.append(option)
    except PermissionError: pass
    except OSError: allowed.append(option)
for request in (0x5412, 0x541C, 0x100005412):
    refused(hex(request), libc.ioctl(0, ctypes.c_ulong(request), b'x'))
print(allowed)
";
    assert_eq!(stdout(&sandbox, source).await, "[]\n");
}

pub async fn many_runs_at_a_time_all_end<S: Sandbox>(sandbox: Arc<S>) {
    let runs: Vec<_> = (0..24)
        .map(|n| {
            let sandbox = sandbox.clone();
            tokio::spawn(async move { stdout(&sandbox, &format!("print({n})")).await })
        })
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        assert_eq!(run.await.unwrap(), format!("{n}\n"));
    }
}

/// Each bounds itself, for a sandbox that doesn't.
const HOSTILE: [(&str, &str); 4] = [
    (
        "a fork storm",
        "
import os, time
for n in range(200):
    try:
        if os.fork() == 0:
            while True: pass
    except OSError: time.sleep(0.01)
while True: pass
",
    ),
    (
        "memory growth",
        "
held = []
while len(held) < 400: held.append(bytearray(b'x') * 1_000_000)
while True: pass
",
    ),
    (
        "an output flood",
        "
import os
while True: os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)
",
    ),
    (
        "a full disk and a spin",
        "
try:
    for n in range(400): open(f'/tmp/{n}', 'wb').write(bytes(1_000_000))
except OSError: pass
while True: pass
",
    ),
];

pub async fn an_honest_program_gets_along_with_hostile_ones<S: Sandbox>(sandbox: Arc<S>) {
    let share = LimitRequest { cpu_millis: Some(400), ..LimitRequest::default() };
    let cancel = CancellationToken::new();
    let mut hostile = Vec::new();
    for (what, source) in HOSTILE {
        let (sender, mut output) = mpsc::channel(1);
        let (runner, spec, cancel) =
            (Runner::shared(sandbox.clone()), python(source).limits(share), cancel.clone());
        tokio::spawn(async move { while output.recv().await.is_some() {} });
        hostile.push((what, tokio::spawn(async move { runner.stream(&spec, sender, &cancel).await })));
    }
    let honest = python("print(sum(n * n for n in range(500_000)))").limits(share);
    let run = run(&sandbox, &honest).await;
    assert_eq!(run.captured.stdout, "41666541666750000\n", "{run:?}");
    cancel.cancel();
    for (what, hostile) in hostile {
        let outcome = tokio::time::timeout(LONG, hostile).await.unwrap().unwrap().unwrap();
        assert!(!outcome.is_success(), "{what}: {outcome:?}");
    }
}
