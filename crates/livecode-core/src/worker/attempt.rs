//! One attempt: begin, run, settle, part with the lease.

use std::{convert::Infallible, future::pending, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::{
    join, select,
    sync::{OwnedSemaphorePermit, mpsc},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{
    Shift,
    backoff::{Backoff, jittered},
    leases::{Held, Parting},
    output,
    tries::Tries,
};
use crate::{
    Change, Error, ErrorKind, ErrorType, EventKind, Execution, ExecutionSpec, Follow, Input, Job, Lease,
    Outcome, Output, Result, Seq, State, Termination, Timestamp, metrics,
};

/// How many chunks of output may wait for the store before the program's writes wait.
const OUTPUT_CHUNKS: usize = 16;

/// How many pieces of input may wait for the program before no more are read from the store.
const INPUT_CHUNKS: usize = 4;

/// How long a program runs before anybody looks whether its end is asked for: short ones pay nothing for it.
const FOLLOW_AFTER: Duration = Duration::from_millis(20);

/// The pause before another attempt after a failure of ours: random, up to this, doubled with every further failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest pause before another attempt.
const RETRY_CAP: Duration = Duration::from_secs(5 * 60);

/// What came of an attempt.
#[derive(Debug)]
enum Verdict {
    /// The program came to an end.
    Ended(Outcome),
    /// We failed to run it.
    Failed(Error),
    /// Its worker has died, or has lost its lease.
    Lost,
    /// A shutdown stopped it.
    GivenBack,
}

impl Verdict {
    /// A failure that other programs may meet as well.
    fn failure_of_all(self) -> Option<Error> {
        match self {
            Self::Failed(error) => {
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal).then_some(error)
            }
            Self::Ended(_) | Self::Lost | Self::GivenBack => None,
        }
    }
}

/// The job for the attempt that `execution` waits for, or is at.
pub(super) fn job(execution: &Execution, now: Timestamp) -> Job {
    Job {
        id: execution.id,
        attempt: execution.attempt,
        owner: execution.owner.clone(),
        delay: match execution.state {
            State::Queued => execution.run_after.duration_since(now),
            State::Running | State::Completed | State::Failed | State::TimedOut | State::Cancelled => {
                Duration::ZERO
            }
        },
        priority: execution.priority,
    }
}

impl Shift {
    /// Makes the attempt that `held` gives the right to. Gives back why the sandbox failed, where that may not be this
    /// program's matter alone.
    pub(super) async fn attempt(
        self: Arc<Self>,
        held: Held,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Option<Error> {
        // Only what was asked says which request it comes from, and a span's parent is known when it begins.
        let claimed =
            tracing::info_span!("claimed", execution = %held.lease.id, attempt = held.lease.attempt);
        let begun = async {
            let company = self.company(&held).await?;
            Ok((self.begin(&held).await?, company))
        };
        match begun.instrument(claimed.clone()).await {
            Ok(((execution, spec, started), _company)) => {
                let span = self.span(&execution, spec.as_ref().ok());
                self.carry_out(held, slot, execution, spec, started).instrument(span).await
            }
            Err(parting) => {
                self.leave(held, slot, parting, false).instrument(claimed).await;
                None
            }
        }
    }

    /// The span of an attempt that has begun.
    fn span(&self, execution: &Execution, spec: Option<&ExecutionSpec>) -> Span {
        let trace = spec.map(|spec| &spec.trace);
        let span = tracing::info_span!(
            parent: None,
            "attempt",
            execution = %execution.id,
            attempt = execution.attempt,
            language = execution.language,
            request_id = trace.and_then(|trace| trace.request_id.as_deref()),
        );
        if let (Some(join), Some(trace)) = (&self.worker.join_traces, trace) {
            join.0(&span, trace);
        }
        span
    }

    /// From its start in the record to the end of its lease.
    async fn carry_out(
        &self,
        held: Held,
        slot: Option<OwnedSemaphorePermit>,
        execution: Execution,
        spec: Result<ExecutionSpec>,
        started: Seq,
    ) -> Option<Error> {
        metrics::started(&execution);
        let readable = spec.is_ok();
        let (verdict, output) = match spec {
            Ok(spec) => self.run(&held, &execution, &spec, started).await,
            Err(error) => (Verdict::Failed(error), Vec::new()),
        };
        if let Verdict::Failed(error) = &verdict {
            // The record, which clients read, has the message without its source.
            tracing::warn!(%error, "an attempt failed");
        }
        let parting = self.settle(execution, &verdict, &output).await;
        let failed = verdict.failure_of_all().filter(|_| readable);
        self.leave(held, slot, parting, failed.is_some()).await;
        failed
    }

    async fn leave(&self, held: Held, slot: Option<OwnedSemaphorePermit>, parting: Parting, failed: bool) {
        // While an end is acknowledged the next program is claimed: queues make one trip of the two. Where the sandbox failed, what
        // that means for others comes first.
        let _slot = slot.filter(|_| failed || !matches!(parting, Parting::Done));
        self.part(held, parting).await;
    }

    /// Records the start. Gives back the record, what was asked and the place of its event, or how to part where there is
    /// nothing to run. What was asked may be unreadable for good: the attempt begins all the same, so that it can fail.
    async fn begin(&self, held: &Held) -> Result<(Execution, Result<ExecutionSpec>, Seq), Parting> {
        let mut tries = Tries::default();
        let mut intended = None;
        loop {
            let (store, id) = (&self.worker.store, held.lease.id);
            let failed = match join!(store.get(id), store.spec(id)) {
                (Err(error), _) => error,
                (Ok(_), Err(error)) if error.is_temporary() || error.kind() == ErrorKind::NotFound => error,
                (Ok(mut execution), spec) => {
                    // A start whose answer was lost may be another's that looks the same. It's given back: the attempt after it is
                    // nobody's yet.
                    let is_unsure =
                        execution.state == State::Running && intended.as_ref() == Some(&execution);
                    let change = if is_unsure {
                        Some(self.verdict_change(&execution, &Verdict::GivenBack))
                    } else {
                        self.next_change(&held.lease, &execution)
                    };
                    let Some(change) = change else {
                        return Err(self.parting(&execution));
                    };
                    if change == Change::Start && self.shutdown.is_cancelled() {
                        return Err(Parting::Release);
                    }
                    match self.write(&mut execution, change, &[], self.worker.clock.now()).await {
                        Ok(seq) if execution.state == State::Running => return Ok((execution, spec, seq)),
                        // What a lost worker left, or this one's doubt, is in order: look what there is to do now.
                        Ok(_) => {
                            if !is_unsure {
                                metrics::lost();
                            }
                            continue;
                        }
                        Err(error) => {
                            // On a conflict nothing took effect: what looks the same is another's.
                            intended = (error.kind() != ErrorKind::Conflict).then_some(execution);
                            error
                        }
                    }
                }
            };
            if held.stop.is_cancelled() || !tries.again(&failed, &self.shutdown).await {
                tracing::debug!(error = %failed, "an attempt can't begin");
                return Err(match failed.kind() {
                    // Whoever removed the record wants nothing of it.
                    ErrorKind::NotFound => Parting::Done,
                    ErrorKind::Unavailable | ErrorKind::QueueFull | ErrorKind::RateLimited => {
                        Parting::Release
                    }
                    ErrorKind::InvalidArgument
                    | ErrorKind::Conflict
                    | ErrorKind::PreconditionFailed
                    | ErrorKind::Unsupported
                    | ErrorKind::Internal => Parting::Lapse,
                });
            }
        }
    }

    /// What a holder of `lease` has to do with the execution; none where that's nothing.
    ///
    /// That [`Execution::run_after`] is ahead is no reason to wait: the queue has kept the delay in its own time, and the
    /// clocks of two machines differ.
    fn next_change(&self, lease: &Lease, execution: &Execution) -> Option<Change> {
        match execution.state {
            // A higher attempt than the job's: the push of that one was lost, or is under way.
            State::Queued | State::Running if execution.attempt > lease.attempt => None,
            State::Queued => Some(Change::Start),
            // Whoever started it would still hold the lease if it were alive.
            State::Running => Some(self.verdict_change(execution, &Verdict::Lost)),
            State::Completed | State::Failed | State::TimedOut | State::Cancelled => None,
        }
    }

    /// Runs the program. Gives back what came of it, and the output that isn't in the store yet.
    async fn run(
        &self,
        held: &Held,
        execution: &Execution,
        spec: &ExecutionSpec,
        started: Seq,
    ) -> (Verdict, Vec<Output>) {
        let cancel = held.stop.child_token();
        let (sender, receiver) = mpsc::channel(OUTPUT_CHUNKS);
        let (inputs, input) =
            if spec.stdin_open { Some(mpsc::channel(INPUT_CHUNKS)).unzip() } else { (None, None) };
        let program = async {
            let name = format!("{}-{}", execution.id, execution.attempt);
            let runner = self.worker.runner.clone().owner(execution.owner.clone()).name(name);
            let run = async {
                match input {
                    Some(input) => runner.interact_accepted(spec, input, sender, &cancel).await,
                    None => runner.stream_accepted(spec, sender, &cancel).await,
                }
            };
            AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
                Err(Error::internal("the sandbox panicked: the log of the worker says where"))
            })
        };
        let output = async {
            let recorded = output::record(&*self.worker.store, execution, receiver, &held.stop).await;
            match recorded.as_ref().map_err(Error::kind) {
                Ok(_) => {}
                Err(ErrorKind::Conflict | ErrorKind::NotFound) => held.stop.cancel(),
                Err(_) => cancel.cancel(),
            }
            recorded
        };
        let (ran, recorded) = select! {
            // The program first: one that has ended needs no timer.
            biased;
            both = async { join!(program, output) } => both,
            never = self.watch(held, execution, started, &cancel) => match never {},
            never = self.feed(execution, inputs) => match never {},
        };
        let given_back = self.give_back.is_cancelled();
        let lost = held.stop.is_cancelled() && !given_back;
        match (ran, recorded) {
            // It came to its end by itself: where somebody else has started it anew, the record refuses this one.
            (Ok(outcome), Ok(rest)) if outcome.termination != Termination::Cancelled => {
                (Verdict::Ended(outcome), rest)
            }
            (_, _) if lost => (Verdict::Lost, Vec::new()),
            (Ok(_), Ok(rest)) if given_back => (Verdict::GivenBack, rest),
            (Ok(outcome), Ok(rest)) => (Verdict::Ended(outcome), rest),
            (_, rest) if given_back => (Verdict::GivenBack, rest.unwrap_or_default()),
            (Err(error), rest) => (Verdict::Failed(error), rest.unwrap_or_default()),
            (Ok(_), Err(error)) => (Verdict::Failed(error), Vec::new()),
        }
    }

    /// Fires `cancel` when somebody asks for the end, and the lease's token when the attempt isn't ours any more.
    async fn watch(
        &self,
        held: &Held,
        execution: &Execution,
        started: Seq,
        cancel: &CancellationToken,
    ) -> Infallible {
        sleep(FOLLOW_AFTER).await;
        let mut backoff = Backoff::default();
        loop {
            let mut events = self.worker.store.events(execution.id, started, Follow::Status);
            while let Some(event) = events.next().await {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        tracing::debug!(%error, "the record can't be followed, trying again");
                        break;
                    }
                };
                backoff.reset();
                match event.kind {
                    EventKind::Status { attempt, cancel_requested, .. } if attempt <= execution.attempt => {
                        if cancel_requested {
                            cancel.cancel();
                        }
                    }
                    EventKind::Status { .. } | EventKind::End(_) => held.stop.cancel(),
                    EventKind::Output { .. } => {}
                }
            }
            sleep(backoff.next()).await;
        }
    }

    /// Sends the program what is sent to the execution, all of it from the start. Ends with the program, by being dropped.
    async fn feed(&self, execution: &Execution, inputs: Option<mpsc::Sender<Bytes>>) -> Infallible {
        if let Some(inputs) = inputs {
            let mut backoff = Backoff::default();
            let mut seen = Seq::START;
            'program: loop {
                let mut pieces = self.worker.store.inputs(execution.id, seen);
                loop {
                    match pieces.next().await {
                        Some(Ok(Input { seq, bytes: Some(bytes) })) => {
                            backoff.reset();
                            seen = seq;
                            if inputs.send(bytes).await.is_err() {
                                // It doesn't want any more.
                                break 'program;
                            }
                        }
                        Some(Ok(Input { bytes: None, .. })) | None => break 'program,
                        Some(Err(error)) => {
                            tracing::debug!(%error, "input can't be read, trying again");
                            break;
                        }
                    }
                }
                drop(pieces);
                sleep(backoff.next()).await;
            }
        }
        pending().await
    }

    /// Records what came of the attempt, unless the record has moved on. A store that is away is waited for, whether the
    /// lease lasts or not: the record alone decides, and a shutdown ends the wait by dropping this.
    async fn settle(&self, mut execution: Execution, verdict: &Verdict, output: &[Output]) -> Parting {
        let never = CancellationToken::new();
        let at = self.worker.clock.now();
        let attempt = execution.attempt;
        let mut tries = Tries::default();
        loop {
            let mut next = execution.clone();
            let change = self.verdict_change(&execution, verdict);
            let failed = match self.write(&mut next, change, output, at).await {
                Ok(_) => return self.parting(&next),
                Err(error) => error,
            };
            if !tries.again(&failed, &never).await {
                tracing::info!(error = %failed, "what came of an attempt is discarded");
                return Parting::Lapse;
            }
            match self.worker.store.get(execution.id).await {
                // Only who started it is at this attempt.
                Ok(current) if current.state == State::Running && current.attempt == attempt => {
                    execution = current;
                }
                // What we wrote took effect although it failed; or somebody else was first, and it stands.
                Ok(current) => return self.parting(&current),
                Err(error) if tries.again(&error, &never).await => {}
                Err(error) => {
                    tracing::info!(%error, "what came of an attempt is discarded");
                    return Parting::Lapse;
                }
            }
        }
    }

    /// What a verdict means for the record as it is.
    fn verdict_change(&self, execution: &Execution, verdict: &Verdict) -> Change {
        let now = self.worker.clock.now();
        let (failure, pause, hopeless) = match verdict {
            Verdict::Ended(outcome) => return Change::Finish(outcome.clone()),
            // Nobody wants it to be run again.
            Verdict::Failed(_) | Verdict::Lost | Verdict::GivenBack
                if execution.cancel_requested_at.is_some() =>
            {
                return Change::Cancel;
            }
            Verdict::GivenBack => {
                return Change::Requeue { run_after: now, failure: None };
            }
            Verdict::Lost => {
                let failure = format!("the worker of attempt {} was lost", execution.attempt);
                (failure, Duration::ZERO, false)
            }
            Verdict::Failed(error) => (
                error.message().to_owned(),
                jittered(execution.failures, RETRY_FIRST, RETRY_CAP),
                // A program that a machine can't run may be another's: in a mixed fleet only the request itself is hopeless.
                error.kind() == ErrorKind::InvalidArgument,
            ),
        };
        if hopeless || execution.failures + 1 >= self.worker.max_attempts {
            return Change::Fail { failure };
        }
        Change::Requeue { run_after: now.saturating_add(pause), failure: Some(failure) }
    }

    /// Makes `change` in the record and in the store.
    async fn write(
        &self,
        execution: &mut Execution,
        change: Change,
        output: &[Output],
        at: Timestamp,
    ) -> Result<Seq> {
        let attempt = execution.attempt;
        let is_failure = matches!(change, Change::Requeue { failure: Some(_), .. });
        execution.apply(change, at)?;
        // What an attempt that is made anew has written is void; it would count as the new one's.
        let output = if execution.attempt == attempt { output } else { &[] };
        let seq = self.worker.store.update(execution, output).await?;
        tell(execution, is_failure);
        Ok(seq)
    }

    /// How to part with the lease of an execution that stands there.
    fn parting(&self, execution: &Execution) -> Parting {
        match execution.state {
            State::Queued => Parting::Again(job(execution, self.worker.clock.now())),
            // Somebody else's attempt, and lease.
            State::Running => Parting::Lapse,
            State::Completed | State::Failed | State::TimedOut | State::Cancelled => Parting::Done,
        }
    }

    async fn part(&self, held: Held, parting: Parting) {
        let lease = held.lease.clone();
        // From here on the heartbeat has nothing to say about it.
        drop(held);
        let parted = match parting {
            Parting::Done => self.worker.queue.ack(&[lease]).await,
            Parting::Again(job) => self.worker.queue.push(&[job]).await,
            Parting::Release => self.leases.release(&*self.worker.queue, lease).await,
            Parting::Lapse => Ok(()),
        };
        if let Err(error) = parted {
            // The record is right: the job comes back when its lease has lapsed, or by a sweep.
            tracing::debug!(%error, "the queue was not told of an attempt's end");
        }
    }
}

/// Logs and counts what a change has made of an execution.
fn tell(execution: &Execution, is_failure: bool) {
    let (failures, failure) = (execution.failures, execution.failure.as_deref());
    match execution.state {
        State::Queued => {
            metrics::retried(is_failure);
            tracing::info!(failures, failure, "queued again");
        }
        State::Running => tracing::debug!("started"),
        State::Completed | State::Failed | State::TimedOut | State::Cancelled => {
            metrics::ended(execution);
            let error_type = execution.error_type().map(ErrorType::as_str);
            let usage = execution.outcome.as_ref().map(|outcome| outcome.usage);
            let wall_ms = usage.map(|usage| usage.wall_time.as_micros() as f64 / 1e3);
            if execution.state == State::Failed && usage.is_none() {
                tracing::info!(failures, failure, "given up");
            } else {
                tracing::info!(status = %execution.state, error_type, wall_ms, "ended");
            }
        }
    }
}
