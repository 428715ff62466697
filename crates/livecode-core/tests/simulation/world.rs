//! One run: processes with workers that come and go, clients, a storm, and the calm after it in which all has to end.

use std::{sync::Arc, time::Duration};

use livecode_core::{
    Engine, Language, Languages, ListQuery, MemoryStore, PageStart, Queue, QueueStats, Runner, Store, Worker,
};
use tokio::{
    select, spawn,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clients,
    history::{Death, Rules},
    link::{Link, millis},
    queue::{FaultyQueue, Jobs},
    sandbox::Stage,
    sim::{Sim, SimClock, Step},
    store::FaultyStore,
};

pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// By then all has ended that could, whatever went wrong before.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) violations: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

/// What processes share.
#[derive(Clone)]
struct World {
    sim: Arc<Sim>,
    store: Arc<MemoryStore>,
    jobs: Arc<Jobs>,
    store_is_queue: bool,
    languages: Languages,
    max_attempts: u32,
    /// Nobody starts workers any more.
    over: CancellationToken,
}

/// A worker's process.
struct Process {
    link: Arc<Link>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Plays one seed from beginning to end in a runtime whose time is paused.
pub(crate) async fn play(seed: u64) -> Report {
    let sim = Arc::new(Sim::new(seed));
    let (workers, runners, max_attempts) =
        sim.chance(|chance| (chance.usize(1..4), chance.usize(3..12), chance.u32(1..5)));
    let world = World {
        store: Arc::default(),
        jobs: Arc::default(),
        store_is_queue: sim.chance(fastrand::Rng::bool),
        max_attempts,
        languages: python(),
        over: CancellationToken::new(),
        sim: sim.clone(),
    };
    let clocks: Vec<_> = (0..=workers).map(|_| Arc::new(SimClock::new(&sim))).collect();
    let keepers: Vec<_> = clocks[1..].iter().map(|clock| spawn(world.clone().keep(clock.clone()))).collect();
    let weather = spawn(world.clone().weather(clocks.clone()));
    let clients = spawn(world.clone().clients(clocks[0].clone(), runners));
    weather.await.unwrap();
    let mut violations = Vec::new();
    if timeout(PATIENCE, world.all_end(clients)).await.is_err() {
        violations.push("somebody starves: not all has ended".to_owned());
    }
    world.over.cancel();
    for keeper in keepers {
        keeper.await.unwrap();
    }
    let playing = sim.history().playing();
    if playing > 0 {
        violations.push(format!("{playing} programs are left when all workers have ended"));
    }
    let rules = Rules { max_attempts, nothing_goes_wrong: sim.faults.is_none() };
    let history = std::mem::take(&mut *sim.history());
    violations.extend(history.check(&*world.store, rules).await);
    Report { violations, steps: sim.steps() }
}

/// One language alone, which costs less to hand on than twelve.
fn python() -> Languages {
    let mut languages = Languages::none();
    languages.add(Language::new("python", "main.py", ["python3", "main.py"])).unwrap();
    languages
}

impl World {
    fn backends(&self, link: &Arc<Link>) -> (Arc<dyn Store>, Arc<dyn Queue>) {
        let queue = self.store_is_queue.then(|| self.jobs.clone());
        let store = FaultyStore { link: link.clone(), inner: self.store.clone(), queue };
        (Arc::new(store), Arc::new(FaultyQueue { link: link.clone(), jobs: self.jobs.clone() }))
    }

    fn start(&self, clock: &Arc<SimClock>) -> Process {
        let dies = self.sim.faults.deaths && self.sim.storms() && self.sim.chance(fastrand::Rng::bool);
        let link = Link::new(&self.sim, dies.then(|| self.sim.chance(|chance| chance.u32(0..80))));
        let (store, queue) = self.backends(&link);
        let worker =
            Worker::new(store, queue, Runner::new(Stage(link.clone())).languages(self.languages.clone()))
                .clock(clock.clone())
                .concurrency(self.sim.chance(|chance| chance.usize(1..4)))
                .max_attempts(self.max_attempts)
                .lease(LEASE)
                .grace(Duration::from_millis(1_500))
                .sweep(Duration::from_secs(1), Duration::from_secs(2));
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        self.sim.tell(link.who, "starts", "", None, 0);
        Process { link, shutdown, task: spawn(async move { worker.run(token).await }) }
    }

    /// Keeps a worker at work: where it dies or is stopped, another one in a while.
    async fn keep(self, clock: Arc<SimClock>) {
        while !self.over.is_cancelled() {
            let process = self.start(&clock);
            let life = async {
                loop {
                    sleep(self.sim.millis(20_000)).await;
                    if self.sim.storms() {
                        return;
                    }
                }
            };
            let zombies = async {
                loop {
                    sleep(self.sim.millis(12_000)).await;
                    if self.sim.storms() && self.sim.faults.zombies {
                        let pause = self.sim.millis(millis(LEASE) * 3);
                        if self.sim.chance(fastrand::Rng::bool) {
                            process.link.freeze(pause);
                        } else {
                            process.link.delude(pause);
                        }
                    }
                }
            };
            let stops = select! {
                biased;
                () = process.link.died.cancelled() => false,
                () = life => !(self.sim.faults.deaths && self.sim.chance(fastrand::Rng::bool)),
                () = self.over.cancelled() => true,
                () = zombies => false,
            };
            let Process { link, shutdown, task } = process;
            let kill = task.abort_handle();
            if stops {
                self.sim.tell(link.who, "is stopped", "", None, 0);
                shutdown.cancel();
                // It may be frozen, or die of it.
                select! {
                    biased;
                    done = task => done.unwrap(),
                    () = link.died.cancelled() => kill.abort(),
                }
            } else {
                link.die(Death::ByChance);
                kill.abort();
                task.await.ok();
                sleep(self.sim.millis(3_000)).await;
            }
        }
    }

    /// What happens by itself, until the storm is over.
    async fn weather(self, clocks: Vec<Arc<SimClock>>) {
        let lasts = self.sim.millis(20_000);
        while self.sim.elapsed() < lasts {
            sleep(self.sim.millis(3_000)).await;
            if self.sim.faults.jumps {
                let millis = self.sim.chance(|chance| chance.i64(-60_000..60_000));
                self.sim.chance(|chance| chance.choice(&clocks).unwrap().set_wrong_by(millis));
                self.sim.tell(0, "a clock jumps", "", None, millis.unsigned_abs());
            }
            if self.sim.faults.forgets && self.sim.chance(fastrand::Rng::bool) {
                self.jobs.forget();
                self.sim.tell(0, "queue", "forgets", None, 0);
            }
        }
        clocks.iter().for_each(|clock| clock.set_wrong_by(0));
        self.sim.calm();
        self.sim.tell(0, "it is calm", "", None, 0);
    }

    async fn clients(self, clock: Arc<SimClock>, runners: usize) {
        let link = Link::new(&self.sim, None);
        let (store, queue) = self.backends(&link);
        let engine = Engine::new(store, queue).clock(clock).languages(self.languages.clone());
        let session = clients::editor(self.sim.clone(), engine.clone()).await;
        let runners: Vec<_> = (0..runners)
            .map(|nth| {
                let (in_session, has_key) = self.sim.chance(|chance| (chance.u32(0..4) == 0, chance.bool()));
                let session = in_session.then_some(session);
                let key = has_key.then(|| format!("key {nth}"));
                spawn(clients::runner(self.sim.clone(), engine.clone(), session, key))
            })
            .collect();
        for runner in runners {
            runner.await.unwrap();
        }
    }

    /// Until the clients have what they wanted, nothing in the store is open, and nothing is in the queue.
    async fn all_end(&self, clients: JoinHandle<()>) {
        clients.await.unwrap();
        let open = ListQuery {
            open_since_before: Some(
                livecode_core::Timestamp::from_millis(i64::from(u32::MAX) * 1_000).unwrap(),
            ),
            page: PageStart::After(None),
            limit: 1,
            ..ListQuery::default()
        };
        while !self.store.list(&open).await.unwrap().is_empty()
            || self.jobs.inner().stats().await.unwrap() != QueueStats::default()
        {
            sleep(Duration::from_secs(1)).await;
        }
    }
}
