//! How the owners of equal priority take turns.

use std::sync::Arc;

use super::{LONG, NO, SHORT, claim_now, claim_one_for, ids_of, job_of, stats_become};
use crate::{ExecutionId, Job, Lease, Queue};

/// So many jobs of this owner.
fn jobs_of(owner: &str, count: usize) -> Vec<Job> {
    (0..count).map(|_| job_of(owner)).collect()
}

/// Each job as its owner and which of that owner's it is: `a1` is the second of `a`'s.
fn names(all: &[&[Job]], claimed: &[Lease]) -> Vec<String> {
    let name = |id: ExecutionId| {
        let mut places = all.iter().flat_map(|jobs| jobs.iter().enumerate());
        let (place, job) = places.find(|(_, job)| job.id == id).unwrap();
        format!("{}{place}", job.owner)
    };
    ids_of(claimed).into_iter().map(name).collect()
}

/// However many jobs of one owner are in front, the only one of another is served after a claim or two.
pub async fn one_owners_backlog_does_not_keep_another_waiting(queue: Arc<dyn Queue>) {
    let backlog = jobs_of("a", 6_000);
    for part in backlog.chunks(1_000) {
        queue.push(part).await.unwrap();
    }
    for (owner, served) in [("b", 0), ("c", 40), ("b", 1)] {
        let before = claim_now(&*queue, served).await;
        assert_eq!(before.len(), served);
        let only = job_of(owner);
        queue.push(std::slice::from_ref(&only)).await.unwrap();
        let mut claimed = Vec::new();
        while !claimed.contains(&only.id) {
            assert!(claimed.len() < 3, "{owner} waits behind {} of the others", claimed.len());
            claimed.extend(ids_of(&claim_now(&*queue, 1).await));
        }
    }
}

/// Owners are served in turn, in the order of their first job, each until it has no more.
pub async fn owners_take_turns(queue: Arc<dyn Queue>) {
    let (a, b, c) = (jobs_of("a", 4), jobs_of("b", 2), jobs_of("c", 3));
    for jobs in [&a, &b, &c] {
        queue.push(jobs).await.unwrap();
    }
    let mut claimed = claim_now(&*queue, 1).await;
    claimed.extend(claim_now(&*queue, 4).await);
    claimed.extend(claim_now(&*queue, 10).await);
    let expected = ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "c2", "a3"];
    assert_eq!(names(&[&a, &b, &c], &claimed), expected);
}

/// Jobs that are pushed together take their turns as those pushed one by one do.
pub async fn owners_take_turns_within_a_push(queue: Arc<dyn Queue>) {
    let (a, b) = (jobs_of("a", 4), jobs_of("b", 2));
    let batch = [&a[..3], &b, &a[3..]].concat();
    queue.push(&batch).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &b], &claimed), ["a0", "b0", "a1", "b1", "a2", "a3"]);
}

/// The jobs of one owner come in the order of their arrival, whoever else's come between.
pub async fn an_owners_jobs_keep_their_order(queue: Arc<dyn Queue>) {
    let owners = [jobs_of("a", 60), jobs_of("b", 20), jobs_of("c", 7)];
    let mut claimed = Vec::new();
    for n in 0..60 {
        for jobs in &owners {
            queue.push(jobs.get(n..=n).unwrap_or_default()).await.unwrap();
        }
        if n % 3 == 0 {
            claimed.extend(ids_of(&claim_now(&*queue, 2).await));
        }
    }
    claimed.extend(ids_of(&claim_now(&*queue, 100).await));
    assert_eq!(claimed.len(), 87);
    for jobs in &owners {
        let own = claimed.iter().copied().filter(|id| jobs.iter().any(|job| job.id == *id));
        assert_eq!(own.collect::<Vec<_>>(), super::ids(jobs));
    }
}

/// Who had nothing waiting while others were served takes turns with them from then on, and makes up for nothing.
pub async fn nobody_saves_turns_up(queue: Arc<dyn Queue>) {
    let (a, b) = (jobs_of("a", 8), jobs_of("b", 3));
    queue.push(&a).await.unwrap();
    assert_eq!(claim_now(&*queue, 4).await.len(), 4);
    queue.push(&b).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &b], &claimed), ["a4", "b0", "a5", "b1", "a6", "b2", "a7"]);
}

/// A higher priority comes before anybody's turn, and turns there count for nothing in another priority.
pub async fn turns_are_within_a_priority(queue: Arc<dyn Queue>) {
    let (mut a, b) = (jobs_of("a", 7), jobs_of("b", 2));
    a[..2].iter_mut().for_each(|job| job.priority = 1);
    a[4..].iter_mut().for_each(|job| job.priority = -1);
    for jobs in [&b[..], &a[4..], &a[..2], &a[2..4]] {
        queue.push(jobs).await.unwrap();
    }
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &b], &claimed), ["a0", "a1", "b0", "a2", "b1", "a3", "a4", "a5", "a6"]);
}

/// A higher attempt is the last of its owner's, whether what it replaces was waiting or leased.
pub async fn a_higher_attempt_takes_a_new_turn(queue: Arc<dyn Queue>) {
    let (a, b) = (jobs_of("a", 4), jobs_of("b", 3));
    queue.push(&a).await.unwrap();
    queue.push(&b).await.unwrap();
    assert_eq!(claim_now(&*queue, 1).await[0].id, a[0].id);
    let again = [0, 2].map(|index: usize| Job { attempt: 2, ..a[index].clone() });
    queue.push(&again).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &b], &claimed), ["b0", "a1", "b1", "b2", "a3", "a0", "a2"]);
}

/// An owner's next job comes after all of theirs that wait, though what had the same turn as the last of them waits no more.
pub async fn an_owners_next_turn_is_after_all_that_wait(queue: Arc<dyn Queue>) {
    let (a, b) = (jobs_of("a", 5), jobs_of("b", 3));
    queue.push(&a[..2]).await.unwrap();
    let first = queue.claim(2, NO, SHORT).await.unwrap();
    assert_eq!(first.len(), 2);
    queue.push(&a[2..4]).await.unwrap();
    stats_become(&*queue, |stats| stats.waiting == 4).await;
    queue.claim(0, NO, SHORT).await.unwrap();
    let again = Job { attempt: 2, delay: LONG, ..a[1].clone() };
    queue.push(&[again]).await.unwrap();
    queue.push(&b).await.unwrap();
    queue.push(&a[4..]).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &b], &claimed), ["a0", "a2", "b0", "a3", "b1", "b2", "a4"]);
}

/// The same attempt again keeps its turn, whoever it's said to be of.
pub async fn the_same_attempt_again_takes_no_new_turn(queue: Arc<dyn Queue>) {
    let (a, b) = (jobs_of("a", 2), jobs_of("b", 2));
    queue.push(&a).await.unwrap();
    queue.push(&b).await.unwrap();
    let again = Job { owner: b[0].owner.clone(), ..a[0].clone() };
    queue.push(&[again]).await.unwrap();
    let later = job_of("b");
    queue.push(std::slice::from_ref(&later)).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &[&b[..], &[later]].concat()], &claimed), ["a0", "b0", "a1", "b1", "b2"]);
}

/// What a push changes nothing of costs its owner no turn, wherever in the push it is.
pub async fn the_same_attempt_again_costs_no_turn(queue: Arc<dyn Queue>) {
    let (a, b) = (jobs_of("a", 3), jobs_of("b", 2));
    queue.push(&a[..2]).await.unwrap();
    assert_eq!(claim_now(&*queue, 2).await.len(), 2);
    queue.push(&b).await.unwrap();
    queue.push(&a).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &b], &claimed), ["b0", "a2", "b1"]);
}

/// A job whose lease lapses has the turn that it had.
pub async fn a_lapsed_job_keeps_its_turn(queue: Arc<dyn Queue>) {
    let (a, b, c) = (jobs_of("a", 3), jobs_of("b", 2), jobs_of("c", 2));
    queue.push(&a).await.unwrap();
    queue.push(&b).await.unwrap();
    assert_eq!(claim_one_for(&*queue, NO).await.id, a[0].id);
    stats_become(&*queue, |stats| stats.waiting == 5).await;
    queue.push(&c).await.unwrap();
    let claimed = claim_now(&*queue, 10).await;
    assert_eq!(names(&[&a, &b, &c], &claimed), ["a0", "b0", "c0", "a1", "b1", "c1", "a2"]);
}

/// A delayed job takes its turn when its delay has passed: neither do those that come due together all go first, nor
/// does one that was delayed behind a backlog stand behind another.
pub async fn a_delayed_job_takes_its_turn_when_its_delay_has_passed(queue: Arc<dyn Queue>) {
    let mut late = jobs_of("a", 4);
    late.iter_mut().for_each(|job| job.delay = SHORT);
    let (backlog, b) = (jobs_of("a", 9), jobs_of("b", 4));
    queue.push(&backlog).await.unwrap();
    queue.push(&late).await.unwrap();
    queue.ack(&claim_now(&*queue, 9).await).await.unwrap();
    queue.push(&b).await.unwrap();
    stats_become(&*queue, |stats| stats.waiting == 8).await;
    let claimed = names(&[&late, &b], &claim_now(&*queue, 10).await);
    let owners: Vec<&str> = claimed.iter().map(|name| &name[..1]).collect();
    assert_eq!(owners, ["a", "b", "a", "b", "a", "b", "a", "b"]);
}
