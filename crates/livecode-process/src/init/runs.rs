//! The helper's loop: begins runs, stops them when their time is up or nobody wants them, and reports their end.

use std::{
    fs::File,
    io::{self, Read, Seek},
    os::{fd::OwnedFd, unix::fs::fchown},
    thread,
    time::{Duration, Instant},
};

use crate::{
    cgroup::{Entrances, Group, Parents},
    in_force,
    layer::Layer,
    map_ids, namespaces, packets,
    protocol::{End, Hello, Message, Report, Request, Step},
    root::during,
    run::{Run, in_cgroup},
    sys::{self, Fork, PollFd},
    world::{INSIDE_ID, Namespaces, Streams, World, be_init},
};

const NAMESPACES: [(u64, Option<Layer>); 6] = [
    (sys::CLONE_NEWUSER, Some(Layer::UserNamespace)),
    (sys::CLONE_NEWPID, Some(Layer::PidNamespace)),
    (sys::CLONE_NEWNS, Some(Layer::MountNamespace)),
    (sys::CLONE_NEWNET, Some(Layer::Network)),
    (sys::CLONE_NEWIPC, Some(Layer::Ipc)),
    (sys::CLONE_NEWUTS, Some(Layer::Uts)),
];

/// The host uids that belong to one helper.
const RUNS_AT_A_TIME: u32 = 1024;

/// How long a cgroup whose processes are gone may refuse to be removed, and how often that is tried.
const REMOVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(1));

/// A run that init has begun to make the world of.
struct Begun {
    steps: Vec<Step>,
    control: OwnedFd,
    pidfd: OwnedFd,
}

/// A cgroup whose processes are gone, to be removed.
struct Empty {
    group: Group,
    since: Instant,
}

pub(crate) fn serve(host: &OwnedFd, hello: &Hello, parents: &Parents, landlock: u8) -> io::Result<()> {
    let mut serving = Serving {
        hello,
        parents,
        landlock,
        outside: Namespaces::own()?,
        runs: Vec::new(),
        empty: Vec::new(),
        free_slots: Vec::new(),
        made: 0,
    };
    while serving.turn(host)? {}
    serving.end_all();
    Ok(())
}

struct Serving<'a> {
    hello: &'a Hello,
    parents: &'a Parents,
    landlock: u8,
    outside: Namespaces,
    runs: Vec<Run>,
    empty: Vec<Empty>,
    /// Host uids that no living run has, as offsets.
    free_slots: Vec<u32>,
    made: u64,
}

impl Serving<'_> {
    /// Waits for something and deals with it; says whether there will be more.
    fn turn(&mut self, host: &OwnedFd) -> io::Result<bool> {
        let mut polled = vec![PollFd::readable(host)];
        for run in &self.runs {
            let wanted = (!run.host_is_done).then_some(&run.host);
            polled.extend([wanted, run.control.as_ref(), Some(&run.pidfd)].map(PollFd::readable_if_any));
        }
        sys::poll(&mut polled, self.patience())?;
        // From the last to the first, so that an ended run can be taken out.
        for index in (0..self.runs.len()).rev() {
            let [wanted, news, death] = [1, 2, 3].map(|offset| polled[3 * index + offset].is_ready());
            let run = &mut self.runs[index];
            if news {
                run.listen();
            }
            if wanted {
                run.host_is_done = true;
                run.stop(End::Killed);
            }
            run.check_time();
            if death {
                let run = self.runs.swap_remove(index);
                self.bury(run);
            }
        }
        self.remove_empty();
        if polled[0].is_ready() {
            return self.take_request(host);
        }
        Ok(true)
    }

    fn patience(&self) -> Option<i32> {
        let now = Instant::now();
        let times = self.runs.iter().filter_map(Run::next_check);
        let removal = (!self.empty.is_empty()).then(|| now + REMOVAL.1);
        let next = times.chain(removal).min()?;
        // Rounded up, or the last millisecond would be spent in a busy loop.
        Some(
            i32::try_from(next.saturating_duration_since(now).as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
        )
    }

    fn take_request(&mut self, host: &OwnedFd) -> io::Result<bool> {
        let (len, fds) = packets::receive(host, &mut [0; 1])?;
        if len == 0 {
            return Ok(false);
        }
        let mut fds = fds.into_iter();
        if let Some(run_host) = fds.next() {
            self.begin(run_host, fds);
        }
        Ok(true)
    }

    fn begin(&mut self, host: OwnedFd, mut fds: impl Iterator<Item = OwnedFd>) {
        // Where none is free, the runs have all from 0 on.
        let slot =
            self.free_slots.pop().unwrap_or_else(|| u32::try_from(self.runs.len()).unwrap_or(u32::MAX));
        let mut group = None;
        match self.make_world(&mut fds, slot, &mut group) {
            Ok(Begun { steps, control, pidfd }) => self.runs.push(Run {
                host,
                host_is_done: false,
                control: Some(control),
                work: None,
                pidfd,
                group,
                steps,
                slot,
                step: 0,
                started: None,
                told: Some(Instant::now()),
                next_cpu_check: None,
                report: Report::default(),
                end: None,
            }),
            Err(error) => {
                self.free_slots.push(slot);
                self.discard(group);
                report_to(&host, &Report { message: error.to_string(), ..Report::default() });
            }
        }
    }

    /// Makes the cgroup and the namespaces, with an init in them that goes to work.
    fn make_world(
        &mut self,
        fds: &mut impl Iterator<Item = OwnedFd>,
        slot: u32,
        made: &mut Option<Group>,
    ) -> io::Result<Begun> {
        let mut descriptor = || fds.next().ok_or_else(|| io::Error::other("a descriptor is missing"));
        let request = read_request(descriptor()?)?;
        let streams = Streams {
            stdin: descriptor()?,
            stdout: descriptor()?,
            stderr: descriptor()?,
            compile: (request.steps.len() > 1).then(&mut descriptor).transpose()?,
            collect: (!request.collect.is_empty()).then(descriptor).transpose()?,
        };
        if slot >= RUNS_AT_A_TIME {
            return Err(io::Error::other("too many runs at a time for one sandbox: 1,024 are possible"));
        }
        let first = request.steps.first().ok_or_else(|| io::Error::other("a request has no steps"))?;
        let uid = match self.hello.first_uid {
            Some(first_uid) => {
                let uid = first_uid + if in_force(Layer::OwnUser) { slot } else { 0 };
                // Whoever opens /dev/stdin opens the pipe anew.
                for stream in [&streams.stdin, &streams.stdout, &streams.stderr] {
                    during("hand over a pipe", fchown(stream, Some(uid), Some(uid)))?;
                }
                uid
            }
            None => 0,
        };
        self.made += 1;
        let mut entrances = Entrances::default();
        let group = if self.parents.directories.is_empty() {
            None
        } else {
            let group = during("make a cgroup", self.parents.make_group(self.made.to_string()))?;
            let group = made.insert(group);
            during("limit the cgroup", group.limit(&in_cgroup(first)))?;
            if in_force(Layer::CgroupEntry) {
                entrances = during("open the cgroup", self.parents.entrances(group))?;
            }
            Some(&*group)
        };
        let (control, inner) = packets::pair()?;
        let entered = group.filter(|_| in_force(Layer::CgroupEntry)).and_then(Group::unified);
        // Who makes a user namespace pays for what is counted by user in it, such as pending signals and inotify's: else all
        // runs and the host's root would share one purse.
        let payer = self.hello.first_uid.map(|_| uid);
        match during("make namespaces", sys::fork_as(payer, namespaces(&NAMESPACES), entered))? {
            Fork::Child => be_init(World {
                request: &request,
                streams,
                control: inner,
                entrances,
                seccomp: &self.hello.seccomp,
                landlock: self.landlock,
                shown: &self.hello.shown,
                cgroup: group.map(|_| format!("/{}/{}", self.parents.name, self.made)),
                outside: &self.outside,
                user: if in_force(Layer::UserNamespace) { INSIDE_ID } else { uid },
                clear_groups: self.hello.first_uid.is_some() && in_force(Layer::Groups),
            }),
            Fork::Parent { pid, pidfd } => {
                let may_set_groups = self.hello.first_uid.is_some();
                let mapped = if in_force(Layer::UserNamespace) {
                    map_ids(&format!("/proc/{pid}"), INSIDE_ID, (uid, uid), may_set_groups)
                } else {
                    Ok(())
                };
                let ready = mapped.and_then(|()| packets::send(&control, b"g"));
                if let Err(error) = during("map the user namespace", ready) {
                    sys::kill(&pidfd)?;
                    sys::reap(&pidfd)?;
                    return Err(error);
                }
                Ok(Begun { steps: request.steps, control, pidfd })
            }
        }
    }

    /// Takes leave of a run whose init, and with it everything in its PID namespace, is dead.
    fn bury(&mut self, mut run: Run) {
        run.listen();
        if let Err(error) = sys::reap(&run.pidfd) {
            run.report.message = format!("reap: {error}");
        }
        run.report.step = u32::try_from(run.step).unwrap_or(u32::MAX);
        if let Some(group) = &run.group {
            let counted = group.counted();
            run.report.cpu_ns = group.cpu_ns().unwrap_or(0);
            run.report.memory_peak_bytes = counted.memory_peak_bytes;
            run.report.oom_kills += counted.oom_kills;
            run.report.fork_failures = counted.fork_failures;
        }
        run.report.end = match run.end {
            Some(end) => end,
            // The kernel chose our init to free memory, or all of the group at once.
            None if run.report.oom_kills > 0 => End::Status(sys::SIGKILL),
            None => {
                run.report.message = "the init of the run died".into();
                End::Failed
            }
        };
        self.free_slots.push(run.slot);
        report_to(&run.host, &run.report);
        // Behind the host's back: it's empty, and the kernel takes its time at times.
        self.discard(run.group);
    }

    fn discard(&mut self, group: Option<Group>) {
        let since = Instant::now();
        self.empty.extend(group.map(|group| Empty { group, since }));
    }

    fn remove_empty(&mut self) {
        let parents = self.parents;
        // One that can't be removed at all is left to whoever removes our parent directory.
        self.empty.retain(|empty| parents.remove(&empty.group).is_err() && empty.since.elapsed() < REMOVAL.0);
    }

    /// The host is gone or wants no more: nothing stays.
    fn end_all(mut self) {
        for mut run in std::mem::take(&mut self.runs) {
            run.stop(End::Killed);
            self.bury(run);
        }
        while !self.empty.is_empty() {
            self.remove_empty();
            thread::sleep(REMOVAL.1);
        }
        self.parents.remove_parents();
    }
}

/// A host that doesn't listen any more has closed its end, which is its way of saying that it doesn't want to know.
fn report_to(host: &OwnedFd, report: &Report) {
    packets::send(host, &report.encode()).ok();
}

fn read_request(file: OwnedFd) -> io::Result<Request> {
    let (mut file, mut bytes) = (File::from(file), Vec::new());
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Request::decode(&bytes).map_err(|_| io::Error::other("the request is damaged"))
}
