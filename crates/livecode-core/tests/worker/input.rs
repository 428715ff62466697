//! What is sent to a program while it runs.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use livecode_core::{Error, ErrorKind, ExecutionId, ExecutionSpec, Owner, RunOptions, State};

use crate::{
    backends::Fate,
    stage::{Scene, Stage, exit},
    world::World,
};

async fn queue_open(world: &World) -> ExecutionId {
    let spec = ExecutionSpec::new("python", "input()").stdin_open();
    world.engine.run(spec, RunOptions::default()).await.unwrap().execution.id
}

/// Answers each piece until the end.
async fn echo(mut scene: Scene) {
    while let Some(piece) = scene.read().await {
        scene.print(&format!("heard {piece};")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_reads_what_is_sent_before_and_while_it_runs() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        echo(scene).await;
        exit(0)
    }));
    let id = queue_open(&world).await;
    world.engine.send_input(id, "early").await.unwrap();
    let worker = world.work(&stage);
    stage.begun(1).await;
    world.engine.send_input(id, "").await.unwrap();
    world.engine.send_input(id, "late").await.unwrap();
    world.engine.end_input(id).await.unwrap();
    assert_eq!(world.end(id).await.state, State::Completed);
    assert_eq!(world.stdout(id).await, "heard early;heard late;");
    let refused = world.engine.send_input(id, "too late").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_made_anew_reads_all_from_the_start() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|mut scene| async move {
        if scene.nth == 1 {
            assert_eq!(scene.read().await.as_deref(), Some("one"));
            return Err(Error::unavailable("the sandbox broke"));
        }
        echo(scene).await;
        exit(0)
    }));
    let id = queue_open(&world).await;
    for piece in ["one", "two"] {
        world.engine.send_input(id, piece).await.unwrap();
    }
    world.engine.end_input(id).await.unwrap();
    let worker = world.work(&stage);
    assert_eq!(world.end(id).await.attempt, 2);
    assert_eq!(world.stdout(id).await, "heard one;heard two;");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_meanwhile_delays_input_and_repeats_none() {
    let world = World::new();
    let follows = AtomicUsize::new(0);
    world.store.plan(move |method| match method {
        "inputs" => match follows.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => Fate::FailsAfter,
            1 => Fate::FailsBefore,
            _ => Fate::Works,
        },
        _ => Fate::Works,
    });
    let stage = Arc::new(Stage::new(|scene| async move {
        echo(scene).await;
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = queue_open(&world).await;
    for piece in ["one", "two"] {
        world.engine.send_input(id, piece).await.unwrap();
    }
    world.engine.end_input(id).await.unwrap();
    world.end(id).await;
    assert_eq!(world.stdout(id).await, "heard one;heard two;");
    assert_eq!(world.store.calls("inputs"), 4);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn input_keeps_no_program_from_its_end_and_others_have_none() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print(if scene.input.is_some() { "open" } else { "closed" }).await;
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = queue_open(&world).await;
    for _ in 0..20 {
        // Refused as soon as it has ended.
        world.engine.send_input(id, "unread").await.ok();
    }
    assert_eq!(world.end(id).await.state, State::Completed);
    assert_eq!(world.stdout(id).await, "open");
    let closed = world.queue("1").await;
    world.end(closed).await;
    assert_eq!(world.stdout(closed).await, "closed");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_owners_program_can_not_be_sent_anything() {
    let world = World::new();
    let alice = world.engine.for_owner(Owner::new("alice").unwrap());
    let spec = ExecutionSpec::new("python", "1").stdin_open();
    let id = alice.run(spec, RunOptions::default()).await.unwrap().execution.id;
    let bob = world.engine.for_owner(Owner::new("bob").unwrap());
    for refused in [bob.send_input(id, "x").await, bob.send_input(id, "").await, bob.end_input(id).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    }
    alice.send_input(id, "x").await.unwrap();
    alice.end_input(id).await.unwrap();
    assert_eq!(alice.end_input(id).await.unwrap_err().kind(), ErrorKind::Conflict);
}
