//! Any queue beside the one in memory: the same operations get the same answers.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use crate::{Job, Lease, MemoryQueue, Owner, Queue};

/// One operation on a queue. Leases are named by the order of their claims.
#[derive(Clone, Debug)]
pub enum Step {
    /// Of jobs: execution, attempt, owner, whether it's delayed, priority.
    Push(Vec<(usize, u32, usize, bool, i16)>),
    /// Without a wait.
    Claim {
        /// So many at most.
        max: usize,
    },
    /// By long, or by nothing.
    Extend {
        /// Whichever were ever given.
        leases: Vec<usize>,
        /// By nothing.
        lapse: bool,
    },
    /// Whether they are held or not.
    Ack {
        /// Whichever were ever given.
        leases: Vec<usize>,
    },
}

/// Steps on few executions of few owners, so that they meet.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let job = (0..12usize, 1..4u32, 0..3usize, prop::bool::weighted(0.2), -1..2i16);
    let step = prop_oneof![
        vec(job, 0..4).prop_map(Step::Push),
        (0..4usize).prop_map(|max| Step::Claim { max }),
        (vec(0..20usize, 0..4), any::<bool>()).prop_map(|(leases, lapse)| Step::Extend { leases, lapse }),
        vec(0..20usize, 0..3).prop_map(|leases| Step::Ack { leases }),
    ];
    vec(step, 1..60)
}

/// So long that it plays no part.
const LONG: Duration = Duration::from_secs(3600);

/// Both queues, and every lease they ever gave: of memory's and of the other's.
struct Queues<Q> {
    memory: MemoryQueue,
    other: Q,
    leases: Vec<(Lease, Lease)>,
}

impl<Q: Queue> Queues<Q> {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Push(jobs) => {
                let jobs: Vec<_> = jobs
                    .into_iter()
                    .map(|(id, attempt, owner, delayed, priority)| Job {
                        id: Uuid::from_u128(id as u128 + 1).into(),
                        attempt,
                        owner: Owner::new(["", "alice", "bob"][owner]).unwrap(),
                        delay: if delayed { LONG } else { Duration::ZERO },
                        priority,
                    })
                    .collect();
                self.memory.push(&jobs).await.unwrap();
                self.other.push(&jobs).await.unwrap();
            }
            Step::Claim { max } => {
                let memory = self.memory.claim(max, Duration::ZERO, LONG).await.unwrap();
                let other = self.other.claim(max, Duration::ZERO, LONG).await.unwrap();
                let jobs = |leases: &[Lease]| {
                    leases.iter().map(|lease| (lease.id, lease.attempt)).collect::<Vec<_>>()
                };
                assert_eq!(jobs(&memory), jobs(&other));
                self.leases.extend(memory.into_iter().zip(other));
            }
            Step::Extend { leases, lapse } => {
                let (memory, other) = self.pick(leases);
                let by = if lapse { Duration::ZERO } else { LONG };
                let memory_lost = self.memory.extend(&memory, by).await.unwrap();
                let other_lost = self.other.extend(&other, by).await.unwrap();
                let places = |asked: &[Lease], lost: &[Lease]| {
                    asked.iter().map(|lease| lost.contains(lease)).collect::<Vec<_>>()
                };
                assert_eq!(places(&memory, &memory_lost), places(&other, &other_lost));
                // A queue may notice a lapse when it claims, and what it hasn't noticed counts for nobody's turn.
                assert_eq!(self.other.claim(0, Duration::ZERO, LONG).await.unwrap(), []);
            }
            Step::Ack { leases } => {
                let (memory, other) = self.pick(leases);
                self.memory.ack(&memory).await.unwrap();
                self.other.ack(&other).await.unwrap();
            }
        }
        let (memory, other) = (self.memory.stats().await.unwrap(), self.other.stats().await.unwrap());
        assert_eq!(
            (memory.waiting, memory.delayed, memory.leased, memory.oldest_waiting.is_some()),
            (other.waiting, other.delayed, other.leased, other.oldest_waiting.is_some())
        );
    }

    fn pick(&self, indices: Vec<usize>) -> (Vec<Lease>, Vec<Lease>) {
        let given = self.leases.len().max(1);
        indices.into_iter().filter_map(|index| self.leases.get(index % given).cloned()).unzip()
    }
}

/// Takes the steps on an empty queue and on one in memory, and fails where their answers differ.
pub async fn does_as_memory_does(queue: impl Queue, steps: Vec<Step>) {
    let mut queues = Queues { memory: MemoryQueue::new(), other: queue, leases: Vec::new() };
    for step in steps {
        queues.step(step).await;
    }
}
