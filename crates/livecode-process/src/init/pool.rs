//! Worlds made ahead for kinds of programs that are seen again and again: how many, and when.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::{
    packets,
    parked::Ahead,
    protocol::{Counters, Kind, Limits},
    worlds::Vacant,
    zygote::Zygote,
};

/// How many worlds of one kind wait at most.
const EACH: usize = 8;

/// When a kind that isn't seen any more has but one waiting, and when none.
const FEWER: Duration = Duration::from_secs(20);
const NONE: Duration = Duration::from_secs(300);

/// How long an interpreter may take to boot, at low priority beside others.
const BOOT: Duration = Duration::from_secs(60);

/// After so many failures in a row a kind goes the cold way, and so long: it may not have been its fault.
const PATIENCE: u32 = 3;
const AGAIN: Duration = Duration::from_secs(60);

/// A kind, and what waits for it.
pub(crate) struct Known {
    pub(crate) kind: Kind,
    pub(crate) booted: OwnedFd,
    pub(crate) archive: Option<OwnedFd>,
    pub(crate) worlds: Vec<Vacant>,
    /// The fork server, and one that boots to take its place.
    pub(crate) zygotes: Vec<Zygote>,
    /// Whether programs were copies of one: then they should be again, however busy we are.
    has_forked: bool,
    /// Since when each boots by itself although it could be forked: that failed.
    single_since: Option<Instant>,
    pace: Pace,
    /// In a row, and when the last was.
    failures: u32,
    failed: Instant,
    /// What the last of them held when it had booted.
    bytes: u64,
    /// What the last program might use: the next one's limits are likely the same.
    usual: Option<Limits>,
}

/// How often programs come, and how long it takes to make a world for one.
struct Pace {
    last: Instant,
    interval: Option<Duration>,
    making: Duration,
}

pub(crate) struct Pool {
    pub(crate) known: Vec<Known>,
    pub(crate) counters: Counters,
    most_bytes: u64,
}

impl Pool {
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self { known: Vec::new(), counters: Counters::default(), most_bytes }
    }

    /// Gives back what is forgotten for it.
    pub(crate) fn learn(&mut self, kind: Kind, booted: OwnedFd, archive: Option<OwnedFd>) -> Option<Known> {
        let old = self.known.iter().position(|known| Some(known.kind.id) == kind.forgets);
        let forgotten = old.map(|index| self.known.swap_remove(index));
        let pace = Pace { last: Instant::now(), interval: None, making: Duration::from_millis(20) };
        self.known.push(Known {
            kind,
            booted,
            archive,
            worlds: Vec::new(),
            zygotes: Vec::new(),
            has_forked: false,
            single_since: None,
            pace,
            failures: 0,
            failed: Instant::now(),
            bytes: 0,
            usual: None,
        });
        forgotten
    }

    /// A program of that kind has come: gives it a world that is ready, and which it was.
    pub(crate) fn take(&mut self, id: u64, first: &Limits) -> (Option<usize>, Option<Vacant>) {
        let Some(index) = self.known.iter().position(|known| known.kind.id == id) else {
            return (None, None);
        };
        let known = &mut self.known[index];
        known.pace.arrival();
        known.usual = Some(*first);
        let ready = known.worlds.iter().position(Vacant::is_ready);
        let world = ready.map(|ready| known.worlds.remove(ready));
        (Some(index), world)
    }

    /// Which kind should have one more, where there is one.
    pub(crate) fn wanting(&self) -> Option<usize> {
        let is_booting = |known: &Known| known.worlds.iter().any(|world| !world.is_ready());
        if self.known.iter().any(is_booting) {
            return None;
        }
        let held = self.held_bytes();
        // The one that has least of what it should have.
        let wanting = self.known.iter().enumerate().filter(|(_, known)| {
            known.worlds.len() < known.target()
                && known.can_make()
                && held.saturating_add(known.bytes) <= self.most_bytes
        });
        wanting
            .min_by_key(|(_, known)| known.worlds.len() * EACH / known.target().max(1))
            .map(|(index, _)| index)
    }

    /// Takes out what waits too long, for a program or to boot, or was made by an interpreter that is gone.
    pub(crate) fn superfluous(&mut self) -> Vec<Vacant> {
        let mut out = Vec::new();
        for known in &mut self.known {
            let stuck =
                known.worlds.iter().position(|world| !world.is_ready() && world.made.elapsed() > BOOT);
            if let Some(stuck) = stuck {
                out.push(known.worlds.remove(stuck));
                known.has_failed();
                self.counters.failures += 1;
            }
            // Never one that is too many by a moment's rate.
            let most = if known.pace.last.elapsed() < FEWER { EACH } else { known.target() };
            while known.worlds.len() > most {
                out.extend(known.worlds.pop());
            }
        }
        // What one holds is only known when it has booted.
        while self.held_bytes() > self.most_bytes {
            let Some(most) = self.known.iter_mut().max_by_key(|known| known.worlds.len()) else { break };
            let Some(world) = most.worlds.pop() else { break };
            out.push(world);
        }
        out
    }

    /// Whether a fork server that programs were copies of needs another in its place.
    pub(crate) fn lacks_successor(&self) -> bool {
        self.known.iter().any(|known| known.has_forked && known.lacks_zygote())
    }

    /// When [`Pool::superfluous`] has to be asked again, at the latest.
    pub(crate) fn next_check(&self) -> Option<Instant> {
        let waits = self.known.iter().filter(|known| !known.worlds.is_empty() || !known.zygotes.is_empty());
        waits
            .map(|known| {
                let idle = known.pace.last.elapsed();
                let next = if idle < FEWER { FEWER } else { NONE };
                let booting =
                    known.worlds.iter().filter(|world| !world.is_ready()).map(|world| world.made + BOOT);
                booting
                    .chain([known.pace.last + next.max(idle)])
                    .min()
                    .map(|at| at + Duration::from_millis(1))
            })
            .min()
            .flatten()
    }

    /// Whether all is there that should be, as far as the bound on memory lets it.
    pub(crate) fn is_full(&self) -> bool {
        let booting = |known: &Known| {
            known.worlds.iter().any(|world| !world.is_ready())
                || known.zygotes.iter().any(|zygote| !zygote.is_ready)
                || self.has_room() && known.lacks_zygote()
        };
        self.wanting().is_none() && !self.known.iter().any(booting)
    }

    /// Whether another fork server may boot: one after the other, for what it holds is only known then.
    pub(crate) fn has_room(&self) -> bool {
        let boots = |known: &Known| known.zygotes.iter().any(|zygote| !zygote.is_ready);
        self.held_bytes() < self.most_bytes && !self.known.iter().any(boots)
    }

    fn held_bytes(&self) -> u64 {
        let worlds = self.known.iter().flat_map(|known| &known.worlds).map(|world| world.bytes);
        let zygotes = self.known.iter().flat_map(|known| &known.zygotes).map(|zygote| zygote.bytes);
        worlds.chain(zygotes).sum()
    }

    pub(crate) fn counters(&self) -> Counters {
        let ready = self.known.iter().flat_map(|known| &known.worlds).filter(|world| world.is_ready());
        Counters { waiting: ready.count() as u64, waiting_bytes: self.held_bytes(), ..self.counters }
    }
}

impl Known {
    /// Whether none is made for now: it doesn't work.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.failures >= PATIENCE && self.failed.elapsed() < AGAIN
    }

    /// What can't be forked, for it has threads say, may still boot for each.
    pub(crate) fn has_failed(&mut self) {
        self.failures += 1;
        self.failed = Instant::now();
        if self.is_hopeless() && self.forks() {
            self.single_since = Some(self.failed);
            self.failures = 0;
        }
    }

    /// A program has got one.
    pub(crate) fn has_worked(&mut self) {
        self.failures = 0;
    }

    /// Whether its programs are to be copies of a fork server.
    pub(crate) fn forks(&self) -> bool {
        self.kind.forks && self.single_since.is_none_or(|since| since.elapsed() >= AGAIN)
    }

    /// Takes the fork server out that copies can be made of.
    pub(crate) fn take_zygote(&mut self) -> Option<Zygote> {
        let ready = self.zygotes.iter().position(|zygote| zygote.is_ready)?;
        Some(self.zygotes.swap_remove(ready))
    }

    /// Lets copies be made of this one from now on; gives back the one before.
    pub(crate) fn succeed(&mut self, zygote: Zygote) -> Option<Zygote> {
        self.has_forked = true;
        let before = self.take_zygote();
        self.zygotes.push(zygote);
        before
    }

    /// Whether its programs still come.
    pub(crate) fn is_wanted(&self) -> bool {
        self.pace.target() > 0
    }

    /// Whether there is what a world of it is made of.
    fn can_make(&self) -> bool {
        !self.forks() || self.zygotes.iter().any(|zygote| zygote.is_ready)
    }

    pub(crate) fn lacks_zygote(&self) -> bool {
        let lasts = |zygote: &Zygote| !zygote.is_ready || !zygote.is_ageing();
        self.forks() && !self.zygotes.iter().any(lasts) && self.target() > 0
    }

    /// One has booted. What is likely to be in force for its program can be now.
    pub(crate) fn is_ready(&mut self, world: &mut Vacant) {
        self.failures = 0;
        self.bytes = world.bytes;
        self.pace.making = world.made.elapsed();
        if let Some(usual) = &self.usual {
            // Else it will be tried again with the program.
            world.confine(usual).ok();
        }
    }

    /// What boots for it.
    pub(crate) fn ahead(&self, library: &OwnedFd) -> io::Result<Ahead<'_>> {
        let archive = self.archive.as_ref().map(OwnedFd::try_clone).transpose()?;
        let (booted, library) = (self.booted.try_clone()?, library.try_clone()?);
        let controls = self
            .kind
            .steps
            .iter()
            .map(|_| packets::pair().map(<[OwnedFd; 2]>::from))
            .collect::<io::Result<_>>()?;
        Ok(Ahead { booted, archive, limits: &self.kind.steps, library, controls })
    }

    pub(crate) fn limits(&self) -> Option<&Limits> {
        self.kind.steps.first()
    }

    fn target(&self) -> usize {
        if self.is_hopeless() { 0 } else { self.pace.target() }
    }
}

impl Pace {
    fn arrival(&mut self) {
        let since = self.last.elapsed();
        self.last = Instant::now();
        // After a pause it's a new beginning.
        self.interval = Some(match self.interval {
            Some(before) if since < FEWER => (before * 7 + since) / 8,
            Some(_) | None => since.min(FEWER),
        });
    }

    /// As many as come while one is made, twice: they don't come evenly. One at least, as long as they come at all.
    fn target(&self) -> usize {
        let idle = self.last.elapsed();
        let interval = match self.interval {
            _ if idle >= NONE => return 0,
            Some(interval) if idle < FEWER => interval,
            Some(_) | None => return 1,
        };
        let meanwhile = self.making.as_nanos().div_ceil(interval.as_nanos().max(1));
        usize::try_from(meanwhile * 2).unwrap_or(EACH).clamp(1, EACH)
    }
}
