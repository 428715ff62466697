//! Sandboxes made ahead, in which the interpreter has booted and waits for its program.

pub(crate) mod java;
mod learning;

use std::collections::HashMap;

use crate::protocol::{Booted, Command, Counters, Kind, Limits, Message};

/// How programs of a language are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warm {
    /// The interpreter is started for each program.
    #[default]
    Off,
    /// An interpreter has booted ahead, in a sandbox of its own, and waits in there for one program.
    SingleUse,
    /// One interpreter has booted ahead; each program gets a copy of it, forked into a sandbox of its own. Programs that come
    /// from the same one share what it drew at random when it began: its address layout and its seed of hashes. It's
    /// replaced every now and then.
    ///
    /// It boots outside the sandboxes, and where we're root with `CAP_SYS_ADMIN`, which makes the copies' sandboxes: its own
    /// files (the interpreter, its libraries, what it loads when it starts) must be as trustworthy as the host's programs.
    Fork,
}

/// What became of the sandboxes that a [`ProcessSandbox`](crate::ProcessSandbox) made ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmStats {
    /// So many are waiting for a program, as of the last word about it: the end of a run, or of
    /// [`ProcessSandbox::warmed`](crate::ProcessSandbox::warmed).
    pub waiting: u64,
    /// The memory that these hold, in bytes, as their cgroups count it; 0 without cgroups.
    pub waiting_bytes: u64,
    /// So many programs found one.
    pub hits: u64,
    /// So many of a kind that is made ahead found none and were started cold.
    pub misses: u64,
    /// So many interpreters were booted ahead.
    pub boots: u64,
    /// So many of these failed: that kind of program goes the cold way after a few.
    pub failures: u64,
    /// So many times an interpreter that is forked was replaced because it had died, which its programs didn't notice.
    pub restarts: u64,
}

/// The languages that are started warm unless the host says otherwise.
const BY_ITSELF: [&str; 8] = ["python", "javascript", "typescript", "java", "ruby", "php", "perl", "bash"];

/// How many kinds of program a helper makes sandboxes for, and how many it remembers to have seen.
const KINDS: usize = 16;
const SEEN: usize = 64;

/// What an interpreter may hold while it boots.
const BOOT_MEMORY: u64 = 1 << 30;

/// A program that may open fewer is started cold.
const OPEN_FILES: u32 = 32;

/// How a language's programs are started, by what the host said.
pub(crate) fn way_of(ways: &HashMap<String, Warm>, language: &str) -> Warm {
    let by_itself = if BY_ITSELF.contains(&language) { Warm::SingleUse } else { Warm::Off };
    ways.get(language).copied().unwrap_or(by_itself)
}

/// The kinds of program that a helper was told of. One that comes once only isn't worth it.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    /// What the last programs were like, the latest last; with a number where the helper knows it.
    seen: Vec<(Vec<u8>, Option<u64>)>,
    told: u64,
}

/// How often a program's kind was seen.
pub(crate) enum Seen {
    Rarely,
    /// It's known by this number.
    Known(u64),
    /// For the second time: the helper has to be told of it.
    Again(Kind, Booted),
}

impl Kinds {
    /// Takes notice of a program.
    pub(crate) fn see(&mut self, way: Warm, limits: &[Limits], commands: &[Command]) -> Seen {
        let Some((booted, limits)) = booted(way, limits, commands) else {
            return Seen::Rarely;
        };
        let mut kind = Kind { id: 0, forgets: None, forks: way == Warm::Fork, steps: limits };
        let like = [kind.encode(), booted.encode()].concat();
        let Some(index) = self.seen.iter().position(|(seen, _)| *seen == like) else {
            if self.seen.len() >= SEEN
                && let Some(oldest) = self.seen.iter().position(|(_, id)| id.is_none())
            {
                self.seen.remove(oldest);
            }
            self.seen.push((like, None));
            return Seen::Rarely;
        };
        let (like, known) = self.seen.remove(index);
        let id = known.unwrap_or(self.told);
        if known.is_none() {
            self.told += 1;
            if self.seen.iter().filter(|(_, id)| id.is_some()).count() >= KINDS
                && let Some(oldest) = self.seen.iter_mut().find(|(_, id)| id.is_some())
            {
                kind.forgets = oldest.1.take();
            }
        }
        self.seen.push((like, Some(id)));
        if known.is_some() { Seen::Known(id) } else { Seen::Again(Kind { id, ..kind }, booted) }
    }
}

/// What can boot before there is a program, and the limits that have to be the same.
fn booted(way: Warm, limits: &[Limits], commands: &[Command]) -> Option<(Booted, Vec<Limits>)> {
    let (program, compilers) = commands.split_last()?;
    // What is in the work directory isn't there yet. And who waits is given three descriptors more before it closes them.
    let has_few = limits.iter().any(|limits| limits.open_files < OPEN_FILES);
    if way == Warm::Off || has_few || !program.path.starts_with(b"/") {
        return None;
    }
    let mut steps: Vec<_> = compilers.iter().map(|_| None).collect();
    steps.push(Some(program.clone()));
    let names_a_file = |argument: &&Vec<u8>| {
        !argument.starts_with(b"-") && argument.contains(&b'.') && !argument.contains(&b'/')
    };
    let files = program.argv.iter().skip(1).filter(names_a_file);
    let files = files.filter_map(|name| String::from_utf8(name.clone()).ok());
    let files = files.map(|name| (name, Vec::new())).collect();
    // The others are put in force when there is a program.
    let fixed = limits.iter().map(|limits| Limits {
        wall_ns: 0,
        cpu_ns: 0,
        memory_bytes: BOOT_MEMORY,
        cpu_millis: 1000,
        ..*limits
    });
    Some((Booted { steps, files }, fixed.collect()))
}

impl From<Counters> for WarmStats {
    fn from(counters: Counters) -> Self {
        let Counters { waiting, waiting_bytes, hits, misses, boots, failures, restarts } = counters;
        Self { waiting, waiting_bytes, hits, misses, boots, failures, restarts }
    }
}

impl std::ops::Add for WarmStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            waiting_bytes: self.waiting_bytes + other.waiting_bytes,
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            boots: self.boots + other.boots,
            failures: self.failures + other.failures,
            restarts: self.restarts + other.restarts,
        }
    }
}
