//! Interpreters that boot ahead in a run's world and stop at their first look at the program, before it is there.
//!
//! Each is started with the very command and environment of its program, behind every layer, and with one thing more: the
//! library of `warm.rs`, which the loader finds by a file that exists only as long as it boots.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read},
    mem,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::fs::FileExt,
    },
    time::SystemTime,
};

use crate::{
    confine::{cpu_seconds, data_bytes, prepare},
    in_force,
    layer::Layer,
    packets,
    protocol::{Booted, Command, Limits, Message},
    root::{PRELOAD, during},
    sys::{self, Fork, Resource},
    world::World,
};

/// Where the library finds its end of the socket to init, and the loader the library: above what an interpreter opens while it
/// boots, and within the smallest table of descriptors.
pub(crate) const CONTROL: RawFd = 61;
pub(crate) const LIBRARY: RawFd = 60;

/// Where a compiler finds the archive that it boots from: by this number on its command line.
const ARCHIVE: RawFd = 59;

/// What the library says when it has stopped the interpreter, and what it's told.
pub(crate) const STOPPED: &[u8] = b"s";
pub(crate) const GO: &[u8] = b"g";

/// What it says when it can't go on, and the status that the interpreter ends with then.
pub(crate) const FAILED: &[u8] = b"f";
pub(crate) const FAILED_STATUS: i32 = 127;

/// What boots ahead.
pub(crate) struct Ahead<'a> {
    /// [`Booted`] as a sealed memory file.
    pub(crate) booted: OwnedFd,
    /// What else its compiler boots from, in memory.
    pub(crate) archive: Option<OwnedFd>,
    /// Of each step.
    pub(crate) limits: &'a [Limits],
    /// The library, in memory.
    pub(crate) library: OwnedFd,
    /// Of each step, init's end and the interpreter's: of the helper's network, for a program sees what sockets its own has.
    pub(crate) controls: Vec<[OwnedFd; 2]>,
}

impl Ahead<'_> {
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        [&self.booted, &self.library].into_iter().chain(&self.archive).chain(self.controls.iter().flatten())
    }

    /// With the lowest numbers that are free: those that interpreters know are nobody else's.
    pub(crate) fn renumber(&mut self) -> io::Result<()> {
        self.booted = self.booted.try_clone()?;
        self.archive = self.archive.as_ref().map(OwnedFd::try_clone).transpose()?;
        self.library = self.library.try_clone()?;
        for end in self.controls.iter_mut().flatten() {
            *end = end.try_clone()?;
        }
        Ok(())
    }
}

/// One that waits. It has one program at most.
pub(crate) struct Parked {
    pid: i32,
    control: OwnedFd,
}

/// Reads what is said of an interpreter. Not from where the last reader stopped: worlds share this file.
pub(crate) fn read_booted(file: &OwnedFd) -> io::Result<Booted> {
    let file = File::from(file.try_clone()?);
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Booted::decode(&bytes).map_err(|_| io::Error::other("what boots ahead is damaged"))
}

/// Has the loader find the library, and the interpreter its files, as long as `boot` lasts.
pub(crate) fn with_library<T>(
    files: &[(String, Vec<u8>)],
    boot: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    fs::write(PRELOAD, format!("/proc/self/fd/{LIBRARY}\n"))?;
    for (path, content) in files {
        let mut file = File::create(path)?;
        io::Write::write_all(&mut file, content)?;
        // An archive knows them by it.
        file.set_modified(SystemTime::UNIX_EPOCH)?;
    }
    let booted = boot()?;
    for file in files.iter().map(|(path, _)| path.as_str()).chain([PRELOAD]) {
        fs::remove_file(file)?;
    }
    Ok(booted)
}

/// Boots an interpreter for each step that has one, one after the other, and waits until all have stopped.
pub(crate) fn boot(
    world: &World<'_>,
    ahead: &Ahead<'_>,
    controls: Vec<[OwnedFd; 2]>,
    landlock: Option<&OwnedFd>,
) -> io::Result<Vec<Option<Parked>>> {
    let booted = during("read what boots ahead", read_booted(&ahead.booted))?;
    with_library(&booted.files, || {
        let started: io::Result<Vec<_>> = booted
            .steps
            .iter()
            .zip(ahead.limits)
            .zip(controls)
            .enumerate()
            .map(|(index, ((command, limits), controls))| {
                let is_compiler = index + 1 < ahead.limits.len();
                let archive = ahead.archive.as_ref().filter(|_| is_compiler);
                let start = |command| start(world, ahead, archive, landlock, command, limits, controls);
                command.as_ref().map(start).transpose()
            })
            .collect();
        let stopped = started?.into_iter().map(|started| started.map(wait).transpose());
        stopped.collect()
    })
}

/// One that boots, and what it writes meanwhile.
struct Booting {
    parked: Parked,
    output: io::PipeReader,
}

fn start(
    world: &World<'_>,
    ahead: &Ahead<'_>,
    archive: Option<&OwnedFd>,
    landlock: Option<&OwnedFd>,
    command: &Command,
    limits: &Limits,
    [control, theirs]: [OwnedFd; 2],
) -> io::Result<Booting> {
    let (path, argv, env) = strings(command)?;
    let (nothing, input) = io::pipe()?;
    let (output, written) = io::pipe()?;
    let (nothing, written) = (OwnedFd::from(nothing), OwnedFd::from(written));
    drop(input);
    let (mut trouble, report) = io::pipe()?;
    // Both are lowered when there is a program, which are not its own.
    let limits = Limits { cpu_ns: u64::MAX, memory_bytes: u64::MAX, ..*limits };
    match sys::fork(0, None)? {
        Fork::Child => {
            let error = sys::dup2(&theirs, CONTROL)
                .and_then(|()| sys::dup2(&ahead.library, LIBRARY))
                .and_then(|()| archive.map_or(Ok(()), |archive| sys::dup2(archive, ARCHIVE)))
                .and_then(|()| {
                    let streams = [nothing, written.try_clone()?, written];
                    let keep = [report.as_raw_fd(), CONTROL, LIBRARY].into_iter();
                    let mut keep: Vec<_> = keep.chain(archive.map(|_| ARCHIVE)).collect();
                    prepare(world, &streams, landlock, &limits, &mut keep)?;
                    // Closed already.
                    mem::forget(streams);
                    Ok(())
                })
                .map_or_else(|error| error, |()| sys::execve(&path, &argv, &env));
            io::Write::write_all(&mut &report, error.to_string().as_bytes()).ok();
            sys::exit(127)
        }
        Fork::Parent { pid, .. } => {
            drop((report, theirs));
            let mut said = String::new();
            trouble.read_to_string(&mut said)?;
            if said.is_empty() {
                Ok(Booting { parked: Parked { pid, control }, output })
            } else {
                Err(io::Error::other(format!("boot an interpreter: {said}")))
            }
        }
    }
}

fn wait(mut booting: Booting) -> io::Result<Parked> {
    let mut packet = [0; 8];
    let len = packets::receive(&booting.parked.control, &mut packet)?.0;
    let stopped = &packet[..len] == STOPPED;
    let mut polled = [sys::PollFd::readable(&booting.output)];
    sys::poll(&mut polled, Some(0))?;
    if stopped && !polled[0].is_ready() {
        return Ok(booting.parked);
    }
    let mut said = [0; 512];
    let len = if polled[0].is_ready() { booting.output.read(&mut said)? } else { 0 };
    let said = String::from_utf8_lossy(&said[..len]);
    // What it writes while it boots belongs to each program's output.
    let reason = if stopped { "wrote while it booted" } else { "ended before it looked for a program" };
    Err(io::Error::other(format!("an interpreter {reason}: {}", said.trim())))
}

impl Parked {
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it could not go on, for a reason of ours: once it's dead.
    pub(crate) fn has_failed(&self) -> bool {
        let mut packet = [0; 8];
        matches!(packets::receive(&self.control, &mut packet), Ok((len, _)) if &packet[..len] == FAILED)
    }

    /// CPU time that it took to boot.
    pub(crate) fn cpu_ns(&self) -> io::Result<u64> {
        sys::cpu_ns_of(self.pid)
    }

    /// Lets it go on with a program; gives back its pid. What can't go on is ended. To be kept until it has.
    pub(crate) fn go(&self, streams: &[OwnedFd; 3], limits: &Limits, counted: bool) -> io::Result<i32> {
        let gone = self.cpu_ns().and_then(|own_ns| {
            // A second more than the cgroup's is enough for that.
            let own_ns = if counted { 0 } else { own_ns };
            let cpu = cpu_seconds(limits.cpu_ns.saturating_add(own_ns), counted);
            if in_force(Layer::LimitCpu) {
                sys::limit_other(self.pid, Resource::Cpu, cpu, cpu + 1)?;
            }
            if !counted && in_force(Layer::LimitData) {
                let data = data_bytes(limits, counted);
                sys::limit_other(self.pid, Resource::Data, data, data)?;
            }
            packets::send_with(&self.control, GO, &streams.each_ref().map(AsRawFd::as_raw_fd))
        });
        if let Err(error) = gone {
            sys::kill_pid(self.pid);
            sys::wait(self.pid);
            return Err(error);
        }
        Ok(self.pid)
    }
}

pub(crate) type Strings = (CString, Vec<CString>, Vec<CString>);

/// What `execve` wants of a command.
pub(crate) fn strings(command: &Command) -> io::Result<Strings> {
    let list = |list: &[Vec<u8>]| list.iter().map(|bytes| sys::c_string(bytes.clone())).collect();
    let (argv, env): (io::Result<_>, io::Result<_>) = (list(&command.argv), list(&command.env));
    Ok((sys::c_string(command.path.clone())?, argv?, env?))
}
