//! What a program may use, by whatever means.

use livecode_core::{LimitRequest, Run, Termination};

use crate::attempt::{limited, python, run};

const MIB: u64 = 1 << 20;

fn under(limits: LimitRequest, body: &str) -> Run {
    run(&python(body).limits(limits))
}

fn meets_memory(set: impl FnOnce(&mut LimitRequest), body: &str) {
    let mut limits = limited(|it| it.memory_bytes = Some(64 * MIB));
    set(&mut limits);
    let ended = under(limits, body).outcome.termination;
    assert!(matches!(ended, Termination::MemoryExceeded { .. }), "{ended:?}");
}

#[test]
fn memory_of_descendants_is_limited() {
    let body = "
for n in range(4):
    if os.fork() == 0:
        held = b'x' * 30_000_000
        time.sleep(10)
pids = [os.wait()[1] for n in range(1)]
os.kill(0, signal.SIGKILL)
";
    meets_memory(|_| {}, body);
}

/// Memory that is nobody's, so that whoever is killed for it frees none: not even the runner's end is taken for ours.
#[test]
fn memory_of_files_in_many_places_is_limited() {
    let body = "
for n in range(20):
    if os.fork() == 0: break
held = []
while True:
    held.append(os.memfd_create('x'))
    os.write(held[-1], bytes(1_000_000))
    for path in ('/tmp', '/dev/shm', '/work'):
        try: open(f'{path}/{os.getpid()}-{len(held)}', 'wb').write(bytes(100_000))
        except OSError: pass
";
    meets_memory(|it| it.file_bytes = Some(512 * MIB), body);
}

#[test]
fn memory_of_sockets_and_pipes_is_limited() {
    let body = "
held = []
while True:
    one, other = socket.socketpair()
    one.setblocking(False)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    held.append((one, other, reading, writing))
    for write in (one.send, lambda bytes: os.write(writing, bytes)):
        try:
            while True: write(bytes(65_536))
        except BlockingIOError: pass
";
    meets_memory(|it| it.open_files = Some(20_000), body);
}

#[test]
fn a_fork_bomb_is_ended() {
    let body = "
while True:
    try: os.fork()
    except OSError: pass
";
    let limits = limited(|it| (it.wall_time_ms, it.processes) = (Some(1500), Some(40)));
    let ended = under(limits, body).outcome.termination;
    assert!(matches!(ended, Termination::WallTimeExceeded { .. }), "{ended:?}");
}

/// Each is gone as soon as it's there, and left to the runner to reap.
#[test]
fn a_storm_of_orphans_is_ended() {
    let body = "
while True:
    try:
        if os.fork() == 0:
            if os.fork() == 0: os._exit(0)
            # One of many has many as well.
            if os.getpid() % 8: os._exit(0)
    except OSError: pass
";
    let limits = limited(|it| (it.wall_time_ms, it.processes) = (Some(1500), Some(40)));
    let ended = under(limits, body).outcome.termination;
    assert!(matches!(ended, Termination::WallTimeExceeded { .. }), "{ended:?}");
}

#[test]
fn cpu_time_of_who_outlives_its_parent_is_limited() {
    let body = "
for n in range(3):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            while True: pass
        os._exit(0)
time.sleep(50)
";
    let ended = under(limited(|it| it.cpu_time_ms = Some(500)), body).outcome.termination;
    assert!(matches!(ended, Termination::CpuTimeExceeded { .. }), "{ended:?}");
}

/// Here and there, in each of the places where programs may write.
#[test]
fn files_are_limited() {
    let fill = "
def fill(directory, size):
    for n in range(1000):
        try: open(f'{directory}/{n}', 'wb').write(bytes(size))
        except OSError as error: return error.errno == errno.ENOSPC
return not (fill('/work', SIZE) and fill('/tmp', SIZE) and fill('/dev/shm', SIZE))
";
    let bytes = limited(|it| it.file_bytes = Some(4 * MIB));
    let many = limited(|it| it.files = Some(100));
    for (limits, size) in [(bytes, "100_000"), (many, "0")] {
        let run = under(limits, &fill.replace("SIZE", size));
        assert_eq!(run.captured.stdout, "contained\n", "{run:?}");
    }
}

#[test]
fn nowhere_else_is_written() {
    let body = "
for directory in ('/', '/box/..', '/etc', '/usr', '/dev', '/dev/pts', '/proc', '/sys', '/run', '/var/tmp', '/home', '/root', '/.livecode'):
    try: open(directory + '/x', 'w')
    except OSError: continue
    return True
return False
";
    crate::attempt::is_in_vain(body);
}

#[test]
fn descriptors_are_limited() {
    let body = "
try: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
except (OSError, ValueError): pass
held = []
try:
    for n in range(200): held.append(open('/dev/null'))
except OSError as error: return error.errno != errno.EMFILE
return True
";
    let run = under(limited(|it| it.open_files = Some(64)), body);
    assert_eq!(run.captured.stdout, "contained\n", "{run:?}");
}

#[test]
fn what_the_kernel_counts_by_user_is_limited() {
    let refused = "
def refused(way, number):
    try: way()
    except OSError as error: return error.errno == number
    return False
page = ctypes.create_string_buffer(1 << 20)
def timers():
    for n in range(2000): checked(libc.timer_create(1, None, ctypes.byref(ctypes.c_void_p())))
return not (
    refused(lambda: checked(libc.mlock(page, 1 << 20)), errno.ENOMEM)
    and refused(timers, errno.EAGAIN)
    and refused(lambda: os.setpriority(os.PRIO_PROCESS, 0, -1), errno.EACCES)
    and refused(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), errno.EPERM)
)
";
    crate::attempt::is_in_vain(refused);
}
