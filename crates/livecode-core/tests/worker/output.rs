//! From the program's writes to the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use livecode_core::{EventKind, State, Stdio};
use tokio::sync::Semaphore;

use crate::{
    backends::Fate,
    stage::{Stage, exit},
    world::World,
};

#[tokio::test(start_paused = true)]
async fn the_output_of_a_short_program_comes_with_its_end() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        scene.print("one\n").await;
        scene.write(Stdio::Stderr, "two\n").await;
        scene.print("three\n").await;
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    world.end(id).await;
    assert_eq!(world.stdout(id).await, "one\nthree\n");
    assert_eq!(
        (world.store.calls("append"), world.store.calls("update"), world.store.calls("events")),
        (0, 2, 1),
        "only start and finish; the events are this test's"
    );
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn live_output_reaches_a_follower_before_the_end() {
    let world = World::new();
    let gate = Arc::new(Semaphore::new(0));
    let stage = {
        let gate = gate.clone();
        Arc::new(Stage::new(move |scene| {
            let gate = gate.clone();
            async move {
                scene.print("name? ").await;
                gate.acquire().await.unwrap().forget();
                scene.print("hello\n").await;
                exit(0)
            }
        }))
    };
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let seen = world.events_until(id, |event| matches!(event.kind, EventKind::Output { .. })).await;
    assert_eq!(seen.len(), 3, "queued, running, output: {seen:?}");
    assert_eq!(world.engine.execution(id).await.unwrap().state, State::Running);
    gate.add_permits(1);
    world.end(id).await;
    assert_eq!(world.stdout(id).await, "name? hello\n");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_small_writes_make_few_appends_and_stay_in_order() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        for line in 0..1_000 {
            scene.print(&format!("{line}\n")).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    world.end(id).await;
    let expected: String = (0..1_000).map(|line| format!("{line}\n")).collect();
    assert_eq!(world.stdout(id).await, expected);
    let appends = world.store.calls("append");
    let events = world.events_until(id, |event| matches!(event.kind, EventKind::End(_))).await;
    assert!(events.len() <= appends + 5, "lines that wait together are one event");
    assert!((20..=60).contains(&appends), "one every 20 ms or so: {appends}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn streams_keep_the_order_in_which_they_were_written() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        for _ in 0..2_000 {
            scene.write(Stdio::Stdout, "o").await;
            scene.write(Stdio::Stderr, "e").await;
        }
        exit(0)
    }));
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    let mut last = Stdio::Stderr;
    let mut chunks = 0;
    for event in world.events_until(id, |event| matches!(event.kind, EventKind::End(_))).await {
        if let EventKind::Output { output, .. } = event.kind {
            assert_ne!(output.stdio, last);
            last = output.stdio;
            chunks += 1;
        }
    }
    assert_eq!(chunks, 4_000);
    assert!(world.store.calls("append") >= 3, "a batch has a thousand chunks at most");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_slow_the_programs_writes_wait() {
    const CHUNK: usize = 16 * 1024;
    const CHUNKS: usize = 60;
    let world = World::new();
    let gate = Arc::new(Semaphore::new(0));
    let written = Arc::new(AtomicUsize::new(0));
    let stage = {
        let written = written.clone();
        Arc::new(Stage::new(move |scene| {
            let written = written.clone();
            async move {
                for chunk in 0..CHUNKS {
                    scene.print(&format!("{chunk:CHUNK$}")).await;
                    written.fetch_add(1, Ordering::SeqCst);
                }
                exit(0)
            }
        }))
    };
    let pass = gate.clone();
    world.store.slow_plan(move |method| {
        let pass = pass.clone();
        async move {
            if method == "append" {
                pass.acquire().await.unwrap().forget();
            }
            Fate::Works
        }
        .boxed()
    });
    let worker = world.work(&stage);
    let id = world.queue("1").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = written.load(Ordering::SeqCst);
    assert!((5..CHUNKS - 10).contains(&before), "the program waits: {before}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(written.load(Ordering::SeqCst), before);
    gate.add_permits(1_000);
    assert_eq!(world.end(id).await.state, State::Completed);
    let expected: String = (0..CHUNKS).map(|chunk| format!("{chunk:CHUNK$}")).collect();
    assert_eq!(world.stdout(id).await, expected);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn output_is_written_once_whether_or_not_a_failed_append_took_effect() {
    for fate in [Fate::FailsBefore, Fate::FailsAfter] {
        let world = World::new();
        let stage = Arc::new(Stage::new(|scene| async move {
            for line in 0..20 {
                scene.print(&format!("{line}\n")).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                scene.write(Stdio::Stderr, &format!("{line}\n")).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            exit(0)
        }));
        let calls = AtomicUsize::new(0);
        world.store.plan(move |method| match method {
            "append" if !calls.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) => fate,
            _ => Fate::Works,
        });
        let worker = world.work(&stage);
        let id = world.queue("1").await;
        assert_eq!(world.end(id).await.state, State::Completed);
        let expected: String = (0..20).map(|line| format!("{line}\n")).collect();
        let captured = world.engine.output(id).await.unwrap();
        assert_eq!(captured.stdout, expected.as_bytes(), "{fate:?}");
        assert_eq!(captured.stderr, expected.as_bytes(), "{fate:?}");
        assert_eq!(stage.count(), 1);
        worker.stop().await;
    }
}
