//! Queues: pushes, claims, leases and counts.

use std::time::Duration;

use livecode_core::{Job, Lease, MemoryQueue, Owner, Queue};
use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::{pick, same};

#[derive(Clone, Debug)]
pub(crate) enum QueueStep {
    Push(Vec<(usize, u32, usize, bool, i16)>),
    Claim { max: usize },
    Extend { leases: Vec<usize>, lapse: bool },
    Ack { leases: Vec<usize> },
}

pub(crate) fn queue_step() -> impl Strategy<Value = QueueStep> {
    let job = (0..12usize, 1..4u32, 0..3usize, prop::bool::weighted(0.2), -1..2i16);
    prop_oneof![
        vec(job, 0..4).prop_map(QueueStep::Push),
        (0..4usize).prop_map(|max| QueueStep::Claim { max }),
        (vec(0..20usize, 0..4), any::<bool>())
            .prop_map(|(leases, lapse)| QueueStep::Extend { leases, lapse }),
        vec(0..20usize, 0..3).prop_map(|leases| QueueStep::Ack { leases }),
    ]
}

/// So long that it plays no part.
const LONG: Duration = Duration::from_secs(3600);

/// Both queues, and every lease they ever gave: of memory's and of the database's.
struct Queues<Q> {
    memory: MemoryQueue,
    sql: Q,
    leases: Vec<(Lease, Lease)>,
}

impl<Q: Queue> Queues<Q> {
    async fn step(&mut self, step: QueueStep) {
        match step {
            QueueStep::Push(jobs) => {
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
                same(self.memory.push(&jobs).await, self.sql.push(&jobs).await).unwrap();
            }
            QueueStep::Claim { max } => {
                let memory = self.memory.claim(max, Duration::ZERO, LONG).await.unwrap();
                let sql = self.sql.claim(max, Duration::ZERO, LONG).await.unwrap();
                let jobs = |leases: &[Lease]| {
                    leases.iter().map(|lease| (lease.id, lease.attempt)).collect::<Vec<_>>()
                };
                assert_eq!(jobs(&memory), jobs(&sql));
                self.leases.extend(memory.into_iter().zip(sql));
            }
            QueueStep::Extend { leases, lapse } => {
                let (memory, sql) = self.pick(leases);
                let by = if lapse { Duration::ZERO } else { LONG };
                let memory_lost = self.memory.extend(&memory, by).await.unwrap();
                let sql_lost = self.sql.extend(&sql, by).await.unwrap();
                let places = |asked: &[Lease], lost: &[Lease]| {
                    asked.iter().map(|lease| lost.contains(lease)).collect::<Vec<_>>()
                };
                assert_eq!(places(&memory, &memory_lost), places(&sql, &sql_lost));
                // SQLite notices a lapse when it claims, and what it hasn't noticed counts for nobody's turn.
                assert_eq!(self.sql.claim(0, Duration::ZERO, LONG).await.unwrap(), []);
            }
            QueueStep::Ack { leases } => {
                let (memory, sql) = self.pick(leases);
                same(self.memory.ack(&memory).await, self.sql.ack(&sql).await).unwrap();
            }
        }
        let (memory, sql) = (self.memory.stats().await.unwrap(), self.sql.stats().await.unwrap());
        assert_eq!(
            (memory.waiting, memory.delayed, memory.leased, memory.oldest_waiting.is_some()),
            (sql.waiting, sql.delayed, sql.leased, sql.oldest_waiting.is_some())
        );
    }

    fn pick(&self, indices: Vec<usize>) -> (Vec<Lease>, Vec<Lease>) {
        indices.into_iter().filter_map(|index| pick(&self.leases, index).cloned()).unzip()
    }
}

/// Does the same to both.
pub(crate) async fn queue_as_memory_does(sql: impl Queue, steps: Vec<QueueStep>) {
    let mut queues = Queues { memory: MemoryQueue::new(), sql, leases: Vec::new() };
    for step in steps {
        queues.step(step).await;
    }
}
