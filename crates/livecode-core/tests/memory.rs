//! What the backends in memory promise beyond their traits: time that a test can pause, and claims that don't poll.

use std::time::Duration;

use livecode_core::{Clock, ExecutionId, Job, MemoryQueue, Owner, Queue, SystemClock};
use tokio::time::{Instant, advance};

const HOUR: Duration = Duration::from_secs(60 * 60);

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
