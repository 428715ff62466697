//! Who gets which job when.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use tokio::time::Instant;

use super::{
    LONG, NO, ROUNDING, SHORT, claim_now, claim_one, claim_one_for, ids, ids_of, job, jobs, push_new,
    stats_become,
};
use crate::{Job, Lease, Queue};

/// Jobs come in the order in which they were pushed, one by one or together.
pub async fn jobs_come_in_the_order_of_arrival(queue: Arc<dyn Queue>) {
    // Ids that sort the other way round: arrival is what counts.
    let mut batch = jobs(6);
    batch.reverse();
    for part in batch.chunks(2) {
        queue.push(part).await.unwrap();
    }
    let mut claimed = Vec::new();
    for max in [1, 1, 3, 10] {
        claimed.extend(ids_of(&claim_now(&*queue, max).await));
    }
    assert_eq!(claimed, ids(&batch));
}

/// A higher priority comes first, whenever it arrived.
pub async fn a_higher_priority_comes_first(queue: Arc<dyn Queue>) {
    let of = |priority| Job { priority, ..job() };
    let batch = [0, -1, i16::MIN, 1, i16::MAX, 0, 1].map(of);
    for job in &batch {
        queue.push(std::slice::from_ref(job)).await.unwrap();
    }
    let mut claimed = ids_of(&claim_now(&*queue, 1).await);
    claimed.extend(ids_of(&claim_now(&*queue, 10).await));
    assert_eq!(claimed, [4, 3, 6, 0, 5, 1, 2].map(|index: usize| batch[index].id));
}

/// No more than were asked for, and the rest stays.
pub async fn a_claim_takes_no_more_than_it_may(queue: Arc<dyn Queue>) {
    queue.push(&jobs(5)).await.unwrap();
    assert_eq!(claim_now(&*queue, 2).await.len(), 2);
    assert_eq!(claim_now(&*queue, 2).await.len(), 2);
    assert_eq!(claim_now(&*queue, usize::MAX).await.len(), 1);
    assert_eq!(claim_now(&*queue, usize::MAX).await.len(), 0);
}

/// A claim gives back what is there and doesn't wait for more.
pub async fn a_claim_waits_for_one_not_for_all(queue: Arc<dyn Queue>) {
    queue.push(&jobs(2)).await.unwrap();
    let begun = Instant::now();
    let claimed = queue.claim(10, Duration::from_secs(30), LONG).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert!(begun.elapsed() < Duration::from_secs(15), "it waited for more");
}

/// A job isn't claimed before its delay has passed, whatever its priority; a waiting claim gets it then.
pub async fn a_delayed_job_comes_when_its_delay_has_passed(queue: Arc<dyn Queue>) {
    let delayed = Job { delay: SHORT, priority: 9, ..job() };
    let pushed = Instant::now();
    queue.push(std::slice::from_ref(&delayed)).await.unwrap();
    let lease = claim_one(&*queue).await;
    assert_eq!(lease.id, delayed.id);
    assert!(pushed.elapsed() + ROUNDING >= SHORT, "it came after {:?}", pushed.elapsed());
    assert!(pushed.elapsed() < LONG / 2, "the end of the delay didn't wake the claim");
}

/// A delayed job holds up none that can be claimed.
pub async fn a_delayed_job_holds_up_no_other(queue: Arc<dyn Queue>) {
    let delayed = Job { delay: LONG, priority: 9, ..job() };
    queue.push(&[delayed]).await.unwrap();
    let ready = push_new(&*queue).await;
    assert_eq!(ids_of(&claim_now(&*queue, 10).await), [ready.id]);
}

/// A claim that finds nothing gives back none when its wait is up, not before.
pub async fn a_claim_gives_up_when_its_wait_is_up(queue: Arc<dyn Queue>) {
    assert_eq!(queue.claim(1, NO, LONG).await.unwrap(), []);
    let begun = Instant::now();
    assert_eq!(queue.claim(1, SHORT, LONG).await.unwrap(), []);
    assert!(begun.elapsed() + ROUNDING >= SHORT, "it waited {:?}", begun.elapsed());
}

/// A claim that waits is woken by a push.
pub async fn a_waiting_claim_is_woken_by_a_push(queue: Arc<dyn Queue>) {
    for _ in 0..5 {
        let begun = Instant::now();
        // The claim is polled first and waits by the time of the push.
        let (lease, job) = tokio::join!(claim_one(&*queue), async {
            assert_eq!(queue.claim(1, Duration::from_millis(20), LONG).await.unwrap(), []);
            push_new(&*queue).await
        });
        assert_eq!(lease.id, job.id);
        assert!(begun.elapsed() < LONG / 2, "nothing woke it");
    }
}

/// A claim that waits is woken at the end of a delay, although the delayed job came after it.
pub async fn a_waiting_claim_is_woken_by_the_end_of_a_delay(queue: Arc<dyn Queue>) {
    let begun = Instant::now();
    let delayed = Job { delay: SHORT, ..job() };
    let (lease, ()) = tokio::join!(claim_one(&*queue), async {
        assert_eq!(queue.claim(1, Duration::from_millis(20), LONG).await.unwrap(), []);
        queue.push(std::slice::from_ref(&delayed)).await.unwrap();
    });
    assert_eq!(lease.id, delayed.id);
    assert!(begun.elapsed() < LONG / 2, "nothing woke it");
}

/// A claim that waits is woken when somebody gives back a lease before its end.
pub async fn a_waiting_claim_is_woken_by_a_lease_given_back(queue: Arc<dyn Queue>) {
    let begun = Instant::now();
    let job = push_new(&*queue).await;
    let held = [claim_one(&*queue).await];
    let (lease, ()) = tokio::join!(claim_one(&*queue), async {
        assert_eq!(queue.claim(1, Duration::from_millis(20), LONG).await.unwrap(), []);
        assert_eq!(queue.extend(&held, NO).await.unwrap(), []);
    });
    assert_eq!(lease.id, job.id);
    assert!(begun.elapsed() < LONG / 2, "nothing woke it");
}

/// Each of several claims that wait gets one of the jobs that a batch brings.
pub async fn every_waiting_claim_is_served(queue: Arc<dyn Queue>) {
    let claims: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { claim_one(&*queue).await })
        })
        .collect();
    assert_eq!(queue.claim(1, Duration::from_millis(20), LONG).await.unwrap(), []);
    let begun = Instant::now();
    let batch = jobs(4);
    queue.push(&batch).await.unwrap();
    let mut claimed: Vec<_> = join_all(claims).await.into_iter().map(|lease| lease.unwrap().id).collect();
    claimed.sort();
    assert_eq!(claimed, ids(&batch));
    assert!(begun.elapsed() < LONG / 2, "some were not woken");
}

/// A claim that waits is woken when the lease of somebody else lapses, although it began to wait before that lease did.
pub async fn a_waiting_claim_is_woken_by_a_lapse(queue: Arc<dyn Queue>) {
    let begun = Instant::now();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { claim_one_for(&*queue, SHORT).await })
        })
        .collect();
    assert_eq!(queue.claim(1, Duration::from_millis(20), LONG).await.unwrap(), []);
    let job = push_new(&*queue).await;
    let leases: Vec<Lease> = join_all(waiting).await.into_iter().map(|lease| lease.unwrap()).collect();
    assert_eq!(ids_of(&leases), [job.id; 2], "the second got what the first let lapse");
    assert_ne!(leases[0].token, leases[1].token);
    assert!(begun.elapsed() < LONG / 2, "nothing woke it");
}

/// Claims at the same time never get the same job, and none is left out.
pub async fn concurrent_claims_never_share_a_job(queue: Arc<dyn Queue>) {
    let batch = jobs(200);
    queue.push(&batch).await.unwrap();
    let claims = (0..8).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let leases = queue.claim(1 + n % 4 * 3, Duration::from_millis(50), LONG).await.unwrap();
                if leases.is_empty() {
                    return claimed;
                }
                claimed.extend(leases);
            }
        })
    });
    let claimed: Vec<Lease> = join_all(claims).await.into_iter().flat_map(|leases| leases.unwrap()).collect();
    let mut claimed_ids = ids_of(&claimed);
    claimed_ids.sort();
    assert_eq!(claimed_ids, ids(&batch));
    let tokens: HashSet<_> = claimed.iter().map(|lease| lease.token).collect();
    assert_eq!(tokens.len(), claimed.len(), "each has a token of its own");
}

/// A claim that is dropped while it waits takes nothing with it.
pub async fn a_dropped_claim_takes_nothing(queue: Arc<dyn Queue>) {
    for _ in 0..3 {
        let claim = queue.claim(10, LONG, LONG);
        let gone = tokio::time::timeout(Duration::from_millis(20), claim).await;
        assert!(gone.is_err(), "there was nothing to claim");
    }
    let job = push_new(&*queue).await;
    assert_eq!(claim_one(&*queue).await.id, job.id);
}

/// Wherever a claim is when it's dropped: each job is claimed, or comes back when a lease lapses.
pub async fn dropped_claims_lose_no_job(queue: Arc<dyn Queue>) {
    let batch = jobs(40);
    let mut held = HashSet::new();
    for (polls, job) in batch.iter().enumerate() {
        let mut claim = Box::pin(queue.claim(2, LONG, SHORT));
        let early = claim.as_mut().now_or_never();
        queue.push(std::slice::from_ref(job)).await.unwrap();
        let mut leases = early;
        for _ in 0..polls {
            if leases.is_some() {
                break;
            }
            tokio::task::yield_now().await;
            leases = claim.as_mut().now_or_never();
        }
        drop(claim);
        if let Some(leases) = leases {
            let leases = leases.unwrap();
            queue.ack(&leases).await.unwrap();
            held.extend(ids_of(&leases));
        }
    }
    while held.len() < batch.len() {
        let lease = claim_one(&*queue).await;
        queue.ack(std::slice::from_ref(&lease)).await.unwrap();
        assert!(held.insert(lease.id), "an acknowledged job came back");
    }
    stats_become(&*queue, |stats| stats == Default::default()).await;
}
