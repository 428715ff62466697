//! From the queue to the end.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use livecode_core::{ErrorType, ExecutionSpec, Owner, RunOptions, State};
use tokio::sync::Semaphore;

use crate::{
    backends::Fate,
    stage::{Stage, exit},
    world::World,
};

#[tokio::test(start_paused = true)]
async fn a_program_completes_with_its_output() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print("hi\n").await;
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("print('hi')").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 1, 0));
    assert!(end.started_at.is_some() && end.outcome.is_some());
    assert_eq!(world.stdout(id).await, "hi\n");
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0, "its job is acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_program_is_its_executions_owners() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print(scene.owner.as_str()).await;
        exit(0)
    }));
    let worker = world.work(&stage);
    for owner in ["alice", "", "bob"] {
        let engine = world.engine.for_owner(Owner::new(owner).unwrap());
        let accepted = engine.run(ExecutionSpec::new("python", "1"), RunOptions::default()).await.unwrap();
        let id = accepted.execution.id;
        world.end(id).await;
        assert_eq!(world.stdout(id).await, owner);
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_fails_is_never_run_again() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(1) }));
    let worker = world.work(&stage);
    let id = world.queue("exit(1)").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Failed, 1, 0));
    assert_eq!(end.error_type(), Some(ErrorType::RuntimeError));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(stage.count(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_program_is_claimed_while_an_end_is_acknowledged() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(0) }));
    let claims = Arc::new(Semaphore::new(0));
    world.queue.slow_plan(move |method| {
        let claims = claims.clone();
        async move {
            match method {
                "claim" => claims.add_permits(1),
                // The claim that it came by, and another.
                "ack" => claims.acquire_many(2).await.unwrap().forget(),
                _ => {}
            }
            Fate::Works
        }
        .boxed()
    });
    let worker = world.start(&world.worker(&stage).concurrency(1));
    let id = world.queue("1").await;
    world.end(id).await;
    while world.queue_length().await > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_programs_run_at_a_time_than_there_are_slots() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        tokio::time::sleep(Duration::from_millis(70)).await;
        exit(0)
    }));
    let mut ids = Vec::new();
    for nth in 0..20 {
        ids.push(world.queue(&format!("{nth}")).await);
    }
    let worker = world.start(&world.worker(&stage).concurrency(3));
    for id in ids {
        assert_eq!(world.end(id).await.state, State::Completed);
    }
    assert_eq!((stage.most(), stage.count()), (3, 20));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_free_slot_is_used_while_another_program_goes_on() {
    let world = World::new();
    let gate = Arc::new(Semaphore::new(0));
    let stage = {
        let gate = gate.clone();
        Arc::new(Stage::new(move |scene| {
            let gate = gate.clone();
            async move {
                if scene.source == "long" {
                    gate.acquire().await.unwrap().forget();
                }
                exit(0)
            }
        }))
    };
    let worker = world.work(&stage);
    let long = world.queue("long").await;
    for _ in 0..5 {
        let short = world.queue("short").await;
        world.end(short).await;
    }
    assert_eq!(world.engine.execution(long).await.unwrap().state, State::Running);
    gate.add_permits(1);
    assert_eq!(world.end(long).await.state, State::Completed);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_delivery_of_what_has_ended_is_acknowledged() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(0) }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    world.push(id, 1).await;
    world.push(id, 2).await;
    // In the order of arrival: when the second one has ended, the first was looked at.
    let next = world.queue("2").await;
    world.end(next).await;
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0);
    assert_eq!((stage.count(), world.end(id).await), (2, end));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_no_execution_is_acknowledged() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(0) }));
    let stranger = World::new().queue("elsewhere").await;
    world.push(stranger, 1).await;
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    world.end(id).await;
    worker.stop().await;
    assert_eq!((world.queue_length().await, stage.count()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_execution_isnt_started_before_its_delay_has_passed() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(0) }));
    let worker = world.work(&stage);
    let delay = Duration::from_secs(3600);
    let id = world.queue_after("1", delay).await;
    let end = world.end(id).await;
    assert!(end.started_at.unwrap() >= end.created_at.saturating_add(delay));
    assert_eq!(stage.count(), 1);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_comes_back_is_served_again() {
    use crate::backends::Fate;
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(0) }));
    world.queue.plan(|method| match method {
        "claim" | "extend" => Fate::FailsBefore,
        _ => Fate::Works,
    });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tries = world.queue.calls("claim");
    assert!((6..100).contains(&tries), "it backs off, and goes on trying: {tries}");
    world.queue.plan(|_| Fate::Works);
    assert_eq!(world.end(id).await.state, State::Completed);
    worker.stop().await;
}
