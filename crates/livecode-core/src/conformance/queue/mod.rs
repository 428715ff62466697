//! The clauses of [`Queue`].
//!
//! The cases run against real servers in real time: leases and delays are a fifth of a second, and what is to come is
//! waited for, not slept for.

mod claims;
mod jobs;
mod leases;
pub mod model;
mod turns;

use std::time::Duration;

pub use self::{claims::*, jobs::*, leases::*, turns::*};
use crate::{ExecutionId, Job, Lease, Owner, Queue, QueueStats, Timestamp};

/// Makes a test of each clause of [`Queue`](crate::Queue). See [`conformance`](crate::conformance).
#[macro_export]
macro_rules! queue_suite {
    ($factory:expr) => {
        $crate::conformance_cases! { queue, $factory,
            a_job_comes_out_as_it_went_in
            a_batch_arrives_whole_and_in_order
            nothing_to_do_is_no_error
            the_same_attempt_again_changes_nothing
            a_lower_attempt_changes_nothing
            the_same_attempt_again_shortens_no_delay
            the_same_attempt_again_breaks_no_lease
            a_higher_attempt_replaces_a_waiting_job
            a_higher_attempt_replaces_a_delayed_job
            a_higher_attempt_voids_a_lease
            the_highest_attempt_of_a_batch_is_left
            an_acknowledged_job_may_be_pushed_again
            concurrent_pushes_make_one_job
            jobs_are_counted_by_where_they_stand
            the_oldest_waiting_job_tells_the_age
            jobs_come_in_the_order_of_arrival
            a_higher_priority_comes_first
            a_claim_takes_no_more_than_it_may
            a_claim_waits_for_one_not_for_all
            a_delayed_job_comes_when_its_delay_has_passed
            a_delayed_job_holds_up_no_other
            a_claim_gives_up_when_its_wait_is_up
            a_waiting_claim_is_woken_by_a_push
            a_waiting_claim_is_woken_by_the_end_of_a_delay
            a_waiting_claim_is_woken_by_a_lease_given_back
            every_waiting_claim_is_served
            a_waiting_claim_is_woken_by_a_lapse
            concurrent_claims_never_share_a_job
            a_dropped_claim_takes_nothing
            dropped_claims_lose_no_job
            one_owners_backlog_does_not_keep_another_waiting
            owners_take_turns
            owners_take_turns_within_a_push
            an_owners_jobs_keep_their_order
            nobody_saves_turns_up
            turns_are_within_a_priority
            a_higher_attempt_takes_a_new_turn
            an_owners_next_turn_is_after_all_that_wait
            the_same_attempt_again_takes_no_new_turn
            the_same_attempt_again_costs_no_turn
            a_lapsed_job_keeps_its_turn
            a_delayed_job_takes_its_turn_when_its_delay_has_passed
            a_leased_job_is_not_claimed_again
            an_expired_lease_is_redelivered
            a_lease_may_lapse_again_and_again
            a_lapsed_job_keeps_its_place
            extending_keeps_a_lease
            an_extension_counts_from_now
            a_lapsed_lease_may_be_extended_in_time
            lost_leases_are_given_back
            an_acknowledged_job_is_gone
            a_stale_acknowledgement_changes_nothing
            the_longest_durations_are_accepted
        }
    };
}

/// No wait.
const NO: Duration = Duration::ZERO;
/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(50);
/// A lease or a delay whose end a case waits for.
const SHORT: Duration = Duration::from_millis(200);
/// What clocks of a medium may round off.
const ROUNDING: Duration = Duration::from_millis(20);

fn job() -> Job {
    job_of("")
}

fn job_of(owner: &str) -> Job {
    let at = Timestamp::from_millis(1_769_000_000_123).unwrap();
    Job {
        id: ExecutionId::generate(at),
        attempt: 1,
        owner: Owner::new(owner).unwrap(),
        delay: Duration::ZERO,
        priority: 0,
    }
}

fn jobs(count: usize) -> Vec<Job> {
    (0..count).map(|_| job()).collect()
}

async fn push_new(queue: &dyn Queue) -> Job {
    let job = job();
    queue.push(std::slice::from_ref(&job)).await.unwrap();
    job
}

/// Claims the one job that there is, for long.
async fn claim_one(queue: &dyn Queue) -> Lease {
    claim_one_for(queue, LONG).await
}

async fn claim_one_for(queue: &dyn Queue, lease: Duration) -> Lease {
    let leases = queue.claim(1, LONG, lease).await.unwrap();
    assert_eq!(leases.len(), 1, "a job to claim");
    leases.into_iter().next().unwrap()
}

/// What can be claimed now, in order.
async fn claim_now(queue: &dyn Queue, max: usize) -> Vec<Lease> {
    queue.claim(max, NO, LONG).await.unwrap()
}

fn ids_of(leases: &[Lease]) -> Vec<ExecutionId> {
    leases.iter().map(|lease| lease.id).collect()
}

fn ids(jobs: &[Job]) -> Vec<ExecutionId> {
    jobs.iter().map(|job| job.id).collect()
}

/// Asks for the counts until they are as they should be; the case's minute is the limit.
async fn stats_become(queue: &dyn Queue, wanted: impl Fn(QueueStats) -> bool) -> QueueStats {
    loop {
        let stats = queue.stats().await.unwrap();
        if wanted(stats) {
            return stats;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
