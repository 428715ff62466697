//! A cgroup for each run: made, limited, read and removed by directory descriptor.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use crate::{
    protocol::{Limits, controller},
    sys,
};

/// The period that the CPU quota is counted in. Short, so that a small program isn't stopped for long.
const CPU_PERIOD_US: u64 = 20_000;

/// The directory that all runs of this helper have theirs in, one for each hierarchy.
pub(crate) struct Parents {
    pub(crate) directories: Vec<(u8, OwnedFd)>,
    /// What each of them is called.
    pub(crate) name: String,
}

/// One run's directories.
pub(crate) struct Group {
    name: String,
    directories: Vec<(u8, OwnedFd)>,
    /// On hierarchies of version 1.
    pub(crate) entrances: Entrances,
    /// What it limits, as far as that is known: memory, processes and CPU.
    in_force: Option<(u64, u32, u32)>,
    weight: Weight,
    cpu_base_ns: u64,
    /// Tells the peak since it was reset through it; none where it can't be.
    peak: Option<File>,
    /// What was the peak of earlier steps, where it can't be reset.
    earlier_peak: Option<u64>,
    earlier_events: Events,
    /// What happened in all, as of the last time that somebody wanted to know.
    events: Option<Events>,
}

/// How often the kernel killed for memory and refused a process, from the beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Events {
    oom_kills: u64,
    fork_failures: u64,
}

/// What a process with one thread writes `0` to in order to join, opened by the helper: free of the grace period that moving
/// another process costs.
///
/// Init has no part in the program's share of processors: among 64 that all want to run it would wait its turn 64 times before
/// it could die and take them with it. On version 2, where there is one cgroup for everything, the kernel kills them at once.
#[derive(Default)]
pub(crate) struct Entrances {
    for_all: Vec<File>,
    for_programs: Vec<File>,
    back: Vec<File>,
}

impl Entrances {
    /// Init joins them all, so that its cgroup namespace begins there.
    pub(crate) fn enter_all(&self) -> io::Result<()> {
        self.for_all.iter().try_for_each(join)?;
        self.enter_for_programs()
    }

    /// What a program has to itself.
    pub(crate) fn enter_for_programs(&self) -> io::Result<()> {
        self.for_programs.iter().try_for_each(join)
    }

    /// Leaves that again.
    pub(crate) fn go_back(&self) -> io::Result<()> {
        self.back.iter().try_for_each(join)
    }

    /// How many are for all and for programs, and all of them in that order.
    pub(crate) fn counted(&self) -> ((u32, u32), Vec<RawFd>) {
        let count = |files: &[File]| u32::try_from(files.len()).unwrap_or(u32::MAX);
        ((count(&self.for_all), count(&self.for_programs)), self.descriptors().collect())
    }

    /// The reverse.
    #[expect(dead_code, reason = "for copies of interpreters, which the library makes")]
    pub(crate) fn from_counted((for_all, for_programs): (u32, u32), fds: &mut Vec<OwnedFd>) -> Self {
        let mut take = |count: u32| {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(fds.len());
            fds.drain(..count).map(File::from).collect()
        };
        Self { for_all: take(for_all), for_programs: take(for_programs), back: take(for_programs) }
    }

    /// With the lowest numbers that are free.
    pub(crate) fn renumber(&mut self) -> io::Result<()> {
        for file in self.for_all.iter_mut().chain(&mut self.for_programs).chain(&mut self.back) {
            *file = file.try_clone()?;
        }
        Ok(())
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.for_all.iter().chain(&self.for_programs).chain(&self.back).map(AsRawFd::as_raw_fd)
    }
}

fn join(mut tasks: &File) -> io::Result<()> {
    tasks.write_all(b"0")
}

/// What a group's processes get of a processor that others want as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Next to nothing.
    Idle,
    Usual,
}

/// What the kernel counted of a step.
pub(crate) struct Counted {
    pub(crate) memory_peak_bytes: Option<u64>,
    pub(crate) oom_kills: u64,
    pub(crate) fork_failures: u64,
}

impl Parents {
    pub(crate) fn make_group(&self, name: String) -> io::Result<Group> {
        let mut group = Group {
            name,
            directories: Vec::new(),
            entrances: Entrances::default(),
            in_force: None,
            weight: Weight::Usual,
            cpu_base_ns: 0,
            peak: None,
            earlier_peak: None,
            earlier_events: Events::default(),
            events: None,
        };
        for (controllers, parent) in &self.directories {
            match sys::make_directory(parent, &group.name) {
                Ok(directory) => group.directories.push((*controllers, directory)),
                Err(error) => {
                    self.remove(&group).ok();
                    return Err(error);
                }
            }
        }
        group.peak = group.open_peak().ok();
        Ok(group)
    }

    /// Opens the ways into a group.
    pub(crate) fn open(&self, group: &mut Group) -> io::Result<()> {
        let entrances = &mut group.entrances;
        for ((kind, parent), (_, own)) in self.directories.iter().zip(&group.directories) {
            if kind & controller::V2 != 0 {
                continue;
            }
            let tasks = |directory| sys::open_write(directory, "tasks").map(File::from);
            if kind & (controller::MEMORY | controller::PIDS) != 0 {
                entrances.for_all.push(tasks(own)?);
            } else {
                entrances.for_programs.push(tasks(own)?);
                entrances.back.push(tasks(parent)?);
            }
        }
        Ok(())
    }

    /// What the paths of a group's processes end in.
    pub(crate) fn path(&self, group: &Group) -> String {
        format!("/{}/{}", self.name, group.name)
    }

    /// Fails while a process is still on its way out; call again then.
    pub(crate) fn remove(&self, group: &Group) -> io::Result<()> {
        let mut result = Ok(());
        for (_, parent) in &self.directories {
            match sys::remove_directory(parent, &group.name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        result
    }

    /// At the very end. Whoever started us removes what can't be removed here.
    pub(crate) fn remove_parents(&self) {
        for (_, directory) in &self.directories {
            sys::remove_directory(directory, &format!("../{}", self.name)).ok();
        }
    }
}

impl Group {
    /// For `CLONE_INTO_CGROUP`, on the unified hierarchy.
    pub(crate) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.directories
            .iter()
            .find(|(kind, _)| kind & controller::V2 != 0)
            .map(|(_, directory)| directory.as_fd())
    }

    /// Puts the limits of a step in force. Our own init counts as one process.
    pub(crate) fn limit(&mut self, step: &Limits) -> io::Result<()> {
        let wanted = Some((step.memory_bytes, step.processes, step.cpu_millis));
        if self.in_force == wanted {
            return Ok(());
        }
        self.in_force = None;
        let pids = u64::from(step.processes) + 1;
        // The kernel takes no less than a millisecond.
        let quota = (u64::from(step.cpu_millis) * CPU_PERIOD_US / 1000).max(1000);
        let memory = step.memory_bytes.to_string();
        for (kind, directory) in &self.directories {
            let has = |controllers| kind & controllers == controllers;
            if has(controller::V2 | controller::MEMORY) {
                write(directory, "memory.max", &memory)?;
                write_if_there(directory, "memory.swap.max", "0")?;
                write_if_there(directory, "memory.oom.group", "1")?;
            } else if has(controller::MEMORY) {
                // Memory and swap together may not be below memory, so their order depends on the direction.
                let together = |value: &str| write_if_there(directory, "memory.memsw.limit_in_bytes", value);
                together("-1")?;
                write(directory, "memory.limit_in_bytes", &memory)?;
                together(&memory)?;
            }
            if has(controller::PIDS) {
                write(directory, "pids.max", &pids.to_string())?;
            }
            if has(controller::V2 | controller::CPU) {
                write(directory, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
            } else if has(controller::CPU) {
                write(directory, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
                write(directory, "cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        self.in_force = wanted;
        Ok(())
    }

    /// Sets what it gets beside others.
    pub(crate) fn weigh(&mut self, weight: Weight) -> io::Result<()> {
        if self.weight == weight {
            return Ok(());
        }
        let (shares, weights) = match weight {
            Weight::Idle => ("2", "1"),
            Weight::Usual => ("1024", "100"),
        };
        for (kind, directory) in &self.directories {
            let has = |controllers| kind & controllers == controllers;
            if has(controller::V2 | controller::CPU) {
                write(directory, "cpu.weight", weights)?;
            } else if has(controller::CPU) {
                write(directory, "cpu.shares", shares)?;
            }
        }
        self.weight = weight;
        Ok(())
    }

    /// A process of the helper's own enters what holds memory and counts processes; on version 2 it was made in it.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let counting = controller::MEMORY | controller::PIDS;
        let counting =
            self.directories.iter().filter(|(kind, _)| kind & controller::V2 == 0 && kind & counting != 0);
        for (_, directory) in counting {
            join(&File::from(sys::open_write(directory, "tasks")?))?;
        }
        Ok(())
    }

    /// What it holds now; none where nobody counts it.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        let (kind, directory) = self.directories.iter().find(|(kind, _)| kind & controller::MEMORY != 0)?;
        let v2 = kind & controller::V2 != 0;
        read(directory, if v2 { "memory.current" } else { "memory.usage_in_bytes" })?.trim().parse().ok()
    }

    /// So much of what is counted was ours.
    pub(crate) fn disregard_cpu(&mut self, ns: u64) {
        self.cpu_base_ns += ns;
    }

    /// Counts from now on, for another run; or says that it's not for one: there is something left in it of the last one.
    pub(crate) fn begin_anew(&mut self) -> bool {
        /// What the kernel gives back in its own time, such as names of files.
        const LITTLE: u64 = 1 << 20;
        let events = self.events.take().unwrap_or_else(|| self.events());
        if events.oom_kills + events.fork_failures > 0 || self.memory_bytes().is_none_or(|held| held > LITTLE)
        {
            return false;
        }
        // It couldn't be told from the last one's.
        if self.reset_peak().is_err() {
            return false;
        }
        (self.earlier_peak, self.earlier_events) = (None, Events::default());
        self.cpu_base_ns = self.cpu_total_ns().unwrap_or(0);
        true
    }

    /// Puts the limits of a further step in force and counts from now on: what was used before, and what happened, was an
    /// earlier one's.
    pub(crate) fn next_step(&mut self, step: &Limits) -> io::Result<()> {
        /// What the step before left in memory may be no more than the cache of what it read.
        const TRIES: usize = 3;
        self.earlier_events = self.events();
        let mut limited = self.limit(step);
        for _ in 0..TRIES {
            if !limited.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy) {
                break;
            }
            self.forget_cache();
            limited = self.limit(step);
        }
        limited?;
        if self.reset_peak().is_err() {
            // Version 2 has it since Linux 6.12.
            self.earlier_peak = self.memory_peak();
        }
        self.cpu_base_ns = self.cpu_total_ns().unwrap_or(0);
        Ok(())
    }

    /// On version 1; where it fails, there is more than cache.
    fn forget_cache(&self) {
        let v1 = self
            .directories
            .iter()
            .filter(|(kind, _)| kind & (controller::V2 | controller::MEMORY) == controller::MEMORY);
        for (_, directory) in v1 {
            write(directory, "memory.force_empty", "0").ok();
        }
    }

    /// CPU time of all processes, the dead ones included; none where nobody counts it.
    pub(crate) fn cpu_ns(&self) -> Option<u64> {
        self.cpu_total_ns().map(|total| total.saturating_sub(self.cpu_base_ns))
    }

    fn cpu_total_ns(&self) -> Option<u64> {
        self.directories.iter().find_map(|(kind, directory)| {
            if kind & controller::V2 != 0 {
                field(&read(directory, "cpu.stat")?, "usage_usec").map(|us| us * 1000)
            } else if kind & controller::CPUACCT != 0 {
                read(directory, "cpuacct.usage")?.trim().parse().ok()
            } else {
                None
            }
        })
    }

    /// On version 2 it's reset only for who reads it through the same open file.
    fn reset_peak(&self) -> io::Result<()> {
        let mut file = self.peak.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        file.write_all(b"0")
    }

    fn open_peak(&self) -> io::Result<File> {
        let (directory, name) = self.peak_file().ok_or(io::ErrorKind::NotFound)?;
        let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
        OpenOptions::new().read(true).write(true).open(path)
    }

    fn peak_file(&self) -> Option<(&OwnedFd, &'static str)> {
        let (kind, directory) = self.directories.iter().find(|(kind, _)| kind & controller::MEMORY != 0)?;
        let v2 = kind & controller::V2 != 0;
        Some((directory, if v2 { "memory.peak" } else { "memory.max_usage_in_bytes" }))
    }

    /// None where nobody knows: version 2 tells it since Linux 5.19.
    fn memory_peak(&self) -> Option<u64> {
        let mut text = String::new();
        if let Some(mut file) = self.peak.as_ref() {
            file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
        } else {
            let (directory, name) = self.peak_file()?;
            text = read(directory, name)?;
        }
        text.trim().parse().ok()
    }

    /// What is to die may have all of the machine for it: of a small share the death of many takes long.
    pub(crate) fn lift_share(&mut self) -> io::Result<()> {
        self.in_force = None;
        for (kind, directory) in &self.directories {
            if kind & controller::V2 != 0 {
                write(directory, "cpu.max", "max")?;
            } else if kind & controller::CPU != 0 {
                write(directory, "cpu.cfs_quota_us", "-1")?;
            }
        }
        Ok(())
    }

    /// Kills all that is in it at once, where the kernel can: version 2 does.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.lift_share()?;
        let mut v2 = self.directories.iter().filter(|(kind, _)| kind & controller::V2 != 0);
        v2.try_for_each(|(_, directory)| write_if_there(directory, "cgroup.kill", "1"))
    }

    pub(crate) fn counted(&mut self) -> Counted {
        // Where this step didn't go beyond an earlier one, what it reached itself isn't known.
        let beyond = |peak: &u64| self.earlier_peak.is_none_or(|earlier| *peak > earlier);
        let (events, earlier) = (self.events(), self.earlier_events);
        self.events = Some(events);
        Counted {
            memory_peak_bytes: self.memory_peak().filter(beyond),
            oom_kills: events.oom_kills.saturating_sub(earlier.oom_kills),
            fork_failures: events.fork_failures.saturating_sub(earlier.fork_failures),
        }
    }

    fn events(&self) -> Events {
        let mut events = Events::default();
        for (kind, directory) in &self.directories {
            let has = |controllers| kind & controllers == controllers;
            let count = |name, key| read(directory, name).and_then(|text| field(&text, key)).unwrap_or(0);
            if has(controller::V2 | controller::MEMORY) {
                // Without the first it wasn't this limit that was met, but one above, or the machine's.
                if count("memory.events", "oom") > 0 {
                    events.oom_kills = count("memory.events", "oom_kill");
                }
            } else if has(controller::MEMORY) {
                events.oom_kills = count("memory.oom_control", "oom_kill");
            }
            if has(controller::PIDS) {
                events.fork_failures = count("pids.events", "max");
            }
        }
        events
    }
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn read(directory: &OwnedFd, name: &str) -> Option<String> {
    // More than any of these has, or what is looked for is at its beginning. At once, for these calls add up.
    let mut text = [0; 1024];
    let len = File::from(sys::open_read(directory, name).ok()?).read(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text[..len]).into_owned())
}

fn write(directory: &OwnedFd, name: &str, value: &str) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{name} = {value}: {error}"));
    let mut file = File::from(sys::open_write(directory, name).map_err(named)?);
    file.write_all(value.as_bytes()).map_err(named)
}

fn write_if_there(directory: &OwnedFd, name: &str, value: &str) -> io::Result<()> {
    match write(directory, name, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
