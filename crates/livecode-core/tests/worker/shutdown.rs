//! The end of a worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use livecode_core::{ExecutionSpec, Grading, Outcome, RunOptions, State, Termination, TestCase, Verdict};
use tokio::sync::Semaphore;

use crate::{
    backends::Fate,
    stage::{Stage, exit},
    world::World,
};

/// Prints, and runs for so many seconds; a program that gets a moment more ends by itself.
fn takes(seconds: u64) -> Arc<Stage> {
    Arc::new(Stage::new(move |scene| async move {
        scene.print(&format!("run {}\n", scene.nth)).await;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => exit(0),
            end = scene.last() => end,
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn what_ends_within_the_grace_is_finished() {
    let world = World::new();
    let stage = takes(5);
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    worker.stop().await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 1));
    assert_eq!(world.queue_length().await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_stops_at_once() {
    let world = World::new();
    let worker = world.work(&takes(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let before = world.now();
    worker.stop().await;
    assert!(world.now().duration_since(before) < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_the_grace_is_given_back_and_counts_as_no_failure() {
    let world = World::new();
    let stage = takes(20);
    let worker = world.start(&world.worker(&stage).max_attempts(1));
    let id = world.queue("1").await;
    stage.begun(1).await;
    worker.stop().await;
    assert_eq!(stage.alive(), 0);
    let queued = world.engine.execution(id).await.unwrap();
    assert_eq!((queued.state, queued.attempt, queued.failures), (State::Queued, 2, 0));
    // Another worker takes it at once.
    let before = world.now();
    let other = world.start(&world.worker(&stage).max_attempts(1));
    stage.begun(2).await;
    assert_eq!(world.now(), before);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 2, 0));
    assert_eq!(world.stdout(id).await, "run 2\n");
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn test_cases_that_take_longer_than_the_grace_are_begun_again_from_the_first() {
    let world = World::new();
    let stage = takes(6);
    let worker = world.work(&stage);
    // Two end before the worker's grace does, and the third doesn't.
    let tests = (4..9).map(|nth| TestCase::new("", format!("run {nth}")));
    let spec = ExecutionSpec::new("python", "1").grading(Grading::new(tests.collect::<Vec<_>>()));
    let id = world.engine.run(spec, RunOptions::default()).await.unwrap().execution.id;
    stage.begun(2).await;
    worker.stop().await;
    let queued = world.engine.execution(id).await.unwrap();
    assert_eq!((queued.state, queued.attempt, queued.failures), (State::Queued, 2, 0));
    let other = world.work(&stage);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 2));
    let cases = end.outcome.unwrap().cases;
    let accepted = cases.iter().filter(|case| case.verdict == Verdict::Accepted).count();
    assert_eq!((accepted, cases.len(), stage.count()), (5, 5, 8));
    assert_eq!(world.stdout(id).await, "", "the log is one program's");
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_by_itself_while_it_is_given_back_has_ended() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print("all of it\n").await;
        scene.last().await?;
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    worker.stop().await;
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt), (State::Completed, 1));
    assert_eq!(world.stdout(id).await, "all of it\n");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_program_that_is_given_back_stays_cancelled() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.last().await?;
        // It takes its time.
        tokio::time::sleep(Duration::from_secs(9)).await;
        Ok(Outcome::new(Termination::Cancelled))
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    world.engine.cancel(id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.stop().await;
    assert_eq!(world.end(id).await.state, State::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_begun_after_a_shutdown() {
    let world = World::new();
    let stage = takes(5);
    let worker = world.work(&stage);
    let first = world.queue("1").await;
    stage.begun(1).await;
    worker.shutdown.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = world.queue("2").await;
    worker.stop().await;
    assert_eq!(world.end(first).await.state, State::Completed);
    let second = world.engine.execution(second).await.unwrap();
    assert_eq!((second.state, second.attempt, stage.count()), (State::Queued, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_claimed_while_a_shutdown_comes_is_not_begun() {
    for slow in ["get", "claim"] {
        let world = World::new();
        let stage = takes(1);
        let plan = move |method| {
            async move {
                if method == slow {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Fate::Works
            }
            .boxed()
        };
        let id = world.queue("1").await;
        world.store.slow_plan(plan);
        world.queue.slow_plan(plan);
        let worker = world.work(&stage);
        tokio::time::sleep(Duration::from_millis(10)).await;
        worker.stop().await;
        assert_eq!(stage.count(), 0);
        let before = world.now();
        let other = world.work(&stage);
        stage.begun(1).await;
        assert!(world.now().duration_since(before) < Duration::from_secs(1), "{slow}");
        assert_eq!(world.end(id).await.attempt, 1);
        other.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_claimed_and_not_begun_is_available_at_once() {
    let world = World::new();
    let stage = takes(1);
    world.store.plan(|method| if method == "get" { Fate::FailsBefore } else { Fate::Works });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.store.calls("get") > 1, "it is claimed, and can't be begun");
    worker.stop().await;
    world.store.plan(|_| Fate::Works);
    let before = world.now();
    let other = world.work(&stage);
    stage.begun(1).await;
    assert_eq!(world.now(), before);
    let end = world.end(id).await;
    assert_eq!((end.state, end.attempt, end.failures), (State::Completed, 1, 0));
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_counts_as_no_failure_though_the_store_is_busy() {
    let world = World::new();
    let stage = takes(60);
    let worker = world.start(&world.worker(&stage).max_attempts(1));
    let id = world.queue("1").await;
    stage.begun(1).await;
    let updates = AtomicUsize::new(0);
    world.store.plan(move |method| {
        let busy = method == "update" && updates.fetch_add(1, Ordering::SeqCst) < 2;
        if busy { Fate::FailsBefore } else { Fate::Works }
    });
    worker.stop().await;
    let queued = world.engine.execution(id).await.unwrap();
    assert_eq!((queued.state, queued.attempt, queued.failures), (State::Queued, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_released_while_a_heartbeat_is_under_way_is_available_at_once() {
    let world = World::new();
    let stage = takes(10);
    let worker = world.work(&stage);
    world.queue("1").await;
    stage.begun(1).await;
    // The second one can't be begun, and its lease is kept.
    world.store.plan(|method| if method == "get" { Fate::FailsBefore } else { Fate::Works });
    let second = world.queue("2").await;
    let extensions = AtomicUsize::new(0);
    world.queue.slow_plan(move |method| {
        let heartbeat = method == "extend" && extensions.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if heartbeat {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Fate::Works
        }
        .boxed()
    });
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!(world.queue.calls("extend"), 1, "a heartbeat is under way");
    worker.shutdown.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.store.plan(|_| Fate::Works);
    let before = world.now();
    let other = world.work(&stage);
    world.reaches(second, State::Running, 1).await;
    assert_eq!(world.now(), before);
    worker.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_longest_times_that_can_be_told_are_no_trouble() {
    // Pauses between sweeps are random, some longer than what is told.
    for _ in 0..20 {
        let world = World::new();
        let stage = takes(1);
        let worker = world.worker(&stage).lease(Duration::MAX).grace(Duration::MAX);
        let worker = world.start(&worker.sweep(Duration::MAX, Duration::MAX));
        let id = world.queue("1").await;
        assert_eq!(world.end(id).await.state, State::Completed);
        assert_eq!(world.store.calls("list"), 1);
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_can_not_be_stopped_holds_up_a_shutdown_only_for_a_while() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|_| async {
        Semaphore::new(0).acquire().await.unwrap().forget();
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    stage.begun(1).await;
    let before = world.now();
    worker.stop().await;
    assert!(world.now().duration_since(before) < Duration::from_secs(11));
    assert_eq!(stage.alive(), 0, "its future is dropped");
    let other = world.work(&takes(1));
    assert_eq!(world.end(id).await.attempt, 2);
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_stops_everything() {
    let world = World::new();
    let stage = takes(30);
    let worker = world.work(&stage);
    for nth in 0..2 {
        world.queue(&format!("{nth}")).await;
    }
    stage.begun(2).await;
    worker.kill().await;
    assert_eq!(stage.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_away_holds_up_no_shutdown() {
    for _ in 0..20 {
        let world = World::new();
        world.queue.plan(|_| Fate::FailsBefore);
        let worker = world.work(&takes(1));
        tokio::time::sleep(Duration::from_secs(120)).await;
        let before = world.now();
        worker.stop().await;
        assert!(world.now().duration_since(before) < Duration::from_secs(1));
    }
}
