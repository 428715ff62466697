//! Every call fails once, before or after its effect; then many do, while workers come and go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::ready};
use livecode_core::{Change, ExecutionId, State, Store};

use crate::{
    backends::{Fate, FatedQueue, FatedStore},
    stage::{Stage, exit},
    world::World,
};

/// Writes over a while, so that every kind of call is made.
fn talker() -> Arc<Stage> {
    Arc::new(Stage::new(|scene| async move {
        for line in 0..4 {
            scene.print(&format!("{line}\n")).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        scene.print("end\n").await;
        exit(0)
    }))
}

const SAID: &str = "0\n1\n2\n3\nend\n";

/// The calls that a worker makes for one execution are few enough to let each of them fail, and several in a row.
#[tokio::test(start_paused = true)]
async fn whichever_call_fails_before_or_after_its_effect_there_is_one_end() {
    for fate in [Fate::FailsBefore, Fate::FailsAfter] {
        for in_a_row in [1, 3] {
            let mut covered = false;
            for first in 0..100 {
                let world = World::new();
                let calls = Arc::new(AtomicUsize::new(0));
                let plan = {
                    let calls = calls.clone();
                    move |_: &'static str| {
                        let call = calls.fetch_add(1, Ordering::SeqCst);
                        if (first..first + in_a_row).contains(&call) { fate } else { Fate::Works }
                    }
                };
                let store = FatedStore::over(world.store.clone());
                let queue = FatedQueue::over(world.queue.clone());
                store.plan(plan.clone());
                queue.plan(plan);
                let stage = talker();
                let worker = world.start(&world.worker_on(store, queue, &stage));
                let id = world.queue("1").await;
                let end = world.end(id).await;
                let case = format!("{fate:?}, calls from {first} on, {in_a_row} of them");
                assert_eq!(end.state, State::Completed, "{case}");
                assert_eq!(end.failures, 0, "{case}: no worker was lost");
                assert_eq!(world.stdout(id).await, SAID, "{case}");
                worker.stop().await;
                covered = calls.load(Ordering::SeqCst) < first;
                if covered {
                    break;
                }
            }
            assert!(covered, "there are more calls than this test lets fail");
        }
    }
}

/// Another worker's start of the same attempt in the same moment looks like one's own that took effect and failed.
#[tokio::test(start_paused = true)]
async fn a_start_that_may_be_anothers_is_given_back() {
    let world = World::new();
    let id = world.queue("1").await;
    let (others, clock, first) = (world.store.clone(), world.clock(), AtomicBool::new(true));
    let store = FatedStore::over(world.store.clone());
    store.slow_plan(move |method| {
        if method != "update" || !first.swap(false, Ordering::SeqCst) {
            return ready(Fate::Works).boxed();
        }
        let (others, clock) = (others.clone(), clock.clone());
        async move {
            let mut execution = others.get(id).await.unwrap();
            execution.apply(Change::Start, clock.now()).unwrap();
            others.update(&execution, &[]).await.unwrap();
            Fate::FailsBefore
        }
        .boxed()
    });
    let stage = talker();
    let worker = world.start(&world.worker_on(store, FatedQueue::over(world.queue.clone()), &stage));
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 0));
    assert_eq!((world.stdout(id).await.as_str(), stage.count()), (SAID, 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn everything_ends_once_while_backends_fail_and_workers_come_and_go() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::new();
        let stage = talker();
        let calm = Arc::new(AtomicUsize::new(0));
        let worker = |random: &mut fastrand::Rng| {
            let plan = |mut random: fastrand::Rng| {
                let calm = calm.clone();
                let random = std::sync::Mutex::new(random.fork());
                move |method: &'static str| {
                    let die = random.lock().unwrap().u32(0..100);
                    match (calm.load(Ordering::SeqCst), method, die) {
                        (1.., _, _) => Fate::Works,
                        (0, _, 0..5) => Fate::FailsBefore,
                        (0, _, 5..10) => Fate::FailsAfter,
                        (0, "push" | "extend", 10..30) => Fate::Pretends,
                        (0, _, _) => Fate::Works,
                    }
                }
            };
            let store = FatedStore::over(world.store.clone());
            let queue = FatedQueue::over(world.queue.clone());
            store.plan(plan(random.fork()));
            queue.plan(plan(random.fork()));
            let worker = world.worker_on(store, queue, &stage).max_attempts(1_000);
            world.start(&worker.lease(Duration::from_secs(3)).grace(Duration::from_secs(2)))
        };
        let mut workers: Vec<_> = (0..3).map(|_| worker(&mut random)).collect();
        let mut ids: Vec<ExecutionId> = Vec::new();
        let mut cancelled = Vec::new();
        for nth in 0..30 {
            let id = world.queue(&format!("{nth}")).await;
            ids.push(id);
            tokio::time::sleep(Duration::from_millis(random.u64(0..3_000))).await;
            match random.u32(0..10) {
                0..2 => workers.swap_remove(random.usize(0..3)).kill().await,
                2..4 => workers.swap_remove(random.usize(0..3)).stop().await,
                4 => world.queue.forget(),
                5 => {
                    let id = ids[random.usize(0..ids.len())];
                    world.engine.cancel(id).await.unwrap();
                    cancelled.push(id);
                }
                _ => {}
            }
            if workers.len() < 3 {
                workers.push(worker(&mut random));
            }
        }
        calm.store(1, Ordering::SeqCst);
        for id in ids {
            let end = world.end(id).await;
            match end.state {
                State::Completed => assert_eq!(world.stdout(id).await, SAID, "seed {seed}"),
                State::Cancelled => assert!(cancelled.contains(&id), "seed {seed}"),
                State::Queued | State::Running | State::Failed | State::TimedOut => {
                    unreachable!("seed {seed}: {end:?}")
                }
            }
        }
        for worker in workers {
            worker.stop().await;
        }
        assert_eq!(stage.alive(), 0, "seed {seed}");
    }
}
