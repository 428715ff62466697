//! What is asked of the scripts, and what they answer, in bytes.

use std::{time::Duration, vec};

use livecode_core::{Error, ErrorKind, Job, Lease, Result};
use redis::{Cmd, Value};
use tokio::sync::oneshot::Sender;
use uuid::Uuid;

use crate::{
    error::garbled,
    lanes::{BATCH_JOBS, Request},
    scripts::{Call, Scripts},
};

/// What "never" is for a moment: longer than any process lives, and short enough for the scripts' numbers.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Jobs to add.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) jobs: Vec<Job>,
    pub(crate) most: u64,
    pub(crate) caller: Sender<Result<()>>,
}

impl Request for Push {
    fn jobs(&self) -> usize {
        self.jobs.len()
    }

    fn is_wanted(&self) -> bool {
        !self.caller.is_closed()
    }

    async fn make(pushes: Vec<Self>, scripts: &Scripts) {
        let most = pushes.first().map_or(0, |push| push.most);
        let answer = scripts
            .call(Call::Push, |command| {
                command.arg(most);
                let mut bytes = Vec::new();
                let mut places = 0_u32..;
                for push in &pushes {
                    command.arg(push.jobs.len());
                    for (job, place) in push.jobs.iter().zip(&mut places) {
                        write_job(job, place, &mut bytes);
                        command.arg(&bytes);
                    }
                }
            })
            .await
            .and_then(numbers);
        for (push, place) in pushes.into_iter().zip(1..) {
            let made = match &answer {
                Ok(refused) if refused.contains(&place) => Err(Error::new(
                    ErrorKind::QueueFull,
                    format!("the queue may hold {most} jobs: try again when there are fewer"),
                )),
                Ok(_) => Ok(()),
                Err(error) => Err(again(error)),
            };
            // A caller that has gone meanwhile needs no answer.
            push.caller.send(made).ok();
        }
    }
}

/// As `push.lua` reads it. No call has so many jobs that three bytes don't count them.
fn write_job(job: &Job, place: u32, bytes: &mut Vec<u8>) {
    let [_, place @ ..] = place.to_be_bytes();
    bytes.clear();
    bytes.extend(job.id.as_uuid().as_bytes());
    bytes.push(u8::from(!job.delay.is_zero()));
    bytes.extend(units_of(job.delay).to_be_bytes());
    bytes.extend(place);
    bytes.extend(job.attempt.to_be_bytes());
    bytes.extend(job.priority.to_be_bytes());
    bytes.extend(job.owner.as_str().as_bytes());
}

/// What one call of a worker's script does.
#[derive(Debug)]
pub(crate) enum Step {
    Ack { leases: Vec<Lease>, caller: Sender<Result<()>> },
    Extend { leases: Vec<Lease>, by: Duration, caller: Sender<Result<Vec<Lease>>> },
    Claim { max: usize, lease: Duration, caller: Sender<Result<Claimed>> },
}

/// What a claim takes.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) leases: Vec<Lease>,
    /// How long until a delay or a lease is over; none where there is none, or where no claim was left without.
    pub(crate) next: Option<Duration>,
}

impl Request for Step {
    fn jobs(&self) -> usize {
        match self {
            Self::Ack { leases, .. } | Self::Extend { leases, .. } => leases.len(),
            Self::Claim { max, .. } => (*max).min(BATCH_JOBS),
        }
    }

    fn is_wanted(&self) -> bool {
        match self {
            Self::Ack { caller, .. } => !caller.is_closed(),
            Self::Extend { caller, .. } => !caller.is_closed(),
            Self::Claim { caller, .. } => !caller.is_closed(),
        }
    }

    async fn make(steps: Vec<Self>, scripts: &Scripts) {
        let token = fastrand::u64(..).to_be_bytes();
        let answer = scripts.call(Call::Step, |command| write_steps(&steps, token, command)).await;
        let unheard = match answer.and_then(|answer| Taken::read(answer, token)) {
            Ok(taken) => taken.tell(steps),
            Err(error) => {
                steps.into_iter().for_each(|step| step.fail(&error));
                return;
            }
        };
        if !unheard.is_empty() {
            // Nobody hears of these leases: another claim needn't wait for their end. Where that fails, it does.
            let steps = [Self::extension(unheard)];
            scripts.call(Call::Step, |command| write_steps(&steps, token, command)).await.ok();
        }
    }
}

impl Step {
    /// Gives leases back; nobody waits for the answer.
    fn extension(leases: Vec<Lease>) -> Self {
        Self::Extend { leases, by: Duration::ZERO, caller: tokio::sync::oneshot::channel().0 }
    }

    fn fail(self, error: &Error) {
        // A caller that has gone meanwhile needs no answer.
        match self {
            Self::Ack { caller, .. } => caller.send(Err(again(error))).ok(),
            Self::Extend { caller, .. } => caller.send(Err(again(error))).map_err(drop).ok(),
            Self::Claim { caller, .. } => caller.send(Err(again(error))).map_err(drop).ok(),
        };
    }
}

/// The arguments of `step.lua`.
fn write_steps(steps: &[Step], token: CallToken, command: &mut Cmd) {
    command.arg(&token[..]);
    let acks = || {
        steps.iter().filter_map(|step| if let Step::Ack { leases, .. } = step { Some(leases) } else { None })
    };
    command.arg(acks().map(Vec::len).sum::<usize>());
    for lease in acks().flatten() {
        command.arg(&lease_bytes(lease)[..]);
    }
    let extensions = || {
        steps.iter().filter_map(|step| {
            if let Step::Extend { leases, by, .. } = step { Some((leases, by)) } else { None }
        })
    };
    command.arg(extensions().map(|(leases, _)| leases.len()).sum::<usize>());
    for (leases, by) in extensions() {
        for lease in leases {
            command.arg(&lease_bytes(lease)[..]).arg(units_of(*by));
        }
    }
    let claims = || {
        steps.iter().filter_map(|step| {
            if let Step::Claim { max, lease, .. } = step { Some((max, lease)) } else { None }
        })
    };
    command.arg(claims().count());
    for (max, lease) in claims() {
        command.arg((*max).min(BATCH_JOBS)).arg(units_of(*lease));
    }
}

/// What tells the leases of one call from those of all others.
type CallToken = [u8; 8];

/// A lease's token is that of its call and the second half of its job's id; the script knows the first.
fn token(call: CallToken, id: Uuid) -> Uuid {
    Uuid::from_u64_pair(u64::from_be_bytes(call), id.as_u64_pair().1)
}

fn lease_bytes(lease: &Lease) -> [u8; 24] {
    let mut bytes = [0; 24];
    let (id, token) = bytes.split_at_mut(16);
    id.copy_from_slice(lease.id.as_uuid().as_bytes());
    token.copy_from_slice(&lease.token.as_u64_pair().0.to_be_bytes());
    bytes
}

/// What `step.lua` answers.
struct Taken {
    next: Option<Duration>,
    /// Places among the leases that were to be extended.
    lost: Vec<usize>,
    /// How many of the leases each claim has, and those of all claims.
    counts: vec::IntoIter<usize>,
    leases: vec::IntoIter<Lease>,
}

impl Taken {
    fn read(answer: Value, token: CallToken) -> Result<Self> {
        let parts = array(answer)?;
        let Ok([next, lost, counts, ids, records]) = <[Value; 5]>::try_from(parts) else {
            return Err(garbled());
        };
        let Value::Int(next) = next else { return Err(garbled()) };
        let jobs = array(ids)?.into_iter().zip(array(records)?);
        let leases: Result<Vec<_>> = jobs.map(|(id, record)| lease(&id, &record, token)).collect();
        Ok(Self {
            next: units(next),
            lost: numbers(lost)?,
            counts: numbers(counts)?.into_iter(),
            leases: leases?.into_iter(),
        })
    }

    /// Tells each caller its part; gives back the leases of those who have gone.
    fn tell(mut self, steps: Vec<Step>) -> Vec<Lease> {
        let mut extended = 0;
        let mut unheard = Vec::new();
        for step in steps {
            match step {
                // A caller that has gone meanwhile needs no answer.
                Step::Ack { caller, .. } => drop(caller.send(Ok(()))),
                Step::Extend { leases, caller, .. } => {
                    let numbered = leases.into_iter().zip(extended + 1..);
                    let mut lost = Vec::new();
                    for (lease, place) in numbered {
                        extended = place;
                        if self.lost.contains(&place) {
                            lost.push(lease);
                        }
                    }
                    drop(caller.send(Ok(lost)));
                }
                Step::Claim { caller, .. } => {
                    let count = self.counts.next().unwrap_or_default();
                    let leases = self.leases.by_ref().take(count).collect();
                    if let Err(Ok(claimed)) = caller.send(Ok(Claimed { leases, next: self.next })) {
                        unheard.extend(claimed.leases);
                    }
                }
            }
        }
        unheard
    }
}

fn lease(id: &Value, record: &Value, call: CallToken) -> Result<Lease> {
    let (Value::BulkString(id), Value::BulkString(record)) = (id, record) else { return Err(garbled()) };
    let id = Uuid::from_slice(id).map_err(|_| garbled())?;
    let attempt = record.get(14..18).and_then(|bytes| bytes.try_into().ok()).ok_or_else(garbled)?;
    Ok(Lease { id: id.into(), attempt: u32::from_be_bytes(attempt), token: token(call, id) })
}

fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(garbled()),
    }
}

fn numbers(value: Value) -> Result<Vec<usize>> {
    let number = |value| match value {
        Value::Int(number) => usize::try_from(number).map_err(|_| garbled()),
        _ => Err(garbled()),
    };
    array(value)?.into_iter().map(number).collect()
}

/// The same error for everybody whose request was in one call.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

/// What the scripts count time by.
const UNIT: Duration = Duration::from_micros(10);

/// Whole units that are over no sooner than `duration` is.
fn units_of(duration: Duration) -> u64 {
    u64::try_from(duration.min(NEVER).as_nanos().div_ceil(UNIT.as_nanos())).unwrap_or(u64::MAX)
}

/// As long as a script says; nothing where that is negative.
pub(crate) fn units(count: i64) -> Option<Duration> {
    u64::try_from(count).ok().map(|count| Duration::from_micros(count.saturating_mul(10)))
}
