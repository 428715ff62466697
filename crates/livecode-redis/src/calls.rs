//! What is asked of the scripts, and what they answer, in bytes.

use std::time::Duration;

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
                for push in &pushes {
                    command.arg(push.jobs.len());
                    for job in &push.jobs {
                        write_job(job, &mut bytes);
                        command.arg(&bytes);
                    }
                }
            })
            .await
            .and_then(places);
        for (place, push) in pushes.into_iter().enumerate() {
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

fn write_job(job: &Job, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend(job.id.as_uuid().as_bytes());
    bytes.extend(job.attempt.to_be_bytes());
    bytes.extend(micros(job.delay).to_be_bytes());
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
        let token = random();
        let (prefix, _) = token.as_bytes().split_at(12);
        let answer = scripts.call(Call::Step, |command| write_steps(&steps, prefix, command)).await;
        let unheard = match answer.and_then(Taken::read) {
            Ok(taken) => taken.tell(steps, prefix),
            Err(error) => {
                steps.into_iter().for_each(|step| step.fail(&error));
                return;
            }
        };
        if !unheard.is_empty() {
            // Nobody hears of these leases: another claim needn't wait for their end. Where that fails, it does.
            let steps = [Self::extension(unheard)];
            scripts.call(Call::Step, |command| write_steps(&steps, prefix, command)).await.ok();
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
fn write_steps(steps: &[Step], prefix: &[u8], command: &mut Cmd) {
    command.arg(prefix);
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
            command.arg(&lease_bytes(lease)[..]).arg(micros(*by));
        }
    }
    let claims = || {
        steps.iter().filter_map(|step| {
            if let Step::Claim { max, lease, .. } = step { Some((max, lease)) } else { None }
        })
    };
    command.arg(claims().count());
    for (max, lease) in claims() {
        command.arg((*max).min(BATCH_JOBS)).arg(micros(*lease));
    }
}

fn lease_bytes(lease: &Lease) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(lease.id.as_uuid().as_bytes());
    bytes[16..].copy_from_slice(lease.token.as_bytes());
    bytes
}

/// What `step.lua` answers.
struct Taken {
    next: Option<Duration>,
    /// Places among the leases that were to be extended.
    lost: Vec<usize>,
    /// For each claim.
    jobs: std::vec::IntoIter<Vec<u8>>,
}

impl Taken {
    fn read(answer: Value) -> Result<Self> {
        let Value::Array(parts) = answer else { return Err(garbled()) };
        let Ok([next, lost, jobs]) = <[Value; 3]>::try_from(parts) else { return Err(garbled()) };
        let (Value::Int(next), Value::Array(jobs)) = (next, jobs) else { return Err(garbled()) };
        let jobs: Result<Vec<_>> = jobs.into_iter().map(bytes).collect();
        Ok(Self {
            next: u64::try_from(next).ok().map(Duration::from_micros),
            lost: places(lost)?,
            jobs: jobs?.into_iter(),
        })
    }

    /// Tells each caller its part; gives back the leases of those who have gone.
    fn tell(mut self, steps: Vec<Step>, prefix: &[u8]) -> Vec<Lease> {
        let mut extended = 0;
        let mut number = 0;
        let mut unheard = Vec::new();
        for step in steps {
            match step {
                // A caller that has gone meanwhile needs no answer.
                Step::Ack { caller, .. } => drop(caller.send(Ok(()))),
                Step::Extend { leases, caller, .. } => {
                    let first = extended;
                    extended += leases.len();
                    let lost = leases
                        .into_iter()
                        .enumerate()
                        .filter(|(place, _)| self.lost.contains(&(first + place)));
                    drop(caller.send(Ok(lost.map(|(_, lease)| lease).collect())));
                }
                Step::Claim { caller, .. } => {
                    let jobs = self.jobs.next().unwrap_or_default();
                    let leases = jobs.chunks_exact(20).map(|job| {
                        number += 1;
                        lease(job, prefix, number)
                    });
                    let claimed = Claimed { leases: leases.collect(), next: self.next };
                    if let Err(Ok(claimed)) = caller.send(Ok(claimed)) {
                        unheard.extend(claimed.leases);
                    }
                }
            }
        }
        unheard
    }
}

/// Of an id and an attempt.
fn lease(job: &[u8], prefix: &[u8], number: u32) -> Lease {
    let (id, attempt) = job.split_at(16);
    let mut token = [0; 16];
    token[..12].copy_from_slice(prefix);
    token[12..].copy_from_slice(&number.to_be_bytes());
    Lease {
        id: Uuid::from_slice(id).unwrap_or_default().into(),
        attempt: attempt.iter().fold(0, |attempt, byte| attempt << 8 | u32::from(*byte)),
        token: Uuid::from_bytes(token),
    }
}

fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(garbled()),
    }
}

/// Places that a script counts from 1.
fn places(value: Value) -> Result<Vec<usize>> {
    let Value::Array(places) = value else { return Err(garbled()) };
    let place = |place| match place {
        Value::Int(place) => usize::try_from(place - 1).map_err(|_| garbled()),
        _ => Err(garbled()),
    };
    places.into_iter().map(place).collect()
}

/// The same error for everybody whose request was in one call.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "a token is no record's id")]
fn random() -> Uuid {
    Uuid::new_v4()
}

/// Whole microseconds that are over no sooner than `duration` is.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.min(NEVER).as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}
