//! What goes wrong.

use std::{collections::BTreeMap, fmt, time::Duration};

use rustix::process::Signal;

use crate::{place::Place, proxy::Weather};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// `kill -9` of a process of ours: not of the first of its role, whose memory is watched.
    Kill(usize),
    /// It's stopped for longer than its lease, as a machine is that hangs, and goes on as if nothing had been.
    Freeze(usize),
    /// It can open no file and no connection.
    NoFiles(usize),
    /// It has what memory it has; who asks for more in vain is killed.
    NoMemory(usize),
    /// It can start no process and no thread.
    NoProcesses(usize),
    FullDisk,
    KillPostgres,
    KillRedis,
    Network(usize, Weather),
}

impl Fault {
    /// How long it lasts at least.
    pub(crate) fn least_ms(self) -> u64 {
        // Longer than the lease: others take what is frozen for dead.
        if matches!(self, Self::Freeze(_)) { 1_300 } else { 200 }
    }
}

/// As they're counted.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill(_) => "kill",
            Self::Freeze(_) => "freeze",
            Self::NoFiles(_) => "no files",
            Self::NoMemory(_) => "no memory",
            Self::NoProcesses(_) => "no processes",
            Self::FullDisk => "full disk",
            Self::KillPostgres => "kill PostgreSQL",
            Self::KillRedis => "kill Redis",
            Self::Network(_, Weather::Clear) => "clear",
            Self::Network(_, Weather::Stalled) => "stalled",
            Self::Network(_, Weather::Late(_)) => "late",
            Self::Network(_, Weather::HalfClosed { .. }) => "half-closed",
            Self::Network(_, Weather::Swallowed { .. }) => "swallowed",
            Self::Network(_, Weather::Cut) => "cut",
        })
    }
}

pub(crate) struct Faults {
    /// Each kind with its places: kinds are equally likely.
    kinds: Vec<Vec<Fault>>,
    /// Kinds to come, so that even a short time sees most.
    next: Vec<usize>,
    counted: BTreeMap<String, usize>,
}

impl Faults {
    /// All that there can be.
    pub(crate) fn of(place: &Place) -> Self {
        let nodes: Vec<usize> = (0..place.nodes.len()).collect();
        let is_first = |node: &usize| {
            let role = place.nodes[*node].role;
            place.nodes[..*node].iter().all(|before| before.role != role)
        };
        let others: Vec<usize> = nodes.iter().copied().filter(|node| !is_first(node)).collect();
        let can = |node: &usize| place.nodes[*node].can_be_limited();
        let limited = |nodes: &[usize], fault: fn(usize) -> Fault| {
            nodes.iter().copied().filter(can).map(fault).collect::<Vec<_>>()
        };
        let networks = |weather: Weather| {
            (0..place.networks.len()).map(|network| Fault::Network(network, weather)).collect::<Vec<_>>()
        };
        let either =
            |weather: fn(bool) -> Weather| [networks(weather(false)), networks(weather(true))].concat();
        let mut kinds = vec![
            others.iter().copied().map(Fault::Kill).collect(),
            nodes.iter().copied().map(Fault::Freeze).collect(),
            nodes.iter().copied().map(Fault::NoFiles).collect(),
            limited(&others, Fault::NoMemory),
            limited(&nodes, Fault::NoProcesses),
            // Memory has no disk.
            (place.disk.can_get_full && nodes.len() > 1).then_some(Fault::FullDisk).into_iter().collect(),
            place.postgres.is_some().then_some(Fault::KillPostgres).into_iter().collect(),
            place.redis.is_some().then_some(Fault::KillRedis).into_iter().collect(),
            networks(Weather::Stalled),
            networks(Weather::Late(Duration::from_millis(50))),
            networks(Weather::Cut),
            either(|answers| Weather::HalfClosed { answers }),
            either(|answers| Weather::Swallowed { answers }),
        ];
        kinds.retain(|kind| !kind.is_empty());
        Self { kinds, next: Vec::new(), counted: BTreeMap::new() }
    }

    pub(crate) fn counted(&self) -> BTreeMap<String, usize> {
        self.counted.clone()
    }

    pub(crate) fn inject(&mut self, place: &mut Place, random: &mut fastrand::Rng) -> Fault {
        if self.next.is_empty() {
            self.next = (0..self.kinds.len()).collect();
            random.shuffle(&mut self.next);
        }
        let kind = &self.kinds[self.next.pop().unwrap_or_default()];
        let fault = kind[random.usize(..kind.len())];
        *self.counted.entry(fault.to_string()).or_default() += 1;
        match fault {
            Fault::Kill(node) => place.nodes[node].kill(),
            Fault::Freeze(node) => place.nodes[node].signal(Signal::STOP),
            Fault::NoFiles(node) => place.nodes[node].without_files(true),
            Fault::NoMemory(node) => place.nodes[node].without_memory(true),
            Fault::NoProcesses(node) => place.nodes[node].without_processes(true),
            Fault::FullDisk => place.disk.fill(),
            Fault::KillPostgres => place.postgres.iter().for_each(|server| server.kill()),
            Fault::KillRedis => place.redis.iter().for_each(|server| server.kill()),
            Fault::Network(network, weather) => place.weather(network, weather),
        }
        fault
    }

    pub(crate) fn heal(&mut self, place: &mut Place, fault: Fault) {
        match fault {
            // Whoever keeps it alive has started it again.
            Fault::Kill(_) => {}
            Fault::Freeze(node) => place.nodes[node].signal(Signal::CONT),
            Fault::NoFiles(node) => place.nodes[node].without_files(false),
            Fault::NoMemory(node) => place.nodes[node].without_memory(false),
            Fault::NoProcesses(node) => place.nodes[node].without_processes(false),
            Fault::FullDisk => place.disk.free(),
            Fault::KillPostgres | Fault::KillRedis => {}
            Fault::Network(network, _) => place.weather(network, Weather::Clear),
        }
        place.revive_services();
    }
}
