//! The store is the truth, the queue a hint.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use livecode_core::{Change, ExecutionSpec, Owner, RunOptions, State, Store};

use crate::{
    backends::Fate,
    stage::{Stage, exit},
    world::World,
};

fn short() -> Arc<Stage> {
    Arc::new(Stage::new(|_| async { exit(0) }))
}

#[tokio::test(start_paused = true)]
async fn an_execution_whose_push_was_lost_is_found() {
    for fate in [Fate::Pretends, Fate::FailsBefore] {
        let world = World::new();
        world.queue.plan(move |method| if method == "push" { fate } else { Fate::Works });
        let stage = short();
        let worker = world.work(&stage);
        let id = world.queue("1").await;
        world.queue.plan(|_| Fate::Works);
        let end = world.end(id).await;
        assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 1, 0));
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_whose_push_was_lost_is_found_and_not_started_early() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        if scene.nth == 1 {
            return Err(livecode_core::Error::unavailable("not yet"));
        }
        exit(0)
    }));
    let id = world.queue("1").await;
    world.queue.plan(|method| if method == "push" { Fate::Pretends } else { Fate::Works });
    let worker = world.work(&stage);
    world.reaches(id, State::Queued, 2).await;
    world.queue.plan(|_| Fate::Works);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 2));
    assert!(end.started_at >= Some(end.run_after));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_was_running_is_found_after_the_queue_lost_its_memory() {
    let world = World::new();
    let stage =
        Arc::new(Stage::new(
            |scene| async move { if scene.nth == 1 { scene.last().await } else { exit(0) } },
        ));
    let lost = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    lost.kill().await;
    world.queue.forget();
    let worker = world.work(&stage);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn everything_queued_survives_the_loss_of_the_queues_memory() {
    let world = World::new();
    let stage = short();
    let mut ids = Vec::new();
    for nth in 0..100 {
        ids.push(world.queue_after(&format!("{nth}"), Duration::from_secs(nth % 40)).await);
    }
    world.queue.forget();
    let worker = world.work(&stage);
    for id in ids {
        let end = world.end(id).await;
        assert_eq!((end.state, end.attempt), (State::Completed, 1));
        assert!(end.started_at >= Some(end.run_after), "not before its delay has passed");
    }
    assert_eq!(stage.count(), 100);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_longer_than_a_page_is_covered() {
    let world = World::new();
    world.queue.plan(|method| if method == "push" { Fate::Pretends } else { Fate::Works });
    let mut ids = Vec::new();
    for nth in 0..1_200 {
        // The oldest thousand are what is waiting for its time.
        let delay = if nth < 1_000 { 86_400 } else { 0 };
        ids.push(world.queue_after(&format!("{nth}"), Duration::from_secs(delay)).await);
    }
    world.queue.plan(|_| Fate::Works);
    let stage = short();
    let worker = world.work(&stage);
    for id in &ids[1_000..] {
        assert_eq!(world.end(*id).await.state, State::Completed);
    }
    assert_eq!(stage.count(), 200);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_is_covered_without_the_pauses_of_a_short_one() {
    let world = World::new();
    world.queue.plan(|method| if method == "push" { Fate::Pretends } else { Fate::Works });
    let mut ids = Vec::new();
    for nth in 0..3_500 {
        ids.push(world.queue(&format!("{nth}")).await);
    }
    world.queue.plan(|_| Fate::Works);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = world.now();
    let worker = world.start(&world.worker(&short()).sweep(Duration::from_secs(60), Duration::ZERO));
    for id in ids {
        assert_eq!(world.end(id).await.state, State::Completed);
    }
    // Less than one pause, where there were three.
    assert!(world.now().duration_since(before) < Duration::from_secs(45));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_runs_for_long_is_not_disturbed() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        tokio::time::sleep(Duration::from_secs(39)).await;
        exit(0)
    }));
    let sweeper =
        world.worker(&stage).lease(Duration::from_secs(1)).sweep(Duration::from_secs(1), Duration::ZERO);
    let workers = [(); 3].map(|()| world.start(&sweeper));
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, stage.count()), (State::Completed, 1, 1));
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_began_a_moment_ago_is_not_started_anew_because_the_queue_lost_its_memory() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        tokio::time::sleep(Duration::from_secs(19)).await;
        exit(0)
    }));
    let workers = [(); 2].map(|()| {
        let sweeper = world
            .worker(&stage)
            .lease(Duration::from_secs(60))
            .sweep(Duration::from_millis(500), Duration::ZERO);
        world.start(&sweeper)
    });
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.queue.forget();
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, stage.count()), (State::Completed, 1, 1));
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_an_earlier_attempt_doesnt_start_a_later_one_before_its_time() {
    let world = World::new();
    let stage = short();
    let id = world.queue("1").await;
    // Somebody gave it back for an hour, and died before pushing that.
    let mut execution = world.engine.execution(id).await.unwrap();
    let hour = world.now().saturating_add(Duration::from_secs(3600));
    for change in
        [Change::Start, Change::Requeue { run_after: hour, failure: Some("no memory for a sandbox".into()) }]
    {
        execution.apply(change, world.now()).unwrap();
        world.store.update(&execution, &[]).await.unwrap();
    }
    let worker = world.work(&stage);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 2));
    assert!(end.started_at >= Some(hour));
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0);
}

#[tokio::test(start_paused = true)]
async fn owners_take_turns_whether_the_engine_or_the_sweep_pushed() {
    for lost in [false, true] {
        let world = World::new();
        let served = Arc::new(Mutex::new(String::new()));
        let stage = Arc::new(Stage::new({
            let served = served.clone();
            move |scene| {
                served.lock().unwrap().push_str(scene.owner.as_str());
                async { exit(0) }
            }
        }));
        for owner in ["a", "a", "a", "b", "a", "b"] {
            let engine = world.engine.for_owner(Owner::new(owner).unwrap());
            engine.run(ExecutionSpec::new("python", "1"), RunOptions::default()).await.unwrap();
        }
        if lost {
            world.queue.forget();
        }
        let worker = world.start(&world.worker(&stage).concurrency(1));
        stage.begun(6).await;
        assert_eq!(*served.lock().unwrap(), "ababaa", "the queue lost its memory: {lost}");
        worker.stop().await;
    }
}
