//! What all parts of one run share: its chance, its faults and its trace. All of it follows from the seed.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use livecode_core::{Clock, ExecutionId, Timestamp};
use tokio::time::Instant;

use crate::history::History;

/// How often something goes wrong, in thousandths of the calls that it can happen to.
///
/// Each seed has some kinds of fault and not others: all at once would hide what few of them do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// A call fails without effect.
    pub(crate) before: u32,
    /// A call takes effect and fails all the same.
    pub(crate) after: u32,
    /// A call fails without effect, and not as if it were for now.
    pub(crate) broken: u32,
    /// A call takes up to two leases.
    pub(crate) slow: u32,
    /// A call goes on where whoever asked is gone.
    pub(crate) detached: u32,
    /// A stream of events or of input breaks.
    pub(crate) cut: u32,
    /// A push says that all is well and is lost.
    pub(crate) lost: u32,
    /// A job is given to two workers.
    pub(crate) twice: u32,
    /// A lease is over early.
    pub(crate) early: u32,
    /// The sandbox fails.
    pub(crate) sick: u32,
    /// A worker dies within its next calls, or in a while.
    pub(crate) deaths: bool,
    /// A worker that is frozen, and one that takes itself for alive.
    pub(crate) zombies: bool,
    /// Clocks jump.
    pub(crate) jumps: bool,
    /// The queue loses its memory.
    pub(crate) forgets: bool,
}

impl Faults {
    fn of(chance: &mut fastrand::Rng) -> Self {
        // In every eighth nothing goes wrong: there every attempt has to be the only one.
        if chance.u32(0..8) == 0 {
            return Self::default();
        }
        let mut rate = |most: u32| if chance.bool() { chance.u32(1..=most) } else { 0 };
        let rates = [rate(60), rate(60), rate(15), rate(60), rate(300), rate(150), rate(200), rate(150)];
        let [before, after, broken, slow, detached, cut, lost, twice] = rates;
        let (early, sick) = (rate(150), rate(200));
        let [deaths, zombies, jumps, forgets] = [(); 4].map(|()| chance.bool());
        Self {
            before,
            after,
            broken,
            slow,
            detached,
            cut,
            lost,
            twice,
            early,
            sick,
            deaths,
            zombies,
            jumps,
            forgets,
        }
    }
}

impl Faults {
    /// Whether nothing goes wrong.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// One line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    at_micros: u128,
    who: usize,
    what: &'static str,
    how: &'static str,
    /// The number of an execution, in the order of their acceptance.
    about: Option<usize>,
    detail: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_micros, who, what, how, about, detail } = self;
        let seconds = *at_micros as f64 / 1e6;
        write!(f, "{seconds:>11.6} process {who:<3} {what:<14} {how:<12}")?;
        if let Some(about) = about {
            write!(f, " #{about}")?;
        }
        if *detail > 0 { write!(f, " ({detail})") } else { Ok(()) }
    }
}

pub(crate) struct Sim {
    pub(crate) faults: Faults,
    pub(crate) history: Mutex<History>,
    chance: Mutex<fastrand::Rng>,
    began: Instant,
    storms: AtomicBool,
    steps: Mutex<Vec<Step>>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        // That of the library: pauses before another try, and between sweeps.
        fastrand::seed(seed);
        let mut chance = fastrand::Rng::with_seed(seed);
        Self {
            faults: Faults::of(&mut chance),
            history: Mutex::default(),
            chance: Mutex::new(chance),
            began: Instant::now(),
            storms: AtomicBool::new(true),
            steps: Mutex::default(),
        }
    }

    pub(crate) fn chance<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.chance.lock().unwrap())
    }

    /// Up to so many milliseconds.
    pub(crate) fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(self.chance(|chance| chance.u64(0..=most)))
    }

    /// Whether something happens that does so often, in thousandths; nothing does once the storm is over.
    pub(crate) fn happens(&self, rate: u32) -> bool {
        rate > 0 && self.storms() && self.chance(|chance| chance.u32(0..1_000)) < rate
    }

    pub(crate) fn storms(&self) -> bool {
        self.storms.load(Ordering::Relaxed)
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm(&self) {
        self.storms.store(false, Ordering::Relaxed);
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Adds a line to the trace.
    pub(crate) fn tell(
        &self,
        who: usize,
        what: &'static str,
        how: &'static str,
        about: Option<ExecutionId>,
        detail: u64,
    ) {
        let about = about.and_then(|id| self.history().number(id));
        let at_micros = self.elapsed().as_micros();
        self.steps.lock().unwrap().push(Step { at_micros, who, what, how, about, detail });
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }
}

/// The clock of one process: it goes as tokio's does, and may be wrong.
#[derive(Debug)]
pub(crate) struct SimClock {
    began: Instant,
    wrong_by_millis: AtomicI64,
}

impl SimClock {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self { began: sim.began, wrong_by_millis: AtomicI64::new(0) }
    }

    pub(crate) fn set_wrong_by(&self, millis: i64) {
        self.wrong_by_millis.store(millis, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap();
        let wrong_by = self.wrong_by_millis.load(Ordering::Relaxed);
        Timestamp::from_millis(1_769_000_000_000 + elapsed + wrong_by).unwrap()
    }
}
