//! One run as the helper sees it: what its init says, and when it has to end.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::{
    cgroup::Group,
    in_force,
    layer::Layer,
    networks::Network,
    packets,
    protocol::{Counters, End, Limits, Message, Report},
    root::{self, during},
    sys::{self, PollFd},
    world::News,
};

/// How often used CPU time is looked at, at the least.
const CPU_CHECK: Duration = Duration::from_millis(10);

/// How long a world may take to be made, between our go and the program's first instruction.
const SET_UP: Duration = Duration::from_secs(10);

/// A run between its request and the death of its init.
pub(crate) struct Run {
    /// None once it has been told of the end: it waits until nobody can tell it more.
    pub(crate) host: Option<OwnedFd>,
    /// Whether the host has closed its end or asked for the end: it has said all it can say.
    pub(crate) host_is_done: bool,
    /// None once init has closed its end.
    pub(crate) control: Option<OwnedFd>,
    /// Where its files are; none as long as they are nowhere.
    pub(crate) work: Option<OwnedFd>,
    /// Its mounts, once they are all there: undone when we let go of them.
    pub(crate) mounts: Option<OwnedFd>,
    pub(crate) pidfd: OwnedFd,
    pub(crate) group: Option<Group>,
    pub(crate) network: Option<Network>,
    pub(crate) steps: Vec<Limits>,
    pub(crate) slot: u32,
    pub(crate) step: usize,
    /// The current step's start; none before it and after its end.
    pub(crate) started: Option<Instant>,
    /// When init was told to go on and hasn't begun the step yet.
    pub(crate) told: Option<Instant>,
    pub(crate) next_cpu_check: Option<Instant>,
    pub(crate) report: Report,
    /// Whether it has what the kernel counted.
    pub(crate) is_counted: bool,
    /// Why it's being killed, or how it ended.
    pub(crate) end: Option<End>,
    /// When its first step was handed over.
    pub(crate) began: Instant,
    /// Whether it ends when its last process does: nothing is brought back afterwards.
    pub(crate) ends_at_once: bool,
    /// Whether only our init is left of it.
    pub(crate) is_over: bool,
}

impl Run {
    /// Hears what init has to say. Only called where there is something, or init is dead: never waits.
    pub(crate) fn listen(&mut self) {
        let mut packet = [0; packets::MAX_LEN];
        while let Some(control) = &self.control {
            let mut polled = [PollFd::readable(control)];
            match sys::poll(&mut polled, Some(0)) {
                Ok(()) if polled[0].is_ready() => {}
                Ok(()) | Err(_) => return,
            }
            match packets::receive(control, &mut packet) {
                // It ended without hearing us. What it had said comes after this.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Ok((0, _)) | Err(_) => self.control = None,
                Ok((len, fds)) => {
                    let mut fds = fds.into_iter();
                    self.work = fds.next().or(self.work.take());
                    self.mounts = fds.next().or(self.mounts.take());
                    if let Some(news) = News::decode(&packet[..len]) {
                        self.hear(news);
                    }
                }
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Furnished => {}
            News::Started { own_cpu_ns } => {
                let now = Instant::now();
                self.told = None;
                if let Some(group) = &mut self.group {
                    if self.step == 0 {
                        group.disregard_cpu(own_cpu_ns);
                    }
                    self.next_cpu_check = in_force(Layer::CpuTime).then_some(now + CPU_CHECK);
                }
                self.started = Some(now);
            }
            News::Ended { wall_ns, cpu_ns, status, files_full, left_some } => {
                self.report.wall_ns = wall_ns;
                // Where nobody counts all of it.
                self.report.cpu_ns = cpu_ns;
                self.report.files_full = files_full;
                self.started = None;
                self.next_cpu_check = None;
                if status == 0 && self.step + 1 < self.steps.len() && self.end.is_none() {
                    self.go_on();
                } else {
                    self.end = Some(End::Status(status));
                    // For what it left behind, which its init ends.
                    if let Some(Err(error)) = self.group.as_mut().filter(|_| left_some).map(Group::lift_share)
                    {
                        self.report.message = error.to_string();
                    }
                    // Else nothing changes any more, and init needs a moment to die.
                    if !left_some {
                        self.count();
                        self.is_over = self.ends_at_once;
                    }
                }
            }
            News::NotStarted(reason) => {
                self.end = Some(End::NotStarted);
                self.report.message = reason;
            }
            News::Failed(reason) => {
                self.end.get_or_insert(End::Failed);
                self.report.message = reason;
            }
        }
    }

    /// Tells the host of the end, the first time that it's called.
    pub(crate) fn tell(&mut self, counters: Counters) {
        let Some(host) = self.host.take() else { return };
        if let Some(end) = self.end {
            self.report.end = end;
        }
        self.report.step = u32::try_from(self.step).unwrap_or(u32::MAX);
        self.report.counters = counters;
        report_to(&host, &self.report);
    }

    /// Takes what the kernel counted into the report, the first time that it's called.
    pub(crate) fn count(&mut self) {
        let Some(group) = self.group.as_mut().filter(|_| !self.is_counted) else { return };
        let counted = group.counted();
        self.report.cpu_ns = group.cpu_ns().unwrap_or(self.report.cpu_ns);
        self.report.memory_peak_bytes = counted.memory_peak_bytes;
        self.report.oom_kills += counted.oom_kills;
        self.report.fork_failures = counted.fork_failures;
        self.is_counted = true;
    }

    /// Lets init begin the next step.
    fn go_on(&mut self) {
        self.step += 1;
        (self.report.wall_ns, self.report.cpu_ns) = (0, 0);
        if let Err(error) = self.allow_step() {
            // What the step before left, files above all, is more than the next one may have.
            if error.kind() == io::ErrorKind::ResourceBusy {
                self.report.oom_kills = 1;
                return self.stop(End::Status(sys::SIGKILL));
            }
            // Version 2 kills instead, init as well, whose death will be heard of.
            if error.kind() == io::ErrorKind::BrokenPipe {
                return;
            }
            if error.kind() == io::ErrorKind::StorageFull {
                self.report.files_full = true;
                return self.stop(End::Status(sys::SIGKILL));
            }
            self.report.message = error.to_string();
            self.stop(End::Failed);
        }
    }

    fn allow_step(&mut self) -> io::Result<()> {
        let (before, step) = (&self.steps[self.step - 1], &self.steps[self.step]);
        if before.room() != step.room() {
            resize(self.work.as_ref(), step)?;
        }
        if let Some(group) = &mut self.group {
            during("limit the cgroup", group.next_step(&in_cgroup(step)))?;
        }
        self.told = Some(Instant::now());
        match &self.control {
            Some(control) => during("go on", packets::send(control, b"g")),
            None => Ok(()),
        }
    }

    /// When the current step's wall time is up, or ours to make its world.
    fn deadline(&self) -> Option<Instant> {
        match (self.started, self.told) {
            (Some(_), _) if !in_force(Layer::WallTime) => None,
            (Some(started), _) => {
                started.checked_add(Duration::from_nanos(self.steps.get(self.step)?.wall_ns))
            }
            (None, Some(told)) => told.checked_add(SET_UP),
            (None, None) => None,
        }
    }

    /// When something has to be looked at, without anybody saying so.
    pub(crate) fn next_check(&self) -> Option<Instant> {
        self.deadline().into_iter().chain(self.next_cpu_check).min()
    }

    pub(crate) fn check_time(&mut self) {
        let now = Instant::now();
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            if self.started.is_some() {
                return self.stop(End::WallTime);
            }
            self.report.message = format!("the world was not made within {} s", SET_UP.as_secs());
            return self.stop(End::Failed);
        }
        let Some(step) = self.steps.get(self.step) else {
            return;
        };
        if self.next_cpu_check.is_some_and(|check| check <= now) {
            let used = self.group.as_ref().and_then(Group::cpu_ns).unwrap_or(0);
            if used >= step.cpu_ns {
                return self.stop(End::CpuTime);
            }
            // With all of its share it can't be used up sooner than this.
            let left = (step.cpu_ns - used).saturating_mul(1000) / u64::from(step.cpu_millis.max(1));
            self.next_cpu_check = Some(now + CPU_CHECK.max(Duration::from_nanos(left)));
        }
    }

    /// Kills everything; its death is heard of by the pidfd.
    pub(crate) fn stop(&mut self, why: End) {
        self.end.get_or_insert(why);
        if let Some(started) = self.started.take() {
            self.report.wall_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        }
        self.told = None;
        self.next_cpu_check = None;
        let group = self.group.as_mut().map_or(Ok(()), Group::kill);
        if let Err(error) = sys::kill(&self.pidfd).and(group) {
            self.report.message = format!("kill: {error}");
        }
    }
}

/// A host that doesn't listen any more has closed its end, which is its way of saying that it doesn't want to know.
pub(crate) fn report_to(host: &OwnedFd, report: &Report) {
    packets::send(host, &report.encode()).ok();
}

/// Gives the work directory the size that a step may have.
pub(crate) fn resize(work: Option<&OwnedFd>, step: &Limits) -> io::Result<()> {
    let work = work.ok_or_else(|| io::Error::other("the work directory is not known"))?;
    root::resize(work, step.room()).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => io::ErrorKind::StorageFull.into(),
        kind => io::Error::new(kind, format!("resize the work directory: {error}")),
    })
}

/// What its cgroup limits of a step.
pub(crate) fn in_cgroup(step: &Limits) -> Limits {
    let mut limited = *step;
    if !in_force(Layer::CgroupMemory) {
        limited.memory_bytes = 1 << 30;
    }
    if !in_force(Layer::CgroupPids) {
        limited.processes = 1000;
    }
    if !in_force(Layer::CgroupCpu) {
        limited.cpu_millis = 64_000;
    }
    limited
}
