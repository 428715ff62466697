//! What is pushed, what replaces what, and what is counted.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    LONG, NO, ROUNDING, SHORT, claim_now, claim_one, claim_one_for, ids, ids_of, job, jobs, push_new,
    stats_become,
};
use crate::{Job, Queue, QueueStats};

fn attempt(job: &Job, attempt: u32) -> Job {
    Job { attempt, ..job.clone() }
}

/// A job comes out with the execution and the attempt that went in; so do the greatest there are.
pub async fn a_job_comes_out_as_it_went_in(queue: Arc<dyn Queue>) {
    for attempt in [1, 2, i32::MAX as u32] {
        let job = Job { attempt, ..job() };
        queue.push(std::slice::from_ref(&job)).await.unwrap();
        let lease = claim_one(&*queue).await;
        assert_eq!((lease.id, lease.attempt), (job.id, attempt));
    }
}

/// Of a batch every job arrives, in its order.
pub async fn a_batch_arrives_whole_and_in_order(queue: Arc<dyn Queue>) {
    let batch = jobs(300);
    queue.push(&batch).await.unwrap();
    let mut claimed = Vec::new();
    while claimed.len() < batch.len() {
        let part = claim_now(&*queue, 128).await;
        assert!(!part.is_empty(), "{} of {} came", claimed.len(), batch.len());
        claimed.extend(ids_of(&part));
    }
    assert_eq!(claimed, ids(&batch));
    assert!(claim_now(&*queue, 1).await.is_empty());
}

/// An empty batch is nothing, whatever it's for.
pub async fn nothing_to_do_is_no_error(queue: Arc<dyn Queue>) {
    queue.push(&[]).await.unwrap();
    queue.ack(&[]).await.unwrap();
    assert_eq!(queue.extend(&[], LONG).await.unwrap(), []);
    assert_eq!(queue.stats().await.unwrap(), QueueStats::default());
    push_new(&*queue).await;
    assert_eq!(queue.claim(0, NO, LONG).await.unwrap(), []);
    assert_eq!(queue.stats().await.unwrap().waiting, 1);
}

/// Pushing a waiting job again changes neither its number nor its place.
pub async fn the_same_attempt_again_changes_nothing(queue: Arc<dyn Queue>) {
    let batch = jobs(2);
    queue.push(&batch).await.unwrap();
    let again = Job { delay: LONG, priority: -5, ..batch[0].clone() };
    queue.push(&[again]).await.unwrap();
    queue.push(&batch).await.unwrap();
    assert_eq!(ids_of(&claim_now(&*queue, 10).await), ids(&batch));
}

/// Nor does pushing an attempt that is over.
pub async fn a_lower_attempt_changes_nothing(queue: Arc<dyn Queue>) {
    let job = attempt(&job(), 3);
    queue.push(std::slice::from_ref(&job)).await.unwrap();
    queue.push(&[attempt(&job, 2)]).await.unwrap();
    assert_eq!(claim_one(&*queue).await.attempt, 3);
    queue.push(&[attempt(&job, 1)]).await.unwrap();
    assert!(claim_now(&*queue, 1).await.is_empty());
}

/// A job that is delayed stays so when it's pushed again without a delay.
pub async fn the_same_attempt_again_shortens_no_delay(queue: Arc<dyn Queue>) {
    let job = job();
    let delayed = Job { delay: LONG, ..job.clone() };
    queue.push(&[delayed]).await.unwrap();
    queue.push(&[job]).await.unwrap();
    assert!(claim_now(&*queue, 1).await.is_empty());
    assert_eq!(queue.stats().await.unwrap().delayed, 1);
}

/// A job under a lease stays so when it's pushed again, and the lease holds.
pub async fn the_same_attempt_again_breaks_no_lease(queue: Arc<dyn Queue>) {
    let job = push_new(&*queue).await;
    let lease = claim_one(&*queue).await;
    queue.push(&[job]).await.unwrap();
    assert!(claim_now(&*queue, 1).await.is_empty());
    assert_eq!(queue.extend(&[lease], LONG).await.unwrap(), []);
}

/// A higher attempt takes the place of a waiting job, with a delay and a priority of its own.
pub async fn a_higher_attempt_replaces_a_waiting_job(queue: Arc<dyn Queue>) {
    let batch = jobs(3);
    queue.push(&batch).await.unwrap();
    let urgent = Job { priority: 1, ..attempt(&batch[2], 2) };
    let later = Job { delay: LONG, ..attempt(&batch[0], 5) };
    queue.push(&[urgent, later]).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    let claimed: Vec<_> = claimed.iter().map(|lease| (lease.id, lease.attempt)).collect();
    assert_eq!(claimed, [(batch[2].id, 2), (batch[1].id, 1)]);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.delayed, stats.leased), (0, 1, 2));
}

/// A higher attempt takes the place of a delayed job and needn't wait for its delay.
pub async fn a_higher_attempt_replaces_a_delayed_job(queue: Arc<dyn Queue>) {
    let job = job();
    let delayed = Job { delay: LONG, ..job.clone() };
    queue.push(&[delayed]).await.unwrap();
    queue.push(&[attempt(&job, 2)]).await.unwrap();
    assert_eq!(claim_one(&*queue).await.attempt, 2);
    assert_eq!(queue.stats().await.unwrap().delayed, 0);
}

/// A higher attempt takes the place of a leased job: it can be claimed at once, and the lease is void.
pub async fn a_higher_attempt_voids_a_lease(queue: Arc<dyn Queue>) {
    let job = push_new(&*queue).await;
    let old = claim_one(&*queue).await;
    queue.push(&[attempt(&job, 2)]).await.unwrap();
    let old = [old];
    assert_eq!(queue.extend(&old, LONG).await.unwrap(), old);
    queue.ack(&old).await.unwrap();
    let new = claim_one(&*queue).await;
    assert_eq!(new.attempt, 2);
    assert_ne!(new.token, old[0].token);
    assert_eq!(queue.extend(&old, LONG).await.unwrap(), old);
    queue.ack(&old).await.unwrap();
    assert_eq!(queue.extend(&[new], LONG).await.unwrap(), []);
}

/// Of several attempts of one execution in one batch the highest is left.
pub async fn the_highest_attempt_of_a_batch_is_left(queue: Arc<dyn Queue>) {
    let job = job();
    let batch = [1, 3, 2, 3].map(|number| attempt(&job, number));
    queue.push(&batch).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].attempt, 3);
}

/// What was acknowledged is unknown: the same attempt may be pushed once more.
pub async fn an_acknowledged_job_may_be_pushed_again(queue: Arc<dyn Queue>) {
    let job = push_new(&*queue).await;
    let first = claim_one(&*queue).await;
    queue.ack(std::slice::from_ref(&first)).await.unwrap();
    queue.push(&[job]).await.unwrap();
    let second = claim_one(&*queue).await;
    assert_eq!((second.id, second.attempt), (first.id, first.attempt));
    assert_ne!(second.token, first.token);
}

/// Of pushes of one job at the same time one job is made.
pub async fn concurrent_pushes_make_one_job(queue: Arc<dyn Queue>) {
    let batch = jobs(4);
    let pushes = (0..16).map(|n| {
        let (queue, mut batch) = (queue.clone(), batch.clone());
        // In different orders: a medium with locks must not lock itself up.
        batch.rotate_left(n % 4);
        tokio::spawn(async move { queue.push(&batch).await.unwrap() })
    });
    for push in futures_util::future::join_all(pushes).await {
        push.unwrap();
    }
    let mut claimed = ids_of(&claim_now(&*queue, 100).await);
    claimed.sort();
    assert_eq!(claimed, ids(&batch));
}

/// Waiting, delayed and leased jobs are counted, each as one of the three; a lapsed lease counts as waiting.
pub async fn jobs_are_counted_by_where_they_stand(queue: Arc<dyn Queue>) {
    queue.push(&jobs(5)).await.unwrap();
    let delayed = Job { delay: LONG, ..job() };
    queue.push(&[delayed]).await.unwrap();
    let counts = |stats: QueueStats| (stats.waiting, stats.delayed, stats.leased);
    assert_eq!(counts(queue.stats().await.unwrap()), (5, 1, 0));
    let leases = claim_now(&*queue, 2).await;
    assert_eq!(counts(queue.stats().await.unwrap()), (3, 1, 2));
    queue.ack(&leases[..1]).await.unwrap();
    assert_eq!(counts(queue.stats().await.unwrap()), (3, 1, 1));
    let lapsing = claim_one_for(&*queue, SHORT).await;
    stats_become(&*queue, |stats| counts(stats) == (3, 1, 1)).await;
    assert_eq!(queue.extend(&[lapsing], LONG).await.unwrap(), []);
    assert_eq!(counts(queue.stats().await.unwrap()), (2, 1, 2));
}

/// The age is that of the job that could have been claimed for the longest time; a delay isn't part of it.
pub async fn the_oldest_waiting_job_tells_the_age(queue: Arc<dyn Queue>) {
    assert_eq!(queue.stats().await.unwrap().oldest_waiting, None);
    let before = Instant::now();
    let delayed = Job { delay: SHORT, ..job() };
    queue.push(&[delayed]).await.unwrap();
    let stats = queue.stats().await.unwrap();
    assert!(stats.oldest_waiting.is_none() || stats.delayed == 0, "a delayed one doesn't wait: {stats:?}");
    let stats = stats_become(&*queue, |stats| stats.waiting == 1).await;
    let possible = before.elapsed().saturating_sub(SHORT) + ROUNDING;
    let age = stats.oldest_waiting.unwrap();
    assert!(age <= possible, "{age:?} of {possible:?}");

    let urgent = Job { priority: 9, ..job() };
    queue.push(&[urgent]).await.unwrap();
    let grown = |stats: QueueStats| stats.oldest_waiting > Some(age + Duration::from_millis(50));
    stats_become(&*queue, grown).await;
    let leases = claim_now(&*queue, 2).await;
    assert_eq!(leases.len(), 2);
    assert_eq!(queue.stats().await.unwrap().oldest_waiting, None);
}
