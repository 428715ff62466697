//! The way of one process to the store and the queue, and its life: what happens to each of its calls.

use std::{
    fmt,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use livecode_core::{Error, ExecutionId, Result};
use tokio::{
    select, spawn,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{history::Death, sim::Sim, world::LEASE};

pub(crate) struct Link {
    pub(crate) sim: Arc<Sim>,
    pub(crate) who: usize,
    /// Fires when the process has died.
    pub(crate) died: CancellationToken,
    life: Mutex<Life>,
}

struct Life {
    /// It dies with the call that there are so many before.
    calls_left: Option<u32>,
    frozen_until: Instant,
    deluded_until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    Before,
    After,
    Broken,
    DiesBefore,
    DiesAfter,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Works => "",
            Self::Before => "fails",
            Self::After => "fails after",
            Self::Broken => "is broken",
            Self::DiesBefore => "dies before",
            Self::DiesAfter => "dies after",
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Link {
    /// Of a new process, which dies after so many calls.
    pub(crate) fn new(sim: &Arc<Sim>, calls_left: Option<u32>) -> Arc<Self> {
        let who = sim.history().begin_process();
        let now = Instant::now();
        let life = Mutex::new(Life { calls_left, frozen_until: now, deluded_until: now });
        Arc::new(Self { sim: sim.clone(), who, died: CancellationToken::new(), life })
    }

    /// From this moment on nothing that it does has an effect.
    pub(crate) fn die(&self, death: Death) {
        if !self.died.is_cancelled() {
            let about = match death {
                Death::Poisoned(id) => Some(id),
                Death::ByChance => None,
            };
            self.sim.tell(self.who, "dies", "", about, 0);
            self.sim.history().die(self.who, death);
            self.died.cancel();
        }
    }

    /// For so long nothing that it does has an effect, and it hears nothing; then all of it has.
    pub(crate) fn freeze(&self, pause: Duration) {
        self.sim.tell(self.who, "is frozen", "", None, millis(pause));
        self.life.lock().unwrap().frozen_until = Instant::now() + pause;
    }

    /// For so long it takes its leases for extended, and doesn't see what becomes of records.
    pub(crate) fn delude(&self, pause: Duration) {
        self.sim.tell(self.who, "is deluded", "", None, millis(pause));
        self.life.lock().unwrap().deluded_until = Instant::now() + pause;
    }

    pub(crate) fn is_deluded(&self) -> bool {
        Instant::now() < self.life.lock().unwrap().deluded_until
    }

    async fn awake(&self) {
        loop {
            if self.died.is_cancelled() {
                pending::<()>().await;
            }
            let until = self.life.lock().unwrap().frozen_until;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    fn fate(&self) -> Fate {
        let faults = &self.sim.faults;
        if !self.sim.storms() {
            return Fate::Works;
        }
        let dies = match &mut self.life.lock().unwrap().calls_left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if dies {
            return if self.sim.chance(fastrand::Rng::bool) { Fate::DiesBefore } else { Fate::DiesAfter };
        }
        if self.sim.happens(faults.before) {
            Fate::Before
        } else if self.sim.happens(faults.after) {
            Fate::After
        } else if self.sim.happens(faults.broken) {
            Fate::Broken
        } else {
            Fate::Works
        }
    }

    /// Lets `apply` meet its fate.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        what: &'static str,
        about: Option<ExecutionId>,
        apply: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.awake().await;
        let sim = &self.sim;
        let fate = self.fate();
        let pause = if sim.happens(sim.faults.slow) {
            sim.millis(millis(LEASE) * 2)
        } else if sim.storms() && sim.chance(fastrand::Rng::bool) {
            sim.millis(5)
        } else {
            Duration::ZERO
        };
        sim.tell(self.who, what, fate.name(), about, millis(pause));
        match fate {
            Fate::Before => return Err(Error::unavailable(format!("{what} has no effect"))),
            Fate::Broken => return Err(Error::internal(format!("{what} is broken"))),
            Fate::DiesBefore => {
                self.die(Death::ByChance);
                pending::<()>().await;
            }
            Fate::Works | Fate::After | Fate::DiesAfter => {}
        }
        // On either side of its effect.
        let (before, after) =
            if sim.chance(fastrand::Rng::bool) { (pause, Duration::ZERO) } else { (Duration::ZERO, pause) };
        let applied = async move {
            if !before.is_zero() {
                sleep(before).await;
            }
            apply.await
        };
        let applied =
            if sim.happens(sim.faults.detached) { spawn(applied).await.unwrap() } else { applied.await };
        if !after.is_zero() {
            sleep(after).await;
        }
        if fate == Fate::DiesAfter {
            self.die(Death::ByChance);
        }
        self.awake().await;
        match fate {
            Fate::After => {
                applied?;
                Err(Error::unavailable(format!("{what} has its effect")))
            }
            Fate::Works | Fate::Before | Fate::Broken | Fate::DiesBefore | Fate::DiesAfter => applied,
        }
    }

    /// Lets a stream break at some moment.
    pub(crate) fn stream<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        about: ExecutionId,
        items: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let cut = self.sim.happens(self.sim.faults.cut);
        let cut = cut.then(|| Instant::now() + self.sim.millis(4_000));
        self.sim.tell(self.who, what, if cut.is_some() { "is cut" } else { "" }, Some(about), 0);
        let link = self.clone();
        stream::unfold(Some(items), move |items| {
            let link = link.clone();
            async move {
                let mut items = items?;
                let never = async {
                    match cut {
                        Some(cut) => sleep_until(cut).await,
                        None => pending().await,
                    }
                };
                let item = select! {
                    biased;
                    item = items.next() => item?,
                    () = never => return Some((Err(Error::unavailable(format!("{what} is cut"))), None)),
                };
                link.awake().await;
                let blind = link.life.lock().unwrap().deluded_until;
                sleep_until(blind).await;
                Some((item, Some(items)))
            }
        })
        .boxed()
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
