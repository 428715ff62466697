//! Containers that were started ahead.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use livecode_core::Result;
use tokio::time::{Instant, sleep};

use crate::container::{CgroupLimits, Common, Container, ContainerKind};

/// A runner that waits for longer gives up; before that another one is made in its place.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

/// A short program is over by then, and isn't slowed down by what is made for the next one.
const SHORT: Duration = Duration::from_millis(50);

/// Where none can be started, nobody tries again for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// What became of the containers that were started ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Containers that wait for a program.
    pub waiting: u64,
    /// Runs that found one, and those among them for which its limits were changed.
    pub hits: u64,
    /// See [`PoolStats::hits`].
    pub adjusted: u64,
    /// Runs that found none.
    pub misses: u64,
    /// Containers that could not be started ahead, or ended before they were used.
    pub failures: u64,
}

#[derive(Debug)]
pub(crate) struct Pool {
    common: Arc<Common>,
    /// How many wait for each kind, and of how many kinds.
    each: usize,
    kinds: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was wanted last is first.
    shelves: VecDeque<Shelf>,
    stats: PoolStats,
    paused_until: Option<Instant>,
    is_closed: bool,
}

#[derive(Debug)]
struct Shelf {
    kind: ContainerKind,
    waiting: VecDeque<Container>,
    booting: usize,
}

impl Pool {
    pub(crate) fn new(common: Arc<Common>, each: usize, kinds: usize) -> Self {
        Self { common, each, kinds, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let state = self.state();
        let waiting = state.shelves.iter().map(|shelf| shelf.waiting.len() as u64).sum();
        PoolStats { waiting, ..state.stats }
    }

    /// One for that kind of program, with its limits in force: one that waits, or a new one.
    pub(crate) async fn take(self: &Arc<Self>, kind: &ContainerKind) -> Result<Container> {
        while let Some(mut container) = self.waiting(kind) {
            let other = container.has_other_limits(kind.limits);
            // One that can't be changed is as good as none.
            if matches!(container.limit(kind.limits).await, Ok(true)) {
                let mut state = self.state();
                state.stats.hits += 1;
                state.stats.adjusted += u64::from(other);
                drop(state);
                self.refill();
                return Ok(container);
            }
            self.state().stats.failures += 1;
        }
        self.state().stats.misses += 1;
        let container = Container::start(&self.common, kind).await?;
        self.refill();
        Ok(container)
    }

    /// Takes one that is alive, of that kind or of one that differs in what can be changed. The kind is remembered.
    fn waiting(&self, kind: &ContainerKind) -> Option<Container> {
        let mut state = self.state();
        state.want(kind, self.kinds);
        let fits = |shelf: &Shelf, limits: CgroupLimits| {
            shelf.kind.image == kind.image && shelf.kind.files == kind.files && shelf.kind.limits == limits
        };
        let mut dead = 0;
        let same = state.shelves.iter_mut().filter(|shelf| fits(shelf, kind.limits));
        let mut found = same.flat_map(|shelf| shelf.alive(&mut dead)).next();
        if found.is_none() {
            let near = state.shelves.iter_mut().filter(|shelf| fits(shelf, shelf.kind.limits));
            found = near.flat_map(|shelf| shelf.alive(&mut dead)).next();
        }
        state.stats.failures += dead;
        found
    }

    /// Starts as many as are wanted and not there.
    fn refill(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            sleep(SHORT).await;
            let kind = pool.upgrade().and_then(|pool| pool.missing());
            if let Some(kind) = kind {
                fill(pool, kind).await;
            }
        });
    }

    /// A kind of which another one is to be started; it's counted as begun.
    fn missing(&self) -> Option<ContainerKind> {
        let mut state = self.state();
        if state.is_closed || state.paused_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let each = self.each;
        // The engine and its machine have runs to serve.
        let most = usize::try_from(self.common.processors / 2).unwrap_or(usize::MAX).max(1);
        if state.shelves.iter().map(|shelf| shelf.booting).sum::<usize>() >= most {
            return None;
        }
        let shelf = state.shelves.iter_mut().find(|shelf| shelf.waiting.len() + shelf.booting < each)?;
        shelf.booting += 1;
        Some(shelf.kind.clone())
    }

    fn booted(&self, kind: &ContainerKind, container: Result<Container>) {
        let mut state = self.state();
        let is_closed = state.is_closed;
        if let Some(shelf) = state.shelves.iter_mut().find(|shelf| shelf.kind == *kind) {
            // It may have been forgotten and wanted anew meanwhile.
            shelf.booting = shelf.booting.saturating_sub(1);
            if let Ok(container) = container
                && !is_closed
            {
                shelf.waiting.push_back(container);
                return;
            }
        } else if container.is_ok() {
            return;
        }
        state.stats.failures += 1;
        state.paused_until = Some(Instant::now() + PAUSE);
    }

    /// Throws away who has ended or waited for long, and starts others.
    pub(crate) fn check(self: &Arc<Self>) {
        let mut state = self.state();
        let mut dead = 0;
        for shelf in &mut state.shelves {
            let waiting = mem::take(&mut shelf.waiting);
            for mut container in waiting {
                if !container.is_alive() {
                    dead += 1;
                } else if container.since.elapsed() < LONGEST_WAIT {
                    shelf.waiting.push_back(container);
                }
            }
        }
        state.stats.failures += dead;
        drop(state);
        self.refill();
    }

    /// Gives back all that wait; none is started any more.
    pub(crate) fn close(&self) -> Vec<Container> {
        let mut state = self.state();
        state.is_closed = true;
        state.shelves.iter_mut().flat_map(|shelf| mem::take(&mut shelf.waiting)).collect()
    }
}

impl State {
    /// Remembers a kind as the one that was wanted last.
    fn want(&mut self, kind: &ContainerKind, most: usize) {
        let place = self.shelves.iter().position(|shelf| shelf.kind == *kind);
        let shelf = place.and_then(|place| self.shelves.remove(place));
        let new = || Shelf { kind: kind.clone(), waiting: VecDeque::new(), booting: 0 };
        self.shelves.push_front(shelf.unwrap_or_else(new));
        self.shelves.truncate(most);
    }
}

impl Shelf {
    /// One that is alive; counts those that aren't, which go.
    fn alive(&mut self, dead: &mut u64) -> Option<Container> {
        while let Some(mut container) = self.waiting.pop_front() {
            if container.is_alive() {
                return Some(container);
            }
            *dead += 1;
        }
        None
    }
}

async fn fill(pool: Weak<Pool>, mut kind: ContainerKind) {
    while let Some(common) = pool.upgrade().map(|pool| pool.common.clone()) {
        let container = Container::start(&common, &kind).await;
        if let Err(error) = &container {
            tracing::debug!(%error, "no container can be started ahead");
        }
        let Some(pool) = pool.upgrade() else { return };
        pool.booted(&kind, container);
        match pool.missing() {
            Some(next) => kind = next,
            None => return,
        }
    }
}
