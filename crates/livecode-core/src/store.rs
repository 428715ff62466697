//! Where records live. The truth: what isn't here didn't happen.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::{
    Delivery, Event, Execution, ExecutionId, ExecutionSpec, Input, Output, Owner, Quota, Refusal, Result,
    Revision, RevisionHead, Seq, Session, SessionId, SessionRevision, Timestamp,
};

/// What became of [`Store::insert`].
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// It's in the store now.
    New,
    /// Its idempotency key was used before, for this execution. Nothing was inserted.
    Existing(Box<Execution>),
}

/// Which events a follower wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Follow {
    /// All of them.
    Everything,
    /// All but output. What is left out leaves gaps in the sequence numbers.
    Status,
    /// The end alone.
    End,
}

/// Which executions, in which order: by id, which is by creation.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Only this owner's.
    pub owner: Option<Owner>,
    /// Only this session's.
    pub session: Option<SessionId>,
    /// Only those that are queued or running, and were accepted before this moment.
    pub open_since_before: Option<Timestamp>,
    /// Which way, and from where.
    pub page: PageStart,
    /// At most so many; 0 is none.
    pub limit: usize,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// Newest first, those before this id, or from the newest on.
    Before(Option<ExecutionId>),
    /// Oldest first, those after this id, or from the oldest on.
    After(Option<ExecutionId>),
}

impl Default for PageStart {
    fn default() -> Self {
        Self::Before(None)
    }
}

/// Which executions [`Store::prune`] looks at, and which of them it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneQuery {
    /// Only those that ended before this moment.
    pub ended_before: Timestamp,
    /// Not the newest so many of each session: by id, those that haven't ended included.
    pub keep_per_session: usize,
    /// From the earliest end on, or after the place where an earlier call stopped.
    pub after: Option<(Timestamp, ExecutionId)>,
    /// Looks at so many at most; 0 is none.
    pub limit: usize,
}

/// What [`Store::prune`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many executions it deleted.
    pub deleted: usize,
    /// The end and the id of the last one it looked at: there may be more after it. None where there are no more.
    pub last: Option<(Timestamp, ExecutionId)>,
}

/// Which deliveries [`Store::deliveries`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Only those that are due at this moment.
    pub due_until: Timestamp,
    /// From the one that is due longest on, or after the place of this one.
    pub after: Option<(Timestamp, ExecutionId)>,
    /// At most so many; 0 is none.
    pub limit: usize,
}

/// What a program has written so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Standard output, exact.
    pub stdout: Bytes,
    /// Standard error, exact.
    pub stderr: Bytes,
}

/// Where sessions, executions and their event logs live.
///
/// Every method either does all that it says or nothing, and once it has returned `Ok` the change outlives this process
/// as far as the store's medium does. Every method may fail with [`Unavailable`](crate::ErrorKind::Unavailable), then it
/// may or may not have taken effect; callers repeat it or read. Methods don't retry, don't sleep, and don't look at a
/// clock. A store checks versions and uniqueness; which changes are legal is [`Execution::apply`]'s to know.
///
/// The suite in `conformance::store` (feature `conformance`) holds every clause; run it on a store of your own.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Adds a new session and its first revision; or fails with `Conflict` where its id is taken.
    async fn insert_session(&self, session: &Session) -> Result<()>;

    /// The session; or `NotFound`.
    async fn session(&self, id: SessionId) -> Result<Session>;

    /// Replaces the session where the stored version is `session.version - 1`, else fails with `Conflict`; `NotFound`
    /// where there is none. Where the revision is higher than the stored one, its source is added to the history, as
    /// saved at `session.updated_at`.
    async fn update_session(&self, session: &Session) -> Result<()>;

    /// The session's history, newest first: revisions below `before`, or from the newest on, at most `limit`. Empty where
    /// there is no such session.
    async fn revisions(
        &self,
        id: SessionId,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<RevisionHead>>;

    /// The session's source as it was at this revision; or `NotFound`.
    async fn revision(&self, id: SessionId, revision: Revision) -> Result<SessionRevision>;

    /// Adds a new execution, what was asked of it, and its first event, the status `QUEUED`; or gives back the one that
    /// has its idempotency key for the same owner and session (none counts as one session); or fails with `Conflict`
    /// where its id is taken. Of concurrent calls with one key exactly one inserts.
    ///
    /// Where something is to be told of its end, its [`Delivery::of`] is added in the same transaction.
    ///
    /// A store that [is the queue](Store::is_queue) too makes the job claimable in the same transaction.
    async fn insert(&self, execution: &Execution, spec: &ExecutionSpec) -> Result<Inserted>;

    /// Whether the queue beside it is its own: then nobody has to push what it inserts.
    fn is_queue(&self) -> bool {
        false
    }

    /// The execution that has this idempotency key for this owner and session, none where the key wasn't used there: the
    /// one that [`Store::insert`] would give back.
    async fn by_key(&self, owner: &Owner, session: Option<SessionId>, key: &str)
    -> Result<Option<Execution>>;

    /// The execution; or `NotFound`.
    async fn get(&self, id: ExecutionId) -> Result<Execution>;

    /// What was asked, as it was inserted; or `NotFound`.
    async fn spec(&self, id: ExecutionId) -> Result<ExecutionSpec>;

    /// Replaces the execution where the stored version is `execution.version - 1`, else fails with `Conflict`; `NotFound`
    /// where there is none. In the same transaction `output` is added to the log, as of `execution.attempt`, then, where
    /// [`Execution::status_differs`] from the stored one, a status event, or the end where the state is terminal; with the end its
    /// delivery becomes due at `execution.completed_at`, which is a change of that. Gives back the last sequence number.
    async fn update(&self, execution: &Execution, output: &[Output]) -> Result<Seq>;

    /// Adds to the log, one event for each chunk, where the stored execution is running its attempt `attempt`, else
    /// fails with `Conflict`; `NotFound` where there is none.
    async fn append(&self, id: ExecutionId, attempt: u32, output: &[Output]) -> Result<()>;

    /// What the program has written in the attempt [`Execution::attempt`], nothing where that one is queued; or
    /// `NotFound`.
    async fn output(&self, id: ExecutionId) -> Result<Captured>;

    /// The log after `after`: what is there, then what comes, until after the end event. Each event once, in order,
    /// whoever in whatever process added it. Fails with `NotFound` as its first item where there is no such execution;
    /// ends after an error. Dropping it releases everything. A follower that doesn't poll costs no memory.
    fn events(&self, id: ExecutionId, after: Seq, follow: Follow) -> BoxStream<'static, Result<Event>>;

    /// Adds a piece to what is sent to the standard input of an execution, or with none its end, and gives back its place. It's
    /// no event. Concurrent calls are put in some order.
    ///
    /// Fails with `NotFound` where there is no such execution; with `Conflict` where it was inserted without
    /// [`stdin_open`](ExecutionSpec::stdin_open), has ended, or its input has; with `InvalidArgument` for an empty piece, and
    /// where all pieces would have more than [`ExecutionSpec::MAX_INPUT_BYTES`] together.
    async fn add_input(&self, id: ExecutionId, bytes: Option<Bytes>) -> Result<Seq>;

    /// What was sent to its standard input after `after`: what is there, then what comes, until after its end. Each piece once,
    /// in order, whoever in whatever process added it. None where it was inserted without
    /// [`stdin_open`](ExecutionSpec::stdin_open). It goes on waiting where the execution ends first: who feeds a program
    /// knows when that has ended. Fails with `NotFound` as its first item where there is no such execution; ends after an
    /// error. Dropping it releases everything. A follower that doesn't poll costs no memory.
    fn inputs(&self, id: ExecutionId, after: Seq) -> BoxStream<'static, Result<Input>>;

    /// Executions that match `query`, as of one moment. A record that can't be read any more is left out and doesn't
    /// count: one damaged row must not hide all others from a sweep.
    async fn list(&self, query: &ListQuery) -> Result<Vec<Execution>>;

    /// Where the word of an execution's end stands; none where nobody is to be told of it, and where there is no such execution.
    async fn delivery(&self, id: ExecutionId) -> Result<Option<Delivery>>;

    /// What is due, in the order of [`Delivery::due_at`] and then of the ids. Costs next to nothing where nothing is, however many
    /// executions and deliveries there are. A record that can't be read any more is left out and doesn't count, as in
    /// [`Store::list`]; so is one whose execution is gone.
    async fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>>;

    /// Replaces the delivery where the stored version is `delivery.version - 1`, else fails with `Conflict`; `NotFound` where
    /// there is none. Execution, owner and URL stay as they are.
    async fn update_delivery(&self, delivery: &Delivery) -> Result<()>;

    /// Deletes executions that have ended, with all that was asked of them, their logs, what was sent to them and their
    /// deliveries, in the order of their ends and then of their ids; their idempotency keys are free again. Takes as long as it takes to look at `query.limit` of them,
    /// however long the history, and holds up no other call for longer than deleting them does. Sessions and their revisions
    /// stay. Who is reading a log while it's deleted gets `NotFound`, or its end without what is gone.
    async fn prune(&self, query: &PruneQuery) -> Result<Pruned>;

    /// How many executions of this owner are queued or running, of this session alone where one is named; it counts to `most` and no
    /// further. Takes as long as looking at all that are open, however long the history.
    async fn count_open(&self, owner: &Owner, session: Option<SessionId>, most: u64) -> Result<u64>;

    /// Counts one run of `who` at `now`, by [`Tally::admit`](crate::Tally::admit): none where it's counted, else why it isn't, and then nothing
    /// has changed. Concurrent calls count one after the other, in whatever processes. `who` is at most 300 bytes without NUL and
    /// stands for whom the caller counts apart. What was counted may be lost in a crash or a power cut, as far as it was counted in
    /// the last second. For each new `who` a few tallies that say nothing any more are deleted.
    async fn admit(&self, who: &str, quota: &Quota, now: Timestamp) -> Result<Option<Refusal>>;
}
