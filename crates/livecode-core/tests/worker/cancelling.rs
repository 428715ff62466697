//! Somebody asks for the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use livecode_core::{Error, EventKind, State, Termination};

use crate::{
    backends::Fate,
    stage::{Stage, exit},
    world::World,
};

fn endless() -> Arc<Stage> {
    Arc::new(Stage::new(|scene| async move {
        scene.print("so far\n").await;
        scene.last().await
    }))
}

#[tokio::test(start_paused = true)]
async fn a_queued_execution_that_is_cancelled_is_never_run() {
    let world = World::new();
    let stage = endless();
    let id = world.queue("1").await;
    world.engine.cancel(id).await.unwrap();
    let worker = world.work(&stage);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((world.end(id).await.state, stage.count()), (State::Cancelled, 0));
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_running_program_that_is_cancelled_ends_and_keeps_its_output() {
    let world = World::new();
    let stage = endless();
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    world.events_until(id, |event| matches!(event.kind, EventKind::Output { .. })).await;
    world.engine.cancel(id).await.unwrap();
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Cancelled, 1));
    assert_eq!(end.outcome.unwrap().termination, Termination::Cancelled);
    assert_eq!(world.stdout(id).await, "so far\n");
    assert_eq!(stage.alive(), 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_comes_right_after_the_start_is_fulfilled() {
    let world = World::new();
    let stage = endless();
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.engine.cancel(id).await.unwrap();
    assert_eq!(world.end(id).await.state, State::Cancelled);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_before_the_wish_reaches_it_has_its_own_end() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.engine.cancel(id).await.unwrap();
    assert_eq!(world.end(id).await.state, State::Completed);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_what_has_ended_changes_nothing() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(3) }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!(world.engine.cancel(id).await.unwrap(), end);
    assert_eq!(world.end(id).await, end);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_reaches_the_program_although_the_record_could_not_be_followed() {
    let world = World::new();
    let stage = endless();
    let calls = AtomicUsize::new(0);
    world.store.plan(move |method| match method {
        "events" if calls.fetch_add(1, Ordering::SeqCst) < 5 => Fate::FailsBefore,
        _ => Fate::Works,
    });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.engine.cancel(id).await.unwrap();
    assert_eq!(world.end(id).await.state, State::Cancelled);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_is_not_run_again_after_a_failure_of_ours() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.last().await?;
        Err(Error::internal("the program could not be killed"))
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.engine.cancel(id).await.unwrap();
    assert_eq!(world.end(id).await.state, State::Cancelled);
    assert_eq!(stage.count(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_is_not_run_again_after_its_worker_was_lost() {
    let world = World::new();
    let stage = endless();
    let lost = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    lost.kill().await;
    world.engine.cancel(id).await.unwrap();
    let worker = world.work(&stage);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.outcome), (State::Cancelled, 1, None));
    assert_eq!(stage.count(), 1);
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0);
}
