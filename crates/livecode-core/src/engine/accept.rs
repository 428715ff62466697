//! Accepting executions: the idempotency key first, then the checks, the room in the queue and the quota.

use std::{sync::PoisonError, time::Duration};

use tokio::time::Instant;

use super::{Edit, Engine};
use crate::{
    Error, ErrorKind, Execution, ExecutionSpec, Inserted, Job, LimitRequest, Owner, Result, SessionId,
    metrics,
};

/// How long a look at the queue's length is good for; and where it was less than half full, with what we have added to it.
const LOOK_AGE: Duration = Duration::from_millis(100);
const ROOMY_AGE: Duration = Duration::from_secs(2);

/// The longest idempotency key in bytes.
const MAX_KEY: usize = 255;

/// The longest delay. What is delayed counts as queued, so one may not keep its place for weeks.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How an execution is queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Two requests of one owner and session with one key make one execution: 1 to 255 bytes without control characters.
    pub idempotency_key: Option<String>,
    /// Not to be started earlier than this from now; at most 24 hours. It counts towards [`Engine::max_queued`] meanwhile.
    pub delay: Duration,
    /// Higher is served first.
    pub priority: i16,
}

/// An execution that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Its record.
    pub execution: Execution,
    /// Whether this request made it; otherwise an earlier one with the same idempotency key did.
    pub new: bool,
}

/// Which parts of the source a request brought itself; the rest is its session's.
#[derive(Clone, Copy)]
struct Brought {
    language: bool,
    source_code: bool,
    files: bool,
}

impl Engine {
    /// Queues a session's source. `edit` is saved first, where it says anything. `adjust` sees the program with that source
    /// and adds arguments, input, environment and limits; it leaves language, source and files alone.
    ///
    /// A request whose idempotency key was used before changes nothing and gives back that execution, whatever became of
    /// the session since: nothing is saved, and neither a closed session nor a full queue refuses it. What it leaves to
    /// the session or to the host's defaults means what it meant the first time.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::save`] and [`Engine::run`]; [`Conflict`](ErrorKind::Conflict) on a closed session. Where a full queue or
    /// [a quota](Engine::with_quota) refuses the run, what `edit` says stays saved, as by an autosave.
    pub async fn run_session(
        &self,
        id: SessionId,
        edit: Edit,
        adjust: impl FnOnce(&mut ExecutionSpec),
        options: RunOptions,
    ) -> Result<Accepted> {
        let brought = Brought {
            language: edit.language.is_some(),
            source_code: edit.source_code.is_some(),
            files: edit.files.is_some(),
        };
        let session = self.session(id).await?;
        if let Some(earlier) = self.by_key(&session.owner, Some(id), &options).await? {
            let accepted = self.parts.store.spec(earlier.id).await?;
            let mut asked = ExecutionSpec::new(
                edit.language.unwrap_or_else(|| accepted.language.clone()),
                edit.source_code.unwrap_or_else(|| accepted.source_code.clone()),
            );
            asked.files = edit.files.unwrap_or_else(|| accepted.files.clone());
            adjust(&mut asked);
            return self.repeated(earlier, &accepted, &asked, brought);
        }
        let session = if edit == Edit::default() { session } else { self.save(id, edit).await? };
        session.require_active("run")?;
        let mut spec = ExecutionSpec::new(session.source.language, session.source.source_code);
        spec.files = session.source.files;
        adjust(&mut spec);
        self.accept(spec, options, brought, |execution| {
            execution.owner = session.owner;
            execution.session_id = Some(id);
            execution.revision = Some(session.revision);
        })
        .await
    }

    /// Queues a program that belongs to no session. With an idempotency key that was used before: gives back that execution,
    /// even where the queue is full or the host's limits are others by now.
    ///
    /// # Errors
    ///
    /// Those of [`ExecutionSpec::complete`]; [`InvalidArgument`](ErrorKind::InvalidArgument) for a key or a delay that
    /// can't be; [`Conflict`](ErrorKind::Conflict) where the key was used for a different program;
    /// [`QueueFull`](ErrorKind::QueueFull); [`RateLimited`](ErrorKind::RateLimited) in a view [with a quota](Engine::with_quota). Once this returns `Ok` the execution will reach its end.
    pub async fn run(&self, spec: ExecutionSpec, options: RunOptions) -> Result<Accepted> {
        let brought = Brought { language: true, source_code: true, files: true };
        let owner = self.owner.clone().unwrap_or_else(Owner::anonymous);
        if let Some(earlier) = self.by_key(&owner, None, &options).await? {
            let accepted = self.parts.store.spec(earlier.id).await?;
            return self.repeated(earlier, &accepted, &spec, brought);
        }
        self.accept(spec, options, brought, |execution| execution.owner = owner).await
    }

    /// The execution that the options' key was used for.
    async fn by_key(
        &self,
        owner: &Owner,
        session: Option<SessionId>,
        options: &RunOptions,
    ) -> Result<Option<Execution>> {
        let Some(key) = &options.idempotency_key else {
            return Ok(None);
        };
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "an idempotency key has 1 to {MAX_KEY} bytes and no control characters"
            )));
        }
        self.parts.store.by_key(owner, session, key).await
    }

    /// What a request gets whose key was used for `earlier`, of which `accepted` was asked.
    fn repeated(
        &self,
        earlier: Execution,
        accepted: &ExecutionSpec,
        asked: &ExecutionSpec,
        brought: Brought,
    ) -> Result<Accepted> {
        // What was accepted has the language by its canonical name.
        let language = self.parts.languages.get(&asked.language).map_or(&asked.language, |known| &known.name);
        let is_same = (!brought.language || accepted.language == *language)
            && (!brought.source_code || accepted.source_code == asked.source_code)
            && (!brought.files || accepted.files == asked.files)
            && (&accepted.stdin, accepted.stdin_open) == (&asked.stdin, asked.stdin_open)
            && (&accepted.args, &accepted.env) == (&asked.args, &asked.env)
            && (&accepted.grading, &accepted.callback_url) == (&asked.grading, &asked.callback_url)
            && fits(&asked.limits, &accepted.limits)
            && fits(&asked.compile_limits, &accepted.compile_limits);
        if !is_same {
            return Err(Error::conflict(format!(
                "the idempotency key was used for a different program, execution {}: take a new key",
                earlier.id
            )));
        }
        Ok(Accepted { execution: earlier, new: false })
    }

    async fn accept(
        &self,
        mut spec: ExecutionSpec,
        options: RunOptions,
        brought: Brought,
        place: impl FnOnce(&mut Execution),
    ) -> Result<Accepted> {
        if options.delay > MAX_DELAY {
            return Err(Error::invalid("the delay is longer than 24 hours: send the request later"));
        }
        let asked = (spec.limits, spec.compile_limits);
        spec = spec.complete(&self.parts.languages, &self.ceiling)?;
        self.require_room().await?;
        let mut execution = Execution::new(Owner::anonymous(), spec.language.clone(), self.parts.clock.now());
        execution.idempotency_key = options.idempotency_key;
        execution.priority = options.priority;
        execution.run_after = execution.created_at.saturating_add(options.delay);
        place(&mut execution);
        let door = self.admit(&execution).await?;
        let inserted = self.parts.store.insert(&execution, &spec).await?;
        drop(door);
        if let Inserted::Existing(earlier) = inserted {
            // Another request with this key came between the look and this.
            let accepted = self.parts.store.spec(earlier.id).await?;
            (spec.limits, spec.compile_limits) = asked;
            return self.repeated(*earlier, &accepted, &spec, brought);
        }
        metrics::accepted(&execution);
        if self.parts.store.is_queue() {
            return Ok(Accepted { execution, new: true });
        }
        let job = Job {
            id: execution.id,
            attempt: execution.attempt,
            owner: execution.owner.clone(),
            delay: execution.run_after.duration_since(execution.created_at),
            priority: execution.priority,
        };
        if let Err(error) = self.parts.queue.push(&[job]).await {
            // It's accepted all the same: it's in the store, and a worker's sweep pushes it.
            tracing::warn!(execution = %execution.id, %error, "a job could not be pushed, the sweep will");
        }
        Ok(Accepted { execution, new: true })
    }

    async fn require_room(&self) -> Result<()> {
        let Some(max) = self.parts.max_queued else {
            return Ok(());
        };
        let seen = || self.parts.look.lock().unwrap_or_else(PoisonError::into_inner);
        let good = seen().filter(|look| look.is_good(max));
        let look = match good {
            Some(look) => look,
            None => match self.parts.queue.stats().await {
                Ok(stats) => Look { at: Instant::now(), queued: stats.waiting + stats.delayed, accepted: 0 },
                // A queue that doesn't answer refuses nothing: what the store accepts, the sweep pushes.
                Err(_) => return Ok(()),
            },
        };
        *seen() = Some(Look { accepted: look.accepted + 1, ..look });
        if look.queued >= max {
            return Err(Error::new(
                ErrorKind::QueueFull,
                format!("{} executions are queued, at most {max} may be: try again later", look.queued),
            ));
        }
        Ok(())
    }
}

/// What was seen of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    at: Instant,
    queued: u64,
    /// How many have been asked for since.
    accepted: u64,
}

impl Look {
    /// Whether there's no need to look again for one more.
    fn is_good(&self, max: u64) -> bool {
        let age = self.at.elapsed();
        let is_roomy = self.queued.saturating_add(self.accepted) < max / 2;
        age < LOOK_AGE || is_roomy && age < ROOMY_AGE
    }
}

/// Whether all that was asked for is in what was accepted. What wasn't asked for was the host's default of that time.
fn fits(asked: &LimitRequest, accepted: &LimitRequest) -> bool {
    asked.or(accepted) == *accepted
}
