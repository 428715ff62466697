//! What the helper's loop does for programs that haven't come yet.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::{
    packets,
    pool::Known,
    protocol::{Limits, Message},
    runs::{Serving, hand_over},
    worlds::{Content, Vacant},
    zygote::Zygote,
};

/// How long a program may be expected to take that does next to nothing, and a host to hear of its end. Most are over before
/// a world is made, and what makes them slow is that.
const SHORT: Duration = Duration::from_millis(5);
const HEARD: Duration = Duration::from_millis(2);

impl Serving<'_> {
    /// Lets a program into a world that was made ahead for its kind, or into one whose interpreter is a copy.
    pub(crate) fn enter_warm(
        &mut self,
        kind: Option<u64>,
        first: &Limits,
        packet: &[u8],
        fds: &[OwnedFd],
    ) -> Option<Vacant> {
        let (index, world) = self.pool.take(kind?, first);
        let index = index?;
        if let Some(mut world) = world {
            if hand_over(&mut world, first, packet, fds).is_ok() {
                self.pool.known[index].has_worked();
                self.pool.counters.hits += 1;
                return Some(world);
            }
            self.raze(world);
        }
        if let Some(mut zygote) = self.pool.known[index].take_zygote() {
            let entered = self.enter_new(Content::Copy(&mut zygote), first, packet, fds);
            match entered {
                Ok(world) => {
                    self.pool.known[index].zygotes.push(zygote);
                    self.pool.known[index].has_worked();
                    self.pool.counters.hits += 1;
                    return Some(world);
                }
                // Whatever it was, there is the other way.
                Err(_) if zygote.is_broken => self.lose(index, zygote),
                Err(_) => self.pool.known[index].zygotes.push(zygote),
            }
        }
        self.pool.counters.misses += 1;
        None
    }

    /// Makes what should be there and isn't, one at a time, as long as it takes no time from programs.
    pub(crate) fn make_ahead(&mut self) {
        let is_busy = self.is_busy();
        // However busy we are: else all of a long rush would be copies of one, or of none.
        if !is_busy || self.pool.lacks_successor() {
            self.renew_zygotes();
        }
        if is_busy {
            return;
        }
        let Some(index) = self.pool.wanting() else { return };
        let Some(limits) = self.pool.known[index].limits().copied() else { return };
        let mut zygote = self.pool.known[index].take_zygote();
        let known = &self.pool.known[index];
        let mut rest = Vec::new();
        let made = match &mut zygote {
            Some(zygote) => self.worlds.make(&limits, Content::Copy(zygote), &mut rest),
            // There will be one.
            None if known.forks() => return,
            None => {
                self.pool.counters.boots += 1;
                known
                    .ahead(&self.library)
                    .and_then(|ahead| self.worlds.make(&limits, Content::Booted(ahead), &mut rest))
            }
        };
        rest.into_iter().for_each(|group| self.discard(Some(group)));
        let has_failed = made.is_err();
        self.pool.known[index].worlds.extend(made);
        match zygote {
            Some(zygote) if zygote.is_broken => return self.lose(index, zygote),
            zygote => self.pool.known[index].zygotes.extend(zygote),
        }
        if has_failed {
            self.fail(index);
        }
    }

    /// Whether making a world would take time from programs, or from a host that has just been told of one's end.
    fn is_busy(&self) -> bool {
        let live = self.runs.iter().filter(|run| run.host.is_some()).count();
        live >= self.processors || self.next_quiet().is_some()
    }

    /// When that may be another matter, without anybody saying so.
    pub(crate) fn next_quiet(&self) -> Option<Instant> {
        let began = self.runs.iter().filter(|run| run.host.is_some()).map(|run| run.began + SHORT);
        let told = self.told.map(|told| told + HEARD);
        began.chain(told).max().filter(|quiet| !self.pool.known.is_empty() && *quiet > Instant::now())
    }

    /// Hears of what was made ahead: in the order of the kinds, of each its worlds and its fork servers.
    pub(crate) fn hear_pool(&mut self, ready: impl Iterator<Item = bool>) {
        let mut ready = ready;
        for index in 0..self.pool.known.len() {
            let known = &mut self.pool.known[index];
            let worlds = std::mem::take(&mut known.worlds);
            let zygotes = std::mem::take(&mut known.zygotes);
            let mut failed = Vec::new();
            for mut world in worlds {
                if ready.next() != Some(true) {
                    known.worlds.push(world);
                } else if world.listen() {
                    known.is_ready(&mut world);
                    known.worlds.push(world);
                } else {
                    failed.push(world);
                }
            }
            let (said, silent): (Vec<_>, Vec<_>) =
                zygotes.into_iter().partition(|_| ready.next() == Some(true));
            known.zygotes = silent;
            for zygote in said {
                self.hear_zygote(index, zygote);
            }
            for world in failed {
                self.fail(index);
                self.raze(world);
            }
        }
    }

    fn hear_zygote(&mut self, index: usize, mut zygote: Zygote) {
        let known = &mut self.pool.known[index];
        let step = known.kind.steps.len().saturating_sub(1);
        if zygote.listen(&self.worlds.settings(step)).is_err() {
            return self.lose(index, zygote);
        }
        if let Some(before) = known.succeed(zygote) {
            self.end_zygote(before);
        }
    }

    fn end_zygote(&mut self, zygote: Zygote) {
        let group = zygote.end();
        self.discard(group);
    }

    /// Starts fork servers where there should be one, and others in the place of those that have served their time.
    fn renew_zygotes(&mut self) {
        for index in 0..self.pool.known.len() {
            let known = &mut self.pool.known[index];
            let is_wanted = known.forks() && known.is_wanted();
            let is_over = |zygote: &mut Zygote| !is_wanted || zygote.is_worn_out() || zygote.is_stuck();
            let over: Vec<_> = known.zygotes.extract_if(.., is_over).collect();
            over.into_iter().for_each(|zygote| self.end_zygote(zygote));
            let known = &self.pool.known[index];
            if !known.lacks_zygote() || !self.pool.has_room() {
                continue;
            }
            let Some(limits) = known.kind.steps.last().copied() else { continue };
            let group = self.worlds.group_of_zygote(&limits);
            self.pool.counters.boots += 1;
            let started = group.and_then(|group| {
                let ahead = known.ahead(&self.library)?;
                Zygote::start(&ahead, group, limits.stack_bytes)
            });
            match started {
                Ok(zygote) => self.pool.known[index].zygotes.push(zygote),
                Err(_) => self.fail(index),
            }
        }
    }

    /// Takes leave of a fork server that died or doesn't answer. Another one is started.
    fn lose(&mut self, index: usize, zygote: Zygote) {
        if zygote.is_ready {
            self.pool.counters.restarts += 1;
        }
        self.fail(index);
        self.end_zygote(zygote);
    }

    fn fail(&mut self, index: usize) {
        self.pool.counters.failures += 1;
        self.pool.known[index].has_failed();
    }

    /// Takes leave of a kind.
    pub(crate) fn forget(&mut self, known: Known) {
        for world in known.worlds {
            self.raze(world);
        }
        for zygote in known.zygotes {
            self.end_zygote(zygote);
        }
    }

    /// Tells who wants to know, when all is there that should be.
    pub(crate) fn tell(&mut self) {
        if !self.waiting.is_empty() && self.pool.is_full() {
            let counters = self.pool.counters().encode();
            for socket in self.waiting.drain(..) {
                // Who doesn't listen any more doesn't want to know.
                packets::send(&socket, &counters).ok();
            }
        }
    }
}
