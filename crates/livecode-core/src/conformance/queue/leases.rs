//! What a lease is worth, and for how long.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use super::{
    LONG, NO, ROUNDING, SHORT, claim_now, claim_one, claim_one_for, ids, ids_of, job, jobs, push_new,
    stats_become,
};
use crate::{Job, Lease, Queue, QueueStats};

/// Claims the one job that there is, lets the lease lapse, and claims it again for long.
async fn lapse_and_claim_again(queue: &dyn Queue) -> (Lease, Lease) {
    let old = claim_one_for(queue, SHORT).await;
    let new = claim_one(queue).await;
    assert_eq!(new.id, old.id);
    (old, new)
}

/// While a lease holds, nobody else gets the job.
pub async fn a_leased_job_is_not_claimed_again(queue: Arc<dyn Queue>) {
    push_new(&*queue).await;
    claim_one(&*queue).await;
    assert_eq!(queue.claim(1, NO, LONG).await.unwrap(), []);
    assert_eq!(queue.claim(1, SHORT, LONG).await.unwrap(), []);
}

/// When a lease lapses, the job is claimed again, as the same attempt under another token; not before.
pub async fn an_expired_lease_is_redelivered(queue: Arc<dyn Queue>) {
    let job = push_new(&*queue).await;
    let begun = Instant::now();
    let (old, new) = lapse_and_claim_again(&*queue).await;
    assert!(begun.elapsed() + ROUNDING >= SHORT, "it came after {:?}", begun.elapsed());
    assert_eq!((new.id, new.attempt), (job.id, job.attempt));
    assert_ne!(new.token, old.token);
    assert_eq!(queue.claim(1, NO, LONG).await.unwrap(), [], "the new lease holds");
}

/// A job is redelivered as often as its lease lapses.
pub async fn a_lease_may_lapse_again_and_again(queue: Arc<dyn Queue>) {
    let job = push_new(&*queue).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let lease = claim_one_for(&*queue, Duration::from_millis(50)).await;
        assert_eq!(lease.id, job.id);
        assert!(!tokens.contains(&lease.token));
        tokens.push(lease.token);
    }
}

/// A job whose lease lapsed stands where it stood before: by its priority and its own arrival.
pub async fn a_lapsed_job_keeps_its_place(queue: Arc<dyn Queue>) {
    let batch = jobs(3);
    queue.push(&batch[..2]).await.unwrap();
    assert_eq!(claim_one_for(&*queue, SHORT).await.id, batch[0].id);
    queue.push(&batch[2..]).await.unwrap();
    let urgent = Job { priority: 1, ..job() };
    queue.push(std::slice::from_ref(&urgent)).await.unwrap();
    stats_become(&*queue, |stats| stats.waiting == 4).await;
    let mut expected = vec![urgent.id];
    expected.extend(ids(&batch));
    assert_eq!(ids_of(&claim_now(&*queue, 10).await), expected);
}

/// An extended lease holds beyond its first end.
pub async fn extending_keeps_a_lease(queue: Arc<dyn Queue>) {
    push_new(&*queue).await;
    let lease = [claim_one_for(&*queue, Duration::from_secs(1)).await];
    assert_eq!(queue.extend(&lease, LONG).await.unwrap(), []);
    let beyond = Duration::from_millis(1_300);
    assert_eq!(queue.claim(1, beyond, LONG).await.unwrap(), []);
    assert_eq!(queue.extend(&lease, LONG).await.unwrap(), []);
}

/// The new end counts from now, so an extension may shorten a lease, and one by nothing gives the job back.
pub async fn an_extension_counts_from_now(queue: Arc<dyn Queue>) {
    let job = push_new(&*queue).await;
    let begun = Instant::now();
    let lease = claim_one(&*queue).await;
    assert_eq!(queue.extend(&[lease], SHORT).await.unwrap(), []);
    let lease = claim_one(&*queue).await;
    assert!(begun.elapsed() < LONG / 2, "the lease kept its first end");
    assert_eq!(queue.extend(&[lease], NO).await.unwrap(), []);
    let claimed = queue.claim(1, LONG, LONG).await.unwrap();
    assert_eq!(ids_of(&claimed), [job.id]);
    assert!(begun.elapsed() < LONG / 2, "the job didn't come back");
}

/// A lease that lapsed but wasn't claimed by anybody else is held again when it's extended.
pub async fn a_lapsed_lease_may_be_extended_in_time(queue: Arc<dyn Queue>) {
    push_new(&*queue).await;
    let lease = claim_one_for(&*queue, SHORT).await;
    stats_become(&*queue, |stats| stats.waiting == 1).await;
    assert_eq!(queue.extend(&[lease], LONG).await.unwrap(), []);
    assert_eq!(queue.claim(1, NO, LONG).await.unwrap(), []);
    assert_eq!(queue.stats().await.unwrap().leased, 1);
}

/// Leases that can't be extended come back, whyever, and the others of the batch are extended.
pub async fn lost_leases_are_given_back(queue: Arc<dyn Queue>) {
    push_new(&*queue).await;
    let (reclaimed, holder) = lapse_and_claim_again(&*queue).await;
    push_new(&*queue).await;
    let acknowledged = claim_one(&*queue).await;
    queue.ack(std::slice::from_ref(&acknowledged)).await.unwrap();
    let replaced = push_new(&*queue).await;
    let void = claim_one(&*queue).await;
    queue.push(&[Job { attempt: 2, delay: LONG, ..replaced }]).await.unwrap();
    let unknown = Lease { id: job().id, attempt: 1, token: holder.token };
    let forged = Lease { token: Uuid::from_u128(7), ..holder.clone() };
    push_new(&*queue).await;
    let kept = claim_one_for(&*queue, SHORT).await;
    let lost = [reclaimed, acknowledged, void, unknown, forged];
    let mut all = lost.to_vec();
    all.insert(2, kept);
    all.push(holder);
    let mut given_back = queue.extend(&all, LONG).await.unwrap();
    given_back.sort_by_key(|lease| lost.iter().position(|lost| lost == lease));
    assert_eq!(given_back, lost);
    assert_eq!(queue.claim(1, SHORT + ROUNDING, LONG).await.unwrap(), [], "the one kept is kept");
}

/// What was acknowledged never comes back; the rest of what was claimed with it does.
pub async fn an_acknowledged_job_is_gone(queue: Arc<dyn Queue>) {
    queue.push(&jobs(4)).await.unwrap();
    let leases = queue.claim(4, NO, Duration::from_secs(1)).await.unwrap();
    assert_eq!(leases.len(), 4);
    queue.ack(&leases[1..]).await.unwrap();
    let again = claim_one(&*queue).await;
    assert_eq!(again.id, leases[0].id);
    queue.ack(&[again]).await.unwrap();
    assert_eq!(queue.claim(10, SHORT, LONG).await.unwrap(), []);
    assert_eq!(queue.stats().await.unwrap(), QueueStats::default());
}

/// An acknowledgement by one that lost the lease changes nothing for the one that holds it.
pub async fn a_stale_acknowledgement_changes_nothing(queue: Arc<dyn Queue>) {
    push_new(&*queue).await;
    let (old, new) = lapse_and_claim_again(&*queue).await;
    queue.ack(&[old]).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().leased, 1);
    assert_eq!(queue.extend(std::slice::from_ref(&new), LONG).await.unwrap(), []);
    let new = [new];
    queue.ack(&new).await.unwrap();
    queue.ack(&new).await.unwrap();
    assert_eq!(queue.stats().await.unwrap(), QueueStats::default());
}

/// Durations without a sensible end are as long as the medium can make them, and no error.
pub async fn the_longest_durations_are_accepted(queue: Arc<dyn Queue>) {
    let never = Job { delay: Duration::MAX, ..job() };
    let now = job();
    queue.push(&[never, now.clone()]).await.unwrap();
    let leases = queue.claim(2, Duration::MAX, Duration::MAX).await.unwrap();
    assert_eq!(ids_of(&leases), [now.id]);
    assert_eq!(queue.extend(&leases, Duration::MAX).await.unwrap(), []);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.delayed, stats.leased), (0, 1, 1));
}
