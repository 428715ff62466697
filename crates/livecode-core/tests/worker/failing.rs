//! Failures of ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use livecode_core::{Error, ErrorKind, ErrorType, State};

use crate::{
    backends::Fate,
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
        // Claiming pauses as well, up to 5 s each time.
        assert!(all <= Duration::from_secs(1 + 2 + 4 + 8 + 16 + 32 + 64 + 1 + 8 * 5), "{all:?}");
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
async fn what_can_never_be_accepted_fails_at_once_with_the_reason() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { Err(Error::invalid("source_code has a null byte")) }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Failed, 1, 1));
    assert_eq!(end.error_type(), Some(ErrorType::InternalError));
    assert_eq!(end.error_message().unwrap(), "source_code has a null byte");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_this_machine_lacks_fails_with_the_remedy_when_no_attempt_is_left() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async { Err(Error::unsupported("node is missing: install it")) }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Failed, 3, 3));
    assert_eq!(end.error_message().unwrap(), "node is missing: install it");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_one_machine_lacks_another_runs() {
    let world = World::new();
    let lacking = Arc::new(Stage::new(|_| async { Err(Error::unsupported("node is missing: install it")) }));
    let worker = world.work(&lacking);
    let id = world.queue("1").await;
    world.reaches(id, State::Queued, 2).await;
    worker.stop().await;
    let other = world.work(&Arc::new(Stage::new(|_| async { exit(0) })));
    assert_eq!(world.end(id).await.state, State::Completed);
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_away_uses_up_few_attempts() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Internal] {
        let world = World::new();
        let back = Arc::new(AtomicBool::new(false));
        let stage = {
            let back = back.clone();
            Arc::new(Stage::new(move |_| {
                let back = back.load(Ordering::SeqCst);
                async move { if back { exit(0) } else { Err(Error::new(kind, "no engine")) } }
            }))
        };
        let mut ids = Vec::new();
        for nth in 0..200 {
            ids.push(world.queue(&format!("{nth}")).await);
        }
        let worker = world.work(&stage);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(stage.count() < 100, "{}", stage.count());
        back.store(true, Ordering::SeqCst);
        let before = world.now();
        let mut completed = 0;
        for id in ids {
            completed += usize::from(world.end(id).await.state == State::Completed);
        }
        assert!(completed > 180, "{completed}");
        assert!(
            world.now().duration_since(before) < Duration::from_secs(10),
            "it goes on when the sandbox does"
        );
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_and_can_not_be_read_fails_when_no_attempt_is_left() {
    let world = World::new();
    world.store.plan(|method| if method == "spec" { Fate::Breaks } else { Fate::Works });
    let stage = Arc::new(Stage::new(|_| async { exit(0) }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Failed, 3, 3));
    assert_eq!(end.error_message().unwrap(), "spec is broken");
    worker.stop().await;
    assert_eq!((stage.count(), world.queue_length().await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_record_tells_our_failure_without_its_source() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        Err(Error::internal("no sandbox could be made").with_source("/sys/fs/cgroup/us: errno 13"))
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    assert_eq!(world.end(id).await.error_message().unwrap(), "no sandbox could be made");
    worker.stop().await;
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
    let calls = AtomicUsize::new(0);
    world.store.plan(move |method| {
        let first = method == "update" && calls.fetch_add(1, Ordering::SeqCst) == 1;
        assert!(!first, "the store has a defect");
        Fate::Works
    });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 1));
    worker.stop().await;
}
