//! What is given up for good by the process that becomes the program, and the reading back of it.

use std::{
    fs, io,
    os::fd::{OwnedFd, RawFd},
    path::PathBuf,
};

use crate::{
    in_force,
    layer::Layer,
    protocol::Limits,
    root::during,
    sys::{self, Resource},
    world::World,
};

/// The last of our own instructions in the process that becomes the program. Closes all descriptors but those kept.
pub(crate) fn prepare(
    world: &World<'_>,
    streams: &[OwnedFd; 3],
    landlock: Option<&OwnedFd>,
    step: &Limits,
    keep: &mut [RawFd],
) -> io::Result<()> {
    during("enter the program's share", world.entrances.enter_for_programs())?;
    if in_force(Layer::Session) {
        sys::setsid()?;
    }
    for (stream, number) in streams.iter().zip(0..) {
        sys::dup2(stream, number)?;
    }
    if let Some(rules) = landlock {
        during("confine it by Landlock", sys::landlock_restrict(rules))?;
    }
    if in_force(Layer::CloseOthers) {
        sys::close_others(keep)?;
    }
    // Where a cgroup counts, it has to be met first, for it tells of it.
    let counted = world.cgroup.is_some();
    let processes = u64::from(step.processes) * if counted { 2 } else { 1 } + 1;
    let data = data_bytes(step, counted);
    let stack = soft_stack(step.stack_bytes, counted);
    let open_files = u64::from(step.open_files);
    let cpu_seconds = cpu_seconds(step.cpu_ns, counted);
    for (resource, layer, soft, hard) in [
        (Resource::Cpu, Layer::LimitCpu, cpu_seconds, cpu_seconds + 1),
        (Resource::Fsize, Layer::LimitFsize, step.file_bytes, step.file_bytes),
        (Resource::Data, Layer::LimitData, data, data),
        (Resource::Stack, Layer::LimitStack, stack, step.stack_bytes),
        // Not 0, with which a `core_pattern` with a pipe is started all the same: core(5).
        (Resource::Core, Layer::LimitCore, 1, 1),
        (Resource::Nproc, Layer::LimitNproc, processes, processes),
        (Resource::Nofile, Layer::LimitNofile, open_files, open_files),
        (Resource::Memlock, Layer::LimitMemlock, 64 << 10, 64 << 10),
        (Resource::Sigpending, Layer::LimitSigpending, 1024, 1024),
        (Resource::Msgqueue, Layer::LimitMsgqueue, 0, 0),
        (Resource::Nice, Layer::LimitNice, 0, 0),
        (Resource::Rtprio, Layer::LimitRtprio, 0, 0),
    ] {
        if in_force(layer) {
            during("lower a resource limit", sys::lower_rlimit(resource, soft, hard))?;
        }
    }
    if in_force(Layer::Seccomp) {
        during("install the system call filter", sys::install_seccomp(world.seccomp))?;
    }
    if in_force(Layer::Verify) {
        during("check the confinement", verify_filter())?;
    }
    Ok(())
}

/// The soft limit of the stack where no cgroup counts.
const SOFT_STACK: u64 = 8 << 20;

/// How large a thread's stack is by itself.
pub(crate) fn soft_stack(stack_bytes: u64, counted: bool) -> u64 {
    if counted { stack_bytes } else { stack_bytes.min(SOFT_STACK) }
}

/// What a process may hold where no cgroup counts. Stacks of threads, as large as the soft limit, are data from the beginning,
/// used or not.
pub(crate) fn data_bytes(step: &Limits, counted: bool) -> u64 {
    if counted {
        return u64::MAX;
    }
    let stacks = u64::from(step.processes) * step.stack_bytes.min(SOFT_STACK);
    step.memory_bytes.saturating_add(stacks)
}

/// Whole seconds: where a cgroup counts, it's more exact and has to be met first.
pub(crate) fn cpu_seconds(cpu_ns: u64, counted: bool) -> u64 {
    // The kernel multiplies them out again, and what is too much for its nanoseconds begins anew: as much as a second.
    const MOST: u64 = u64::MAX / 4;
    cpu_ns.min(MOST).div_ceil(1_000_000_000) + u64::from(counted)
}

/// The namespaces that a process is in, by their links in `/proc`.
pub(crate) struct Namespaces([(&'static str, PathBuf); 7]);

impl Namespaces {
    pub(crate) fn own() -> io::Result<Self> {
        let mut all =
            ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"].map(|name| (name, PathBuf::new()));
        for (name, link) in &mut all {
            *link = fs::read_link(format!("/proc/self/ns/{name}"))?;
        }
        Ok(Self(all))
    }
}

/// Before the program's first instruction: whether the kernel says that we are where we mean to be. Only our own cgroup's
/// end of the path is known here, and enough.
pub(crate) fn check_cgroup(path: &str) -> io::Result<()> {
    let cgroups = sys::read_at_once("/proc/self/cgroup")?;
    let missing = ["memory", "pids", "cpu"].into_iter().find(|name| {
        let is_in = |line: &&str| {
            let mut parts = line.splitn(3, ':');
            let controllers = parts.nth(1).unwrap_or_default();
            // The one without names is the unified hierarchy.
            controllers.is_empty() || controllers.split(',').any(|controller| controller == *name)
        };
        !cgroups.lines().filter(is_in).any(|line| line.ends_with(path))
    });
    match missing {
        None => Ok(()),
        Some(name) => Err(io::Error::other(format!("the process is not in the cgroup {path} of {name}"))),
    }
}

/// Reads back from the kernel what must be in force, and what a process hands on to those that it starts. Fails closed.
pub(crate) fn verify(outside: &Namespaces) -> io::Result<()> {
    let status = sys::read_at_once("/proc/self/status")?;
    let none = "0000000000000000";
    let expected = [
        ("NoNewPrivs:", "1"),
        ("CapInh:", none),
        ("CapPrm:", none),
        ("CapEff:", none),
        ("CapBnd:", none),
        ("CapAmb:", none),
    ];
    for (name, value) in expected {
        let found = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if found != Some(value) {
            return Err(io::Error::other(format!("{name} is {found:?}, not {value}")));
        }
    }
    for ((name, inside), (_, outside)) in Namespaces::own()?.0.iter().zip(&outside.0) {
        if inside == outside {
            return Err(io::Error::other(format!("the {name} namespace is not the run's own")));
        }
    }
    Ok(())
}

/// The same for the filter, in the process that becomes the program: what `Seccomp:` in its status would say.
fn verify_filter() -> io::Result<()> {
    match sys::get_process(sys::PR_GET_SECCOMP)? {
        sys::SECCOMP_MODE_FILTER => Ok(()),
        mode => Err(io::Error::other(format!("Seccomp: is {mode}, not 2"))),
    }
}
