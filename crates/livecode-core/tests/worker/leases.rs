//! Workers that are lost, or that only seem to be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::pending};
use livecode_core::{Clock, ErrorType, EventKind, Job, Owner, Queue, State};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    backends::{Fate, FatedQueue, FatedStore},
    stage::{Stage, exit},
    world::World,
};

/// The first run goes on until it's cancelled, the others print and exit.
fn first_hangs() -> Arc<Stage> {
    Arc::new(Stage::new(|scene| async move {
        if scene.nth == 1 {
            scene.print("void\n").await;
            return scene.last().await;
        }
        scene.print("valid\n").await;
        exit(0)
    }))
}

#[tokio::test(start_paused = true)]
async fn a_long_program_runs_once_because_its_lease_is_extended() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        // Longer than many leases; within the limits of a run that the runner would enforce.
        tokio::time::sleep(Duration::from_secs(39)).await;
        exit(0)
    }));
    let lease = Duration::from_secs(2);
    let workers = [(); 3].map(|()| world.start(&world.worker(&stage).lease(lease)));
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 1));
    assert_eq!(stage.count(), 1);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_worker_was_running_is_finished_by_another() {
    let world = World::new();
    let stage = first_hangs();
    let lost = world.work(&stage);
    let id = world.queue("1").await;
    world.events_until(id, |event| matches!(event.kind, EventKind::Output { .. })).await;
    lost.kill().await;
    assert_eq!(stage.alive(), 0, "its programs go with it");
    let worker = world.work(&stage);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 1));
    assert_eq!(end.failure.as_deref(), Some("the worker of attempt 1 was lost"));
    assert_eq!(world.stdout(id).await, "valid\n");
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_loses_every_worker_fails_when_no_attempt_is_left() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| scene.last()));
    let id = world.queue("1").await;
    for attempt in 1..=3 {
        let lost = world.work(&stage);
        world.reaches(id, State::Running, attempt).await;
        stage.begun(attempt as usize).await;
        lost.kill().await;
    }
    let worker = world.work(&stage);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Failed, 3, 3));
    assert_eq!(end.error_type(), Some(ErrorType::InternalError));
    assert_eq!(stage.count(), 3);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_the_program_and_voids_what_it_wrote() {
    let world = World::new();
    let stage = first_hangs();
    // Nothing can be claimed by anybody else: the worker notices by itself.
    let worker = world.start(&world.worker(&stage).concurrency(1));
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.queue.forget();
    timeout(Duration::from_secs(6), stage.empty()).await.unwrap();
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 2));
    assert_eq!(world.stdout(id).await, "valid\n");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_by_itself_as_its_lease_is_lost_has_ended() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print("all of it\n").await;
        scene.last().await?;
        exit(7)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.queue.forget();
    let end = world.end(id).await;
    assert_eq!((end.attempt, end.outcome.unwrap().termination.exit_code()), (1, Some(7)));
    assert_eq!(world.stdout(id).await, "all of it\n");
    worker.stop().await;
    assert_eq!(stage.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_program_waits_for_the_store_longer_than_a_lease() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(7) }));
    let updates = AtomicUsize::new(0);
    let away_until = world.now().saturating_add(Duration::from_secs(20));
    let clock = world.clock();
    world.store.plan(move |method| {
        let start = method != "update" || updates.fetch_add(1, Ordering::SeqCst) == 0;
        if start || clock.now() > away_until { Fate::Works } else { Fate::FailsBefore }
    });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.queue.forget();
    let end = world.end(id).await;
    assert_eq!((end.attempt, end.outcome.unwrap().termination.exit_code()), (1, Some(7)));
    assert_eq!(stage.count(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_breaks_once_voids_no_result() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(7) }));
    let updates = AtomicUsize::new(0);
    world.store.plan(move |method| {
        let finish = method == "update" && updates.fetch_add(1, Ordering::SeqCst) == 1;
        if finish { Fate::Breaks } else { Fate::Works }
    });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.attempt, end.outcome.unwrap().termination.exit_code()), (1, Some(7)));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_another_made_at_the_same_moment_is_not_taken_for_ones_own() {
    let world = World::new();
    let stage =
        Arc::new(Stage::new(
            |scene| async move { if scene.nth == 1 { scene.last().await } else { exit(0) } },
        ));
    // It reads the record, and is slow to write.
    let (reached, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let slow_store = FatedStore::over(world.store.clone());
    {
        let (reached, gate) = (reached.clone(), gate.clone());
        slow_store.slow_plan(move |method| {
            let (reached, gate) = (reached.clone(), gate.clone());
            async move {
                if method == "update" {
                    reached.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                    gate.add_permits(1);
                }
                Fate::Works
            }
            .boxed()
        });
    }
    let slow = world.start(&world.worker_on(slow_store, world.queue.clone(), &stage));
    let id = world.queue("1").await;
    reached.acquire().await.unwrap().forget();
    let other_queue = FatedQueue::new();
    let job = Job { id, attempt: 1, owner: Owner::anonymous(), delay: Duration::ZERO, priority: 0 };
    other_queue.push(&[job]).await.unwrap();
    let other = world.start(&world.worker_on(world.store.clone(), other_queue, &stage));
    stage.begun(1).await;
    gate.add_permits(1);
    // Two leases at a time: whoever comes second takes the first for lost, and begins anew.
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 1));
    slow.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_replaced_in_the_queue_is_stopped() {
    let world = World::new();
    let stage = first_hangs();
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.push(id, 2).await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 2));
    assert_eq!(world.stdout(id).await, "valid\n");
    worker.stop().await;
    assert_eq!((stage.alive(), world.queue_length().await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn programs_are_stopped_when_the_queue_is_away_for_longer_than_a_lease() {
    for hangs in [false, true] {
        let world = World::new();
        let stage = first_hangs();
        let worker = world.work(&stage);
        let id = world.queue("1").await;
        stage.begun(1).await;
        world.queue.slow_plan(
            move |_| {
                if hangs { pending().boxed() } else { async { Fate::FailsBefore }.boxed() }
            },
        );
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(stage.alive(), 1, "a short outage is lived through");
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(stage.alive(), 0);
        world.queue.plan(|_| Fate::Works);
        // A call that hangs for ever isn't the worker's to mend: another one does it.
        let other = world.work(&stage);
        assert_eq!(world.end(id).await.state, State::Completed);
        assert_eq!(world.stdout(id).await, "valid\n");
        other.stop().await;
        drop(worker);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_queue_disturbs_nothing() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        tokio::time::sleep(Duration::from_secs(35)).await;
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    tokio::time::sleep(Duration::from_secs(21)).await;
    world.queue.plan(|_| Fate::FailsBefore);
    tokio::time::sleep(Duration::from_secs(8)).await;
    world.queue.plan(|_| Fate::Works);
    assert_eq!(world.end(id).await.attempt, 1);
    worker.stop().await;
}

/// A worker that takes itself for alive: its heartbeat reaches nobody and tells it that all is well; and where it's blind,
/// it can't see the record move on either.
fn deluded(world: &World, stage: &Arc<Stage>, blind: bool) -> livecode_core::Worker {
    let queue = FatedQueue::over(world.queue.clone());
    queue.plan(|method| match method {
        "extend" => Fate::Pretends,
        _ => Fate::Works,
    });
    let store = FatedStore::over(world.store.clone());
    store.slow_plan(move |method| {
        if blind && method == "events" { pending().boxed() } else { async { Fate::Works }.boxed() }
    });
    world.worker_on(store, queue, stage).concurrency(1)
}

#[tokio::test(start_paused = true)]
async fn a_zombie_can_end_nothing_and_write_nothing() {
    for late in ["writes late", "ends late"] {
        let world = World::new();
        let gate = Arc::new(Semaphore::new(0));
        let dead = {
            let gate = gate.clone();
            Arc::new(Stage::new(move |scene| {
                let gate = gate.clone();
                async move {
                    scene.print("void\n").await;
                    gate.acquire().await.unwrap().forget();
                    if late == "writes late" {
                        scene.print("late\n").await;
                        return scene.last().await;
                    }
                    exit(0)
                }
            }))
        };
        let living_gate = Arc::new(Semaphore::new(0));
        let living = {
            let gate = living_gate.clone();
            Arc::new(Stage::new(move |scene| {
                let gate = gate.clone();
                async move {
                    scene.print("valid\n").await;
                    gate.acquire().await.unwrap().forget();
                    exit(5)
                }
            }))
        };
        let zombie = world.start(&deluded(&world, &dead, true));
        let id = world.queue("1").await;
        dead.begun(1).await;
        let worker = world.work(&living);
        living.begun(1).await;
        // It wakes while the other one runs.
        gate.add_permits(1);
        timeout(Duration::from_secs(1), dead.empty()).await.unwrap();
        zombie.stop().await;
        let running = world.engine.execution(id).await.unwrap();
        assert_eq!((running.state, running.attempt, running.failures), (State::Running, 2, 1), "{late}");
        living_gate.add_permits(1);
        let end = world.end(id).await;
        assert_eq!(end.outcome.unwrap().termination.exit_code(), Some(5));
        assert_eq!(world.stdout(id).await, "valid\n");
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_sees_the_record_move_on_stops_its_program() {
    let world = World::new();
    let dead = Arc::new(Stage::new(|scene| scene.last()));
    let living = Arc::new(Stage::new(|_| async { exit(0) }));
    let zombie = world.start(&deluded(&world, &dead, false));
    let id = world.queue("1").await;
    dead.begun(1).await;
    let worker = world.work(&living);
    assert_eq!(world.end(id).await.state, State::Completed);
    // No time passes: nothing but the record can have told it.
    let now = world.now();
    dead.empty().await;
    assert_eq!(world.now(), now);
    drop(zombie);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_runs_beside_a_program_that_kills_its_worker_is_not_given_up_with_it() {
    let world = World::new();
    let deaths = Arc::new(Semaphore::new(0));
    let stage = {
        let deaths = deaths.clone();
        Arc::new(Stage::new(move |scene| {
            let deaths = deaths.clone();
            async move {
                // Both take so long that they meet whenever they may.
                tokio::time::sleep(Duration::from_secs(5)).await;
                if scene.source == "poison" {
                    deaths.add_permits(1);
                    return pending().await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                exit(0)
            }
        }))
    };
    let poison = world.queue("poison").await;
    let innocent = world.queue("innocent").await;
    for _ in 0..3 {
        let worker = world.work(&stage);
        deaths.acquire().await.unwrap().forget();
        worker.kill().await;
    }
    let worker = world.work(&stage);
    let end = world.end(poison).await;
    assert_eq!((end.state, end.error_type()), (State::Failed, Some(ErrorType::InternalError)));
    let end = world.end(innocent).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 3, 2));
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0);
}
