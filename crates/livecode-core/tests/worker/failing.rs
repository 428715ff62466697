//! Failures of ours.

use std::{sync::Arc, time::Duration};

use livecode_core::{Error, ErrorKind, ErrorType, State};

use crate::{
    stage::{Stage, exit},
    world::World,
};

#[tokio::test(start_paused = true)]
async fn our_failure_is_tried_again_after_a_pause() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print(&format!("attempt {}\n", scene.nth)).await;
        if scene.nth < 3 {
            return Err(Error::unavailable("no memory for a sandbox"));
        }
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    world.reaches(id, State::Queued, 2).await;
    let queued = world.engine.execution(id).await.unwrap();
    assert_eq!(queued.failure.as_deref(), Some("no memory for a sandbox"));
    assert!(queued.run_after <= world.now().saturating_add(Duration::from_secs(1)));
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 3, 2));
    assert!(end.started_at >= Some(end.run_after));
    assert_eq!(world.stdout(id).await, "attempt 3\n", "of the latest attempt alone");
    worker.stop().await;
    assert_eq!(world.queue_length().await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_pause_before_another_attempt_grows() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { Err(Error::internal("broken")) }));
    let worker = world.start(&world.worker(&stage).concurrency(100).max_attempts(8));
    let mut ids = Vec::new();
    for nth in 0..50 {
        ids.push(world.queue(&format!("{nth}")).await);
    }
    let mut longest = Duration::ZERO;
    for id in ids {
        let end = world.end(id).await;
        assert_eq!((end.attempt, end.failures), (8, 8));
        let all = end.completed_at.unwrap().duration_since(end.created_at);
        assert!(all <= Duration::from_secs(1 + 2 + 4 + 8 + 16 + 32 + 64 + 1), "{all:?}");
        longest = longest.max(all);
    }
    assert!(longest > Duration::from_secs(30), "{longest:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_no_attempt_is_left_the_execution_fails_with_our_reason() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print("so far\n").await;
        Err(Error::internal("the sandbox is broken"))
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Failed, 3, 3));
    assert_eq!(end.error_type(), Some(ErrorType::InternalError));
    assert_eq!(end.error_message().unwrap(), "the sandbox is broken");
    assert_eq!(world.stdout(id).await, "so far\n");
    assert_eq!(stage.count(), 3);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_can_never_work_here_fails_at_once_with_the_remedy() {
    for kind in [ErrorKind::Unsupported, ErrorKind::InvalidArgument] {
        let world = World::new();
        let stage = Arc::new(Stage::new(move |_| async move {
            Err(Error::new(kind, "user namespaces are switched off: set user.max_user_namespaces"))
        }));
        let worker = world.work(&stage);
        let id = world.queue("1").await;
        let end = world.end(id).await;
        assert_eq!((end.state, end.attempt, end.failures), (State::Failed, 1, 1));
        assert_eq!(end.error_type(), Some(ErrorType::InternalError));
        assert!(end.error_message().unwrap().contains("set user.max_user_namespaces"));
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_panics_is_a_failure_of_ours() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        assert!(scene.nth > 1, "the sandbox has a defect");
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 1));
    assert!(end.failure.unwrap().contains("panicked"));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_panics_outside_of_the_sandbox_lets_go_of_its_lease() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { exit(0) }));
    let calls = std::sync::atomic::AtomicUsize::new(0);
    world.store.plan(move |method| {
        let first = method == "update" && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1;
        assert!(!first, "the store has a defect");
        crate::backends::Fate::Works
    });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 1));
    worker.stop().await;
}
