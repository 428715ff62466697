//! The helper's loop: begins runs, stops them when their time is up or nobody wants them, and reports their end.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::fchown,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    cgroup::{Group, Parents},
    networks::Network,
    packets,
    pool::Pool,
    protocol::{Begin, End, Hello, Limits, Message, Order, Report},
    root::during,
    run::{Run, report_to, resize},
    sys::{self, PollFd},
    worlds::{Content, Vacant, Worlds},
};

/// What an interpreter that boots ahead is loaded with.
static LIBRARY: &[u8] = include_bytes!(env!("LIVECODE_WARM"));

/// How long a cgroup whose processes are gone may refuse to be removed, and how often that is tried.
const REMOVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(1));

/// How long parts of worlds are kept for runs to come, when there is none.
const PARTS_KEPT: Duration = Duration::from_secs(1);

/// A cgroup whose processes are gone, to be removed.
struct Empty {
    group: Group,
    since: Instant,
}

pub(crate) fn serve(host: &OwnedFd, hello: &Hello, parents: &Parents, landlock: u8) -> io::Result<()> {
    let mut serving = Serving {
        parents,
        worlds: Worlds::new(hello, parents, landlock)?,
        runs: Vec::new(),
        spare: None,
        usual: None,
        pool: Pool::new(hello.warm_bytes),
        library: sys::memory_file(LIBRARY)?,
        processors: thread::available_parallelism().map_or(1, usize::from),
        waiting: Vec::new(),
        told: None,
        empty: Vec::new(),
    };
    while serving.turn(host)? {}
    serving.end_all();
    Ok(())
}

/// The loop's state.
pub(crate) struct Serving<'a> {
    pub(crate) parents: &'a Parents,
    pub(crate) worlds: Worlds<'a>,
    pub(crate) runs: Vec<Run>,
    /// Made when there is nothing else to do, for one run: the next one needn't wait for it.
    spare: Option<Vacant>,
    /// What the last program might use: the next one's limits are likely the same. None where there's to be no spare one.
    usual: Option<Limits>,
    /// The same for kinds of programs that come often, with the interpreter in it.
    pub(crate) pool: Pool,
    pub(crate) library: OwnedFd,
    /// With so many runs there is no time for worlds that nobody asked for.
    pub(crate) processors: usize,
    /// Who wants to know when the pool is as it should be.
    pub(crate) waiting: Vec<OwnedFd>,
    /// When a host was last told of an end.
    pub(crate) told: Option<Instant>,
    empty: Vec<Empty>,
}

impl Serving<'_> {
    /// Waits for something and deals with it; says whether there will be more.
    fn turn(&mut self, host: &OwnedFd) -> io::Result<bool> {
        let mut polled = vec![PollFd::readable(host)];
        for run in &self.runs {
            let wanted = run.host.as_ref().filter(|_| !run.host_is_done);
            polled.extend([wanted, run.control.as_ref(), Some(&run.pidfd)].map(PollFd::readable_if_any));
        }
        let spare = self.spare.as_ref();
        polled.push(PollFd::readable_if_any(spare.map(|spare| &spare.control)));
        for known in &self.pool.known {
            let worlds = known.worlds.iter().map(|world| &world.control);
            let zygotes = known.zygotes.iter().map(|zygote| &zygote.control);
            polled.extend(worlds.chain(zygotes).map(PollFd::readable));
        }
        sys::poll(&mut polled, self.patience())?;
        let mut pooled = polled.split_off(1 + 3 * self.runs.len()).into_iter().map(|fd| fd.is_ready());
        if pooled.next() == Some(true) {
            self.hear_spare();
        }
        self.hear_pool(pooled);
        // From the last to the first, so that an ended run can be taken out.
        for index in (0..self.runs.len()).rev() {
            let [wanted, news, death] = [1, 2, 3].map(|offset| polled[3 * index + offset].is_ready());
            let run = &mut self.runs[index];
            if news {
                run.listen();
            }
            // Before its world is taken down, which takes the kernel as long as a short program takes us.
            if run.is_over && run.host.is_some() {
                run.tell(self.pool.counters());
                self.told = Some(Instant::now());
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
        self.let_parts_go();
        self.remove_empty();
        if polled[0].is_ready() && !self.take_order(host)? {
            return Ok(false);
        }
        for world in self.pool.superfluous() {
            self.raze(world);
        }
        // Who waits comes before who may come.
        let mut more = [PollFd::readable(host)];
        sys::poll(&mut more, Some(0))?;
        if !more[0].is_ready() {
            self.make_spare();
            self.make_ahead();
        }
        self.tell();
        Ok(true)
    }

    /// Where nothing is running that it would take time from.
    fn make_spare(&mut self) {
        if let (Some(usual), None, []) = (&self.usual, &self.spare, &self.runs[..]) {
            let mut rest = Vec::new();
            match self.worlds.make(usual, Content::Nothing, &mut rest) {
                Ok(spare) => self.spare = Some(spare),
                // The next run will say why.
                Err(_) => self.usual = None,
            }
            rest.into_iter().for_each(|group| self.discard(Some(group)));
        }
    }

    fn hear_spare(&mut self) {
        if let Some(mut spare) = self.spare.take() {
            if spare.listen() {
                self.spare = Some(spare);
            } else {
                // Its init is dead or about to be. Not again before there was a run.
                self.usual = None;
                self.raze(spare);
            }
        }
    }

    /// Takes leave of a world that no program was in.
    pub(crate) fn raze(&mut self, mut world: Vacant) {
        // Where it can't be killed or reaped it's dead already.
        sys::kill(&world.pidfd).ok();
        sys::reap(&world.pidfd).ok();
        let (slot, network, group) = (world.slot, world.network.take(), world.group.take());
        drop(world);
        self.take_apart(slot, network, group);
    }

    fn patience(&self) -> Option<i32> {
        let now = Instant::now();
        let times = self.runs.iter().filter_map(Run::next_check);
        let removal = (!self.empty.is_empty()).then(|| now + REMOVAL.1);
        let next = times
            .chain(removal)
            .chain(self.pool.next_check())
            .chain(self.next_quiet())
            .chain(self.parts_kept_until())
            .min()?;
        // Rounded up, or the last millisecond would be spent in a busy loop.
        Some(
            i32::try_from(next.saturating_duration_since(now).as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
        )
    }

    fn take_order(&mut self, host: &OwnedFd) -> io::Result<bool> {
        let mut packet = [0; packets::MAX_LEN];
        let (len, mut fds) = packets::receive(host, &mut packet)?;
        if len == 0 {
            return Ok(false);
        }
        if fds.is_empty() {
            return Ok(true);
        }
        let first = fds.remove(0);
        match Order::decode(&packet[..len]) {
            Ok(Order::Run(begin)) => {
                if let Err(error) = self.begin(&first, begin, &packet[..len], &fds) {
                    let report = if error.kind() == io::ErrorKind::ResourceBusy {
                        // It may not even have the memory of its empty world.
                        Report { end: End::Status(sys::SIGKILL), oom_kills: 1, ..Report::default() }
                    } else {
                        Report { end: End::NoWorld, message: error.to_string(), ..Report::default() }
                    };
                    report_to(&first, &report);
                }
            }
            Ok(Order::Learn(kind)) => {
                if let Some(forgotten) = self.pool.learn(kind, first, fds.pop()) {
                    self.forget(forgotten);
                }
            }
            Ok(Order::Tell) => self.waiting.push(first),
            Err(_) => {
                let message = "the order is damaged".into();
                report_to(&first, &Report { end: End::NoWorld, message, ..Report::default() });
            }
        }
        Ok(true)
    }

    fn begin(&mut self, host: &OwnedFd, begin: Begin, packet: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
        let first = begin.steps.first().ok_or_else(|| io::Error::other("a request has no steps"))?;
        let host = host.try_clone()?;
        let world = match self.enter_warm(begin.kind, first, packet, fds) {
            Some(world) => world,
            None => match self.enter_spare(first, packet, fds) {
                Some(world) => world,
                None => self.enter_new(Content::Nothing, first, packet, fds)?,
            },
        };
        self.usual = Some(*first);
        let Vacant { slot, group, network, control, pidfd, work, mounts, .. } = world;
        self.runs.push(Run {
            host: Some(host),
            host_is_done: false,
            control: Some(control),
            work,
            mounts,
            pidfd,
            group,
            network,
            steps: begin.steps,
            slot,
            step: 0,
            started: None,
            told: Some(Instant::now()),
            next_cpu_check: None,
            report: Report::default(),
            is_counted: false,
            end: None,
            began: Instant::now(),
            ends_at_once: !begin.collects,
            is_over: false,
        });
        Ok(())
    }

    /// Lets a program into the spare world, where there is one that is well and fits.
    fn enter_spare(&mut self, first: &Limits, packet: &[u8], fds: &[OwnedFd]) -> Option<Vacant> {
        let fits = |spare: &mut Vacant| spare.work.is_some() || spare.limits.room() == first.room();
        let mut world = self.spare.take_if(fits)?;
        if hand_over(&mut world, first, packet, fds).is_err() {
            self.raze(world);
            return None;
        }
        Some(world)
    }

    pub(crate) fn enter_new(
        &mut self,
        content: Content<'_>,
        first: &Limits,
        packet: &[u8],
        fds: &[OwnedFd],
    ) -> io::Result<Vacant> {
        let mut rest = Vec::new();
        let made = self.worlds.make(first, content, &mut rest);
        rest.into_iter().for_each(|group| self.discard(Some(group)));
        let mut world = made?;
        match hand_over(&mut world, first, packet, fds) {
            Ok(()) => {}
            // Its init has failed already: what it says of that is yet to be heard.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            Err(error) => {
                self.raze(world);
                return Err(error);
            }
        }
        Ok(world)
    }

    /// Takes leave of a run whose init, and with it everything in its PID namespace, is dead.
    fn bury(&mut self, mut run: Run) {
        run.listen();
        if let Err(error) = sys::reap(&run.pidfd) {
            run.report.message = format!("reap: {error}");
        }
        run.count();
        run.end.get_or_insert_with(|| {
            // The kernel chose our init to free memory, or all of the group at once.
            if run.report.oom_kills > 0 {
                return End::Status(sys::SIGKILL);
            }
            run.report.message = "the init of the run died".into();
            End::Failed
        });
        run.tell(self.pool.counters());
        let (slot, network, group) = (run.slot, run.network.take(), run.group.take());
        // With it go its mounts, and what their files hold of the group's memory.
        drop(run);
        self.take_apart(slot, network, group);
    }

    fn take_apart(&mut self, slot: u32, network: Option<Network>, group: Option<Group>) {
        let group = self.worlds.take_apart(slot, network, group);
        // Behind the host's back: it's empty, and the kernel takes its time at times.
        self.discard(group);
    }

    /// When nothing has run for a while, nothing is kept for what may come.
    fn let_parts_go(&mut self) {
        if self.parts_kept_until().is_some_and(|until| until <= Instant::now()) {
            self.worlds.let_go().into_iter().for_each(|group| self.discard(Some(group)));
        }
    }

    fn parts_kept_until(&self) -> Option<Instant> {
        let is_idle = self.runs.is_empty() && self.worlds.keeps_parts();
        is_idle.then(|| self.told.map_or_else(Instant::now, |told| told + PARTS_KEPT))
    }

    pub(crate) fn discard(&mut self, group: Option<Group>) {
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
        if let Some(spare) = self.spare.take() {
            self.raze(spare);
        }
        for known in std::mem::take(&mut self.pool.known) {
            self.forget(known);
        }
        self.worlds.let_go().into_iter().for_each(|group| self.discard(Some(group)));
        while !self.empty.is_empty() {
            self.remove_empty();
            thread::sleep(REMOVAL.1);
        }
        self.parents.remove_parents();
    }
}

/// Lets the program in: its limits, and what init needs to know.
pub(crate) fn hand_over(
    world: &mut Vacant,
    first: &Limits,
    packet: &[u8],
    fds: &[OwnedFd],
) -> io::Result<()> {
    if let Some(uid) = world.uid {
        // Whoever opens /dev/stdin opens the pipe anew.
        for stream in fds.iter().skip(1) {
            during("hand over a pipe", fchown(stream, Some(uid), Some(uid)))?;
        }
    }
    if world.limits.room() != first.room() {
        resize(world.work.as_ref(), first)?;
    }
    during("limit the cgroup", world.confine(first))?;
    let fds: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    during("hand over a run", packets::send_with(&world.control, packet, &fds))
}
