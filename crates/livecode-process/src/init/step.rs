//! A step of a program, from its first instruction to its end.

use std::{
    fs,
    io::{self, Read, Write},
    mem,
    os::fd::{AsRawFd, OwnedFd},
    process, thread,
    time::{Duration, Instant},
};

use crate::{
    artifact, collect,
    confine::prepare,
    packets,
    parked::{FAILED_STATUS, Parked, strings},
    sys,
    world::{News, Tenant, World},
};

/// What follows a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Step,
    Nothing,
    /// This is the process that has become the program.
    Program,
}

/// Runs a step to its end, in the interpreter that waits for it, where there is one.
pub(crate) fn run_step(
    world: &World<'_>,
    tenant: &mut Tenant,
    index: usize,
    parked: Option<Parked>,
    waiting: &[Option<Parked>],
) -> io::Result<Next> {
    let is_last = index + 1 == tenant.limits.len();
    // An interpreter that is dead has used no more than it had.
    let booted = parked.iter().chain(waiting.iter().flatten());
    let booted_ns: u64 = booted.map(|parked| parked.cpu_ns().unwrap_or(0)).sum();
    let news = News::Started { own_cpu_ns: tenant.own_cpu_ns + booted_ns }.encode();
    let began = Instant::now();
    let streams = tenant.streams.get_mut(index).and_then(Option::take);
    let streams = streams.ok_or_else(|| io::Error::other("a step has no streams"))?;
    let limits = &tenant.limits[index];
    // Before it's told, so that nobody but the program is woken by that.
    let gone_on = parked.as_ref().map(|parked| parked.go(&streams, limits, world.cgroup.is_some()));
    packets::send(&world.control, &news)?;
    let main = match gone_on {
        Some(Ok(pid)) => pid,
        // It died while it waited, or has to be another for such limits: as if there had been none.
        Some(Err(_)) | None => match start(world, tenant, &streams, index)? {
            Started::Process(pid) => pid,
            Started::Not(news) => {
                packets::send(&world.control, &news.encode())?;
                return Ok(Next::Nothing);
            }
            Started::Program => {
                // Closed already.
                mem::forget(streams);
                return Ok(Next::Program);
            }
        },
    };
    // The program's alone: when it closes them, they are closed.
    drop(streams);
    let (status, cpu_ns) = loop {
        match sys::wait(-1) {
            Some((pid, status, cpu_ns)) if pid == main => break (status, cpu_ns),
            Some(_) => {}
            None => {
                return Err(io::Error::other("the program's process is not there to be waited for"));
            }
        }
    };
    if status >> 8 == FAILED_STATUS && parked.is_some_and(|parked| parked.has_failed()) {
        return Err(io::Error::other("an interpreter that waited could not go on"));
    }
    let wall_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let files_full = status != 0 && sys::is_full("/work")?;
    // Those who lost their parents are our children.
    let left_some = sys::has_children();
    let ended = News::Ended { wall_ns, cpu_ns, status, files_full, left_some }.encode();
    // Whatever a step left running must see neither the next one nor a file being read. Else it goes with us.
    if !is_last {
        end_all_but(waiting)?;
    }
    packets::send(&world.control, &ended)?;
    if let (Some(max_bytes), Some(to)) = (tenant.request.keep, &tenant.collect)
        && !is_last
        && status == 0
    {
        artifact::send(max_bytes, to)?;
    }
    if let Some(to) = tenant.collect.as_ref().filter(|_| is_last) {
        end_all_but(&[])?;
        collect::send(&tenant.request.collect, tenant.request.collect_bytes, to)?;
    }
    Ok(if status == 0 && !is_last { Next::Step } else { Next::Nothing })
}

/// Ends what a step left running, but not the interpreters that wait for a further step, unless there's no end to it.
fn end_all_but(waiting: &[Option<Parked>]) -> io::Result<()> {
    /// What is killed is gone soon; who makes others faster than that isn't spared for anybody's sake.
    const TRIES: usize = 50;
    let spared: Vec<i32> = waiting.iter().flatten().map(Parked::pid).collect();
    if process::id() != 1 {
        // It's the helper's own namespace.
        while spared.is_empty() && sys::wait(-1).is_some() {}
        return Ok(());
    }
    for _ in 0..if spared.is_empty() { 0 } else { TRIES } {
        while sys::reap_dead() {}
        let mut others = 0;
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid.filter(|pid| *pid != 1 && !spared.contains(pid)) {
                sys::kill_pid(pid);
                others += 1;
            }
        }
        if others == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_micros(200));
    }
    sys::kill_all_but_me();
    while sys::wait(-1).is_some() {}
    Ok(())
}

/// What came of starting a step's process.
enum Started {
    Process(i32),
    /// It could not be, or has ended in that.
    Not(News),
    /// We are it.
    Program,
}

fn start(world: &World<'_>, tenant: &Tenant, streams: &[OwnedFd; 3], index: usize) -> io::Result<Started> {
    let (path, argv, env) = strings(&tenant.request.steps[index])?;
    let (mut trouble, report) = io::pipe()?;
    let pid = match sys::fork_program()? {
        None => {
            let (rules, keep) = (tenant.landlock.as_ref(), &mut [report.as_raw_fd()]);
            let prepared = prepare(world, streams, rules, &tenant.limits[index], keep);
            let error = match prepared {
                Ok(()) if world.interpreter == Some(index) => {
                    // Already closed.
                    mem::forget(trouble);
                    return Ok(Started::Program);
                }
                Ok(()) => match sys::execve(&path, &argv, &env) {
                    error if error.kind() == io::ErrorKind::ArgumentListTooLong => (b'a', error),
                    error => (b'x', error),
                },
                Err(error) => (b'p', error),
            };
            // Where nobody listens, the exit status says it.
            (&report).write_all(&[&[error.0], error.1.to_string().as_bytes()].concat()).ok();
            sys::exit(127)
        }
        Some(pid) => pid,
    };
    drop(report);
    let mut said = Vec::new();
    trouble.read_to_end(&mut said)?;
    let Some((&kind, reason)) = said.split_first() else {
        return Ok(Started::Process(pid));
    };
    let reason = String::from_utf8_lossy(reason).into_owned();
    Ok(Started::Not(match kind {
        // As a shell says it: for the kernel its arguments are too many, or its stack too small for them.
        b'a' => {
            const EXIT_126: i32 = 126 << 8;
            News::Ended { wall_ns: 0, cpu_ns: 0, status: EXIT_126, files_full: false, left_some: false }
        }
        b'x' => News::NotStarted(reason),
        _ => News::Failed(reason),
    }))
}
