//! What a service calls where requests come in: sessions, run, wait, follow, cancel. Does nothing in the background.

mod accept;
mod deliveries;
mod quota;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub use self::accept::{Accepted, RunOptions};
use self::{accept::Look, quota::Doors};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};

use crate::{
    Captured, Ceiling, Change, Clock, Error, ErrorKind, Event, EventKind, Execution, ExecutionId,
    ExecutionSpec, Follow, Languages, ListQuery, Owner, PageStart, PruneQuery, Queue, QueueStats, Quota,
    Result, Revision, RevisionHead, Seq, Session, SessionId, SessionRevision, Source, SourceFile, State,
    Store, SystemClock, metrics,
};

/// How often a change is tried anew when somebody else changed the same record first.
const CONTENDED_TRIES: usize = 32;

/// How many executions are looked at, and deleted, at a time: some milliseconds' work.
const PRUNE_BATCH: usize = 50;

/// Sessions and executions over a [`Store`] and a [`Queue`].
///
/// Cheap to clone. [`Engine::for_owner`] gives a view through which another owner's records don't exist; without it all
/// can be seen, and what is made belongs to [`Owner::anonymous`].
///
/// ```
/// use livecode_core::*;
/// use std::{sync::Arc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let engine = Engine::new(Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
/// let alice = engine.for_owner(Owner::new("alice")?);
///
/// let session = alice.create_session(Edit::default()).await?;
/// let run = alice.run_session(session.id, Edit::default(), |spec| spec.args.clear(), RunOptions::default()).await?;
/// assert_eq!(run.execution.state, State::Queued);
///
/// let bob = engine.for_owner(Owner::new("bob")?);
/// assert_eq!(bob.execution(run.execution.id).await.unwrap_err().kind(), ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    parts: Arc<Parts>,
    owner: Option<Owner>,
    /// Whether others' records exist all the same.
    sees_all: bool,
    ceiling: Ceiling,
    /// What may be run through this view, and by whom where it has no owner.
    quota: Quota,
    caller: Arc<str>,
}

#[derive(Clone, Debug)]
struct Parts {
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    clock: Arc<dyn Clock>,
    languages: Languages,
    max_queued: Option<u64>,
    look: Arc<Mutex<Option<Look>>>,
    doors: Arc<Doors>,
}

/// A change to a session's source: what is absent stays as it is, in a new session as the language has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// The name of a language or an alias; a new session's default is `python`.
    pub language: Option<String>,
    /// The entry file; a new session's default is the language's template.
    pub source_code: Option<String>,
    /// All the files beside it.
    pub files: Option<Vec<SourceFile>>,
    /// Only where this is still the current revision.
    pub if_revision: Option<Revision>,
}

impl Engine {
    /// With the built-in languages, the default ceiling, the system's clock and no bound on the queue.
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Queue>) -> Self {
        Self {
            parts: Arc::new(Parts {
                store,
                queue,
                clock: Arc::new(SystemClock),
                languages: Languages::builtin(),
                max_queued: None,
                look: Arc::default(),
                doors: Arc::default(),
            }),
            owner: None,
            sees_all: true,
            ceiling: Ceiling::default(),
            quota: Quota::default(),
            caller: Arc::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(Arc::make_mut(&mut self.parts));
        self
    }

    /// The same with these languages.
    #[must_use]
    pub fn languages(self, languages: Languages) -> Self {
        self.with(|parts| parts.languages = languages)
    }

    /// The same with this ceiling, which is the default of every limit as well.
    #[must_use]
    pub fn ceiling(self, ceiling: Ceiling) -> Self {
        Self { ceiling, ..self }
    }

    /// The same with this clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        self.with(|parts| parts.clock = clock)
    }

    /// The same, refusing runs with `QueueFull` while so many jobs wait, delayed ones included. The count is up to 100 ms old, of
    /// a queue that is less than half full 2 s: a burst may go over it.
    #[must_use]
    pub fn max_queued(self, jobs: u64) -> Self {
        self.with(|parts| parts.max_queued = Some(jobs))
    }

    /// A view through which only `owner`'s records exist, and what is made is `owner`'s.
    #[must_use]
    pub fn for_owner(&self, owner: Owner) -> Self {
        Self { owner: Some(owner), sees_all: false, ..self.clone() }
    }

    /// A view through which all records exist, and what is made is `owner`'s; what is run in another's session is that one's.
    ///
    /// ```
    /// # use livecode_core::*;
    /// # use std::sync::Arc;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let engine = Engine::new(Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    /// let session = engine.for_owner(Owner::new("alice")?).create_session(Edit::default()).await?;
    /// let admin = engine.for_admin(Owner::new("root")?);
    /// assert_eq!(admin.session(session.id).await?.owner, Owner::new("alice")?);
    /// assert_eq!(admin.create_session(Edit::default()).await?.owner, Owner::new("root")?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn for_admin(&self, owner: Owner) -> Self {
        Self { owner: Some(owner), sees_all: true, ..self.clone() }
    }

    /// The languages that requests may name.
    pub fn known_languages(&self) -> &Languages {
        &self.parts.languages
    }

    /// The most that requests may ask for.
    pub fn limits(&self) -> &Ceiling {
        &self.ceiling
    }

    /// Makes a session. [`Edit::if_revision`] has no meaning here.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for an unknown language, an oversized source, a path that can't be.
    pub async fn create_session(&self, edit: Edit) -> Result<Session> {
        let language = self.parts.languages.get(edit.language.as_deref().unwrap_or("python"))?;
        let empty = Source {
            language: language.name.clone(),
            source_code: language.template.clone(),
            files: Vec::new(),
        };
        let source = self.edited(&empty, edit)?;
        let session =
            Session::new(self.owner.clone().unwrap_or_else(Owner::anonymous), source, self.parts.clock.now());
        self.parts.store.insert_session(&session).await?;
        Ok(session)
    }

    /// The session with its source.
    pub async fn session(&self, id: SessionId) -> Result<Session> {
        let session = self.parts.store.session(id).await?;
        self.require_owner(&session.owner, || format!("session {id}"))?;
        Ok(session)
    }

    /// Autosaves: puts `edit` in as a new revision, unless nothing differs. Never executes. The last of concurrent saves
    /// wins, unless they insist on a revision.
    ///
    /// # Errors
    ///
    /// As [`Engine::create_session`]; [`Conflict`](ErrorKind::Conflict) on a closed session;
    /// [`PreconditionFailed`](ErrorKind::PreconditionFailed) where [`Edit::if_revision`] isn't the current one.
    pub async fn save(&self, id: SessionId, edit: Edit) -> Result<Session> {
        self.change_session(id, |session| {
            if let Some(expected) = edit.if_revision.filter(|expected| *expected != session.revision) {
                return Err(Error::new(
                    ErrorKind::PreconditionFailed,
                    format!(
                        "session {id} is at revision {}, not at {expected}: read it and save again",
                        session.revision
                    ),
                ));
            }
            let source = self.edited(&session.source, edit.clone())?;
            session.save(source, self.parts.clock.now())
        })
        .await
    }

    /// Closes a session: it and its history stay readable. Again: the same answer.
    pub async fn close_session(&self, id: SessionId) -> Result<Session> {
        self.change_session(id, |session| Ok(session.close(self.parts.clock.now()))).await
    }

    /// Makes `change`, which says whether it made any, on the session as it is, as often as others change it meanwhile.
    async fn change_session(
        &self,
        id: SessionId,
        change: impl Fn(&mut Session) -> Result<bool>,
    ) -> Result<Session> {
        for _ in 0..CONTENDED_TRIES {
            let mut session = self.session(id).await?;
            if !change(&mut session)? {
                return Ok(session);
            }
            match self.parts.store.update_session(&session).await {
                Ok(()) => return Ok(session),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(contended("session", id))
    }

    /// The autosave history, newest first: revisions below `before`, at most `limit`.
    pub async fn revisions(
        &self,
        id: SessionId,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<RevisionHead>> {
        self.session(id).await?;
        self.parts.store.revisions(id, before, limit).await
    }

    /// One entry of the autosave history with its source.
    pub async fn revision(&self, id: SessionId, revision: Revision) -> Result<SessionRevision> {
        self.session(id).await?;
        self.parts.store.revision(id, revision).await
    }

    /// The record.
    pub async fn execution(&self, id: ExecutionId) -> Result<Execution> {
        let execution = self.parts.store.get(id).await?;
        self.require_owner(&execution.owner, || format!("execution {id}"))?;
        Ok(execution)
    }

    /// What the program has written so far, of the latest attempt.
    pub async fn output(&self, id: ExecutionId) -> Result<Captured> {
        self.output_of(&self.execution(id).await?).await
    }

    /// The same of an execution that the caller has been shown: whose it is isn't asked again.
    pub async fn output_of(&self, execution: &Execution) -> Result<Captured> {
        // Its attempt hasn't begun.
        if execution.state == State::Queued {
            return Ok(Captured::default());
        }
        self.parts.store.output(execution.id).await
    }

    /// A session's executions, newest first: those accepted before `before`, at most `limit`.
    pub async fn history(
        &self,
        id: SessionId,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<Execution>> {
        self.session(id).await?;
        let query =
            ListQuery { session: Some(id), page: PageStart::Before(before), limit, ..ListQuery::default() };
        self.parts.store.list(&query).await
    }

    /// The record, as soon as it has ended or when `timeout` is up, whichever is first.
    pub async fn wait(&self, id: ExecutionId, timeout: Duration) -> Result<Execution> {
        let execution = self.execution(id).await?;
        if execution.state.is_terminal() || timeout.is_zero() {
            return Ok(execution);
        }
        let end = async {
            let mut events = self.parts.store.events(id, Seq::START, Follow::End);
            while let Some(event) = events.next().await {
                if let EventKind::End(execution) = event?.kind {
                    return Ok(*execution);
                }
            }
            Err(Error::internal(format!("the events of execution {id} ended before it did")))
        };
        match tokio::time::timeout(timeout, end).await {
            Ok(execution) => execution,
            Err(_) => self.execution(id).await,
        }
    }

    /// The log after `after`, and what comes, until the end: see [`Store::events`].
    pub async fn events(&self, id: ExecutionId, after: Seq) -> Result<BoxStream<'static, Result<Event>>> {
        self.execution(id).await?;
        Ok(self.parts.store.events(id, after, Follow::Everything))
    }

    /// Sends a piece to the standard input of an execution that was accepted with [`stdin_open`](ExecutionSpec::stdin_open). It's
    /// kept until the program reads it, whether that has begun or not; an attempt that is made anew reads all from the start.
    /// Where the program has ended or has closed its standard input meanwhile, it vanishes. An empty piece is no piece. Pieces
    /// arrive in the order in which this was called one after the other, and are no lines: a program that reads lines waits for
    /// the newline.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) where nobody will read it: the execution was accepted without `stdin_open`, has
    /// ended, or its input was ended before. [`InvalidArgument`](ErrorKind::InvalidArgument) where all that was sent would be
    /// more than [`ExecutionSpec::MAX_INPUT_BYTES`]. After [`Unavailable`](ErrorKind::Unavailable) it may have been sent.
    ///
    /// ```
    /// # use livecode_core::*;
    /// async fn answer(engine: &Engine) -> Result<()> {
    ///     let spec = ExecutionSpec::new("python", "print('Hello', input('Who? '))").stdin_open();
    ///     let accepted = engine.run(spec, RunOptions::default()).await?;
    ///     engine.send_input(accepted.execution.id, "Ada\n").await?;
    ///     engine.end_input(accepted.execution.id).await
    /// }
    /// ```
    pub async fn send_input(&self, id: ExecutionId, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        self.execution(id).await?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.parts.store.add_input(id, Some(bytes)).await.map(drop)
    }

    /// Ends the standard input of an execution: a program that has read all of it meets its end.
    ///
    /// # Errors
    ///
    /// As [`Engine::send_input`].
    pub async fn end_input(&self, id: ExecutionId) -> Result<()> {
        self.execution(id).await?;
        self.parts.store.add_input(id, None).await.map(drop)
    }

    /// Asks for the end: a queued execution is cancelled at once, a running one as soon as its worker has seen the wish
    /// (see [`Engine::wait`]). When it has ended already nothing changes.
    pub async fn cancel(&self, id: ExecutionId) -> Result<Execution> {
        for _ in 0..CONTENDED_TRIES {
            let mut execution = self.execution(id).await?;
            if !execution.apply(Change::RequestCancel, self.parts.clock.now())? {
                return Ok(execution);
            }
            match self.parts.store.update(&execution, &[]).await {
                Ok(_) => {
                    // One that runs is its worker's to end.
                    if execution.state.is_terminal() {
                        metrics::ended(&execution);
                    }
                    return Ok(execution);
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(contended("execution", id))
    }

    /// Deletes executions that ended longer ago than `older_than`, whosever they are, with what was asked of them and what they
    /// wrote, but for the newest `keep_per_session` of each session; gives back how many. Their idempotency keys are free
    /// again: a request that is repeated after that runs again. Sessions and their autosave history stay.
    ///
    /// It works in small batches, between which everything else goes on, and several processes may do it at the same time.
    /// Where it fails or is dropped, what it has deleted until then is deleted.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) in the view of one owner.
    pub async fn prune(&self, older_than: Duration, keep_per_session: usize) -> Result<u64> {
        if let Some(owner) = &self.owner {
            return Err(Error::unsupported(format!(
                "the view of owner '{owner}' can't prune, which is for all owners: call it on the engine itself"
            )));
        }
        let ended_before = self.parts.clock.now().saturating_sub(older_than);
        let mut query = PruneQuery { ended_before, keep_per_session, after: None, limit: PRUNE_BATCH };
        let mut deleted = 0;
        loop {
            let pruned = self.parts.store.prune(&query).await?;
            deleted += pruned.deleted as u64;
            if pruned.last.is_none() {
                return Ok(deleted);
            }
            query.after = pruned.last;
        }
    }

    /// Whether the store answers.
    pub async fn check_store(&self) -> Result<()> {
        let nothing =
            ListQuery { limit: 1, open_since_before: Some(self.parts.clock.now()), ..ListQuery::default() };
        self.parts.store.list(&nothing).await.map(drop)
    }

    /// How much is in the queue, and so whether it answers.
    pub async fn queue_stats(&self) -> Result<QueueStats> {
        self.parts.queue.stats().await
    }

    fn require_owner(&self, owner: &Owner, what: impl FnOnce() -> String) -> Result<()> {
        match &self.owner {
            Some(own) if own != owner && !self.sees_all => Err(Error::not_found(what())),
            Some(_) | None => Ok(()),
        }
    }

    fn edited(&self, source: &Source, edit: Edit) -> Result<Source> {
        let language = self.parts.languages.get(edit.language.as_deref().unwrap_or(&source.language))?;
        let source_code = edit.source_code.unwrap_or_else(|| source.source_code.clone());
        self.ceiling.check_source(&source_code)?;
        let files = edit.files.unwrap_or_else(|| source.files.clone());
        SourceFile::check_all(&files, &language.file_name)?;
        ExecutionSpec::check_total(&source_code, &files, 0)?;
        Ok(Source { language: language.name.clone(), source_code, files })
    }
}

fn contended(what: &str, id: impl std::fmt::Display) -> Error {
    Error::unavailable(format!("{what} {id} is being changed by too many at once: try again"))
}
