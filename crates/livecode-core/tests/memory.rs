//! What the backends in memory promise beyond their traits: time that a test can pause, and claims that don't poll.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::StreamExt;
use livecode_core::{
    Change, Clock, Execution, ExecutionId, ExecutionSpec, Follow, Job, MemoryQueue, MemoryStore, Owner,
    Queue, Seq, Store, SystemClock,
};
use tokio::time::{Instant, advance, timeout};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Longer than anything here takes in real time.
const HANGS: Duration = Duration::from_secs(120);

fn job(delay: Duration) -> Job {
    Job {
        id: ExecutionId::generate(SystemClock.now()),
        attempt: 1,
        owner: Owner::anonymous(),
        delay,
        priority: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_ends_to_the_millisecond() {
    let queue = MemoryQueue::new();
    let begun = Instant::now();
    queue.push(&[job(HOUR)]).await.unwrap();
    let leases = queue.claim(1, 2 * HOUR, HOUR).await.unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(begun.elapsed().as_millis(), HOUR.as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_lease_lapses_to_the_millisecond_for_claims_that_wait() {
    let queue = MemoryQueue::new();
    let begun = Instant::now();
    let jobs = [job(Duration::ZERO)];
    let short = queue.claim(1, 9 * HOUR, HOUR);
    let long = queue.claim(1, 9 * HOUR, HOUR);
    let (first, second, pushed) = tokio::join!(short, long, queue.push(&jobs));
    pushed.unwrap();
    assert_eq!(first.unwrap().len() + second.unwrap().len(), 2);
    assert_eq!(begun.elapsed().as_millis(), HOUR.as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_claim_gives_up_to_the_millisecond() {
    let queue = MemoryQueue::new();
    let begun = Instant::now();
    queue.push(&[job(3 * HOUR)]).await.unwrap();
    assert!(queue.claim(1, 2 * HOUR, HOUR).await.unwrap().is_empty());
    assert_eq!(begun.elapsed().as_millis(), (2 * HOUR).as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_nothing_waits_for_nothing() {
    let queue = MemoryQueue::new();
    let begun = Instant::now();
    assert!(queue.claim(0, HOUR, HOUR).await.unwrap().is_empty());
    queue.push(&[job(Duration::ZERO)]).await.unwrap();
    assert!(queue.claim(0, HOUR, HOUR).await.unwrap().is_empty());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_oldest_begins_when_it_could_be_claimed() {
    let queue = MemoryQueue::new();
    queue.push(&[job(HOUR), job(Duration::ZERO)]).await.unwrap();
    let leases = queue.claim(1, Duration::ZERO, 2 * HOUR).await.unwrap();
    assert_eq!(leases.len(), 1);
    advance(3 * HOUR).await;
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.oldest_waiting), (2, Some(2 * HOUR)));
    let delayed = queue.claim(1, Duration::ZERO, HOUR).await.unwrap();
    assert_ne!(delayed[0].id, leases[0].id);
    let oldest = queue.stats().await.unwrap().oldest_waiting;
    assert_eq!(oldest, Some(HOUR), "the one whose lease lapsed is left");
}

/// Threads of the system: one looks while another one changes what it looks at, a little sooner or later each time.
#[test]
fn nobody_who_waits_misses_what_came_while_they_looked() {
    let (store, queue) = (MemoryStore::new(), MemoryQueue::new());
    let now = SystemClock.now();
    let executions: Vec<_> = (0..60_000).map(|_| Execution::new(Owner::anonymous(), "python", now)).collect();
    let meet = Barrier::new(2);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let missed = AtomicBool::new(false);
    // Both go on until both know.
    let meet = || {
        meet.wait();
        !missed.load(Ordering::SeqCst)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            runtime().block_on(async {
                for execution in &executions {
                    store.insert(execution, &ExecutionSpec::new("python", "1")).await.unwrap();
                    if !meet() {
                        return;
                    }
                    let end = store.events(execution.id, Seq(1), Follow::Everything).count();
                    missed.fetch_or(timeout(HANGS, end).await != Ok(1), Ordering::SeqCst);
                    if !meet() {
                        return;
                    }
                    let claimed = timeout(HANGS, queue.claim(1, HOUR, HOUR)).await;
                    let claimed = claimed.is_ok_and(|leases| leases.unwrap().len() == 1);
                    missed.fetch_or(!claimed, Ordering::SeqCst);
                }
                meet();
            });
        });
        scope.spawn(|| {
            runtime().block_on(async {
                for (nth, execution) in executions.iter().enumerate() {
                    let mut ended = execution.clone();
                    ended.apply(Change::RequestCancel, now).unwrap();
                    let a_little = || (0..nth % 997).for_each(|_| std::hint::spin_loop());
                    if !meet() {
                        return;
                    }
                    a_little();
                    store.update(&ended, &[]).await.unwrap();
                    if !meet() {
                        return;
                    }
                    a_little();
                    queue.push(&[job(Duration::ZERO)]).await.unwrap();
                }
                meet();
            });
        });
    });
    assert!(!missed.into_inner(), "somebody would have waited for ever");
}
