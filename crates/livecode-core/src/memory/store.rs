//! Records in memory.

mod retention;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::sync::Notify;

use super::{
    concat,
    deliveries::Deliveries,
    inputs::{self, Inputs},
    lock,
    tallies::Tallies,
};
use crate::{
    Captured, Delivery, DeliveryQuery, Error, Event, EventKind, Execution, ExecutionId, ExecutionSpec,
    Follow, Input, Inserted, ListQuery, Output, Owner, PageStart, PruneQuery, Pruned, Quota, Refusal, Result,
    Revision, RevisionHead, Seq, Session, SessionId, SessionRevision, State, Stdio, Store, Timestamp,
};

/// A [`Store`] in memory, for tests and for hosts that need no history beyond their own life.
///
/// It keeps everything it's given until it's pruned. What reads one record or one page takes no longer for a long history.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use livecode_core::*;
///
/// let store = MemoryStore::new();
/// let execution = Execution::new(Owner::anonymous(), "python", SystemClock.now());
/// let spec = ExecutionSpec::new("python", "1");
/// assert_eq!(store.insert(&execution, &spec).await.unwrap(), Inserted::New);
/// assert_eq!(store.get(execution.id).await.unwrap(), execution);
/// # });
/// ```
#[derive(Default)]
pub struct MemoryStore {
    records: Arc<Mutex<Records>>,
}

#[derive(Default)]
struct Records {
    sessions: HashMap<SessionId, SessionRecord>,
    executions: BTreeMap<ExecutionId, Record>,
    by_key: HashMap<(Owner, Option<SessionId>, String), ExecutionId>,
    by_owner: HashMap<Owner, BTreeSet<ExecutionId>>,
    by_session: HashMap<SessionId, BTreeSet<ExecutionId>>,
    /// Queued and running ones, so that the sweep doesn't walk through the history.
    open: BTreeSet<ExecutionId>,
    /// The others, by when they ended.
    ended: BTreeSet<(Timestamp, ExecutionId)>,
    tallies: Tallies,
    deliveries: Deliveries,
}

struct SessionRecord {
    session: Session,
    history: BTreeMap<Revision, SessionRevision>,
}

/// An execution and its log; the event at index `i` has the sequence number `i + 1`.
struct Record {
    execution: Execution,
    spec: ExecutionSpec,
    log: Vec<EventKind>,
    inputs: Inputs,
    grown: Arc<Notify>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.records)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.records();
        f.debug_struct("MemoryStore")
            .field("sessions", &records.sessions.len())
            .field("executions", &records.executions.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn insert_session(&self, session: &Session) -> Result<()> {
        let mut records = self.records();
        if records.sessions.contains_key(&session.id) {
            return Err(Error::conflict(format!("session {} is there already", session.id)));
        }
        let mut record = SessionRecord { session: session.clone(), history: BTreeMap::new() };
        record.remember();
        records.sessions.insert(session.id, record);
        Ok(())
    }

    async fn session(&self, id: SessionId) -> Result<Session> {
        match self.records().sessions.get(&id) {
            Some(record) => Ok(record.session.clone()),
            None => Err(unknown_session(id)),
        }
    }

    async fn update_session(&self, session: &Session) -> Result<()> {
        let mut records = self.records();
        let record = records.sessions.get_mut(&session.id).ok_or_else(|| unknown_session(session.id))?;
        let what = format_args!("session {}", session.id);
        check_version(what, record.session.version, session.version)?;
        let saved = session.revision > record.session.revision;
        record.session = session.clone();
        if saved {
            record.remember();
        }
        Ok(())
    }

    async fn revisions(
        &self,
        id: SessionId,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<RevisionHead>> {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(match self.records().sessions.get(&id) {
            Some(record) => record
                .history
                .range((Bound::Unbounded, end))
                .rev()
                .take(limit)
                .map(|(_, entry)| RevisionHead {
                    revision: entry.revision,
                    language: entry.source.language.clone(),
                    saved_at: entry.saved_at,
                })
                .collect(),
            None => Vec::new(),
        })
    }

    async fn revision(&self, id: SessionId, revision: Revision) -> Result<SessionRevision> {
        let records = self.records();
        let entry = records.sessions.get(&id).and_then(|record| record.history.get(&revision));
        entry.cloned().ok_or_else(|| Error::not_found(format_args!("revision {revision} of session {id}")))
    }

    async fn insert(&self, execution: &Execution, spec: &ExecutionSpec) -> Result<Inserted> {
        self.records().insert(execution, spec)
    }

    async fn by_key(
        &self,
        owner: &Owner,
        session: Option<SessionId>,
        key: &str,
    ) -> Result<Option<Execution>> {
        let records = self.records();
        let id = records.by_key.get(&(owner.clone(), session, key.to_owned()));
        id.map(|id| Ok(records.record(*id)?.execution.clone())).transpose()
    }

    async fn spec(&self, id: ExecutionId) -> Result<ExecutionSpec> {
        Ok(self.records().record(id)?.spec.clone())
    }

    async fn get(&self, id: ExecutionId) -> Result<Execution> {
        Ok(self.records().record(id)?.execution.clone())
    }

    async fn update(&self, execution: &Execution, output: &[Output]) -> Result<Seq> {
        self.records().update(execution, output)
    }

    async fn append(&self, id: ExecutionId, attempt: u32, output: &[Output]) -> Result<()> {
        let mut records = self.records();
        let record = records.record_mut(id)?;
        let stored = &record.execution;
        if stored.state != State::Running || stored.attempt != attempt {
            return Err(Error::conflict(format!(
                "execution {id} isn't running its attempt {attempt}: it is {} with attempt {}",
                stored.state, stored.attempt
            )));
        }
        record.log_output(output);
        record.grown.notify_waiters();
        Ok(())
    }

    async fn output(&self, id: ExecutionId) -> Result<Captured> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        {
            let records = self.records();
            let record = records.record(id)?;
            for event in &record.log {
                match event {
                    EventKind::Output { attempt, output } if *attempt == record.execution.attempt => {
                        match output.stdio {
                            Stdio::Stdout => stdout.push(output.bytes.clone()),
                            Stdio::Stderr => stderr.push(output.bytes.clone()),
                        }
                    }
                    EventKind::Output { .. } | EventKind::Status { .. } | EventKind::End(_) => {}
                }
            }
        }
        // Megabytes are put together after the lock is gone.
        Ok(Captured { stdout: concat(&stdout), stderr: concat(&stderr) })
    }

    fn events(&self, id: ExecutionId, after: Seq, follow: Follow) -> BoxStream<'static, Result<Event>> {
        let records = self.records.clone();
        stream::unfold(Some(after), move |after| {
            let records = records.clone();
            async move {
                let mut after = after?;
                loop {
                    let grown = {
                        let records = lock(&records);
                        let record = match records.record(id) {
                            Ok(record) => record,
                            Err(error) => return Some((Err(error), None)),
                        };
                        if let Some(event) = record.next_event(after, follow) {
                            let seen = event.seq;
                            return Some((Ok(event), Some(seen)));
                        }
                        if record.has_ended() {
                            return None;
                        }
                        after = after.max(record.last_seq());
                        // Made while the log can't grow, so it hears of everything that comes after this look.
                        record.grown.clone().notified_owned()
                    };
                    grown.await;
                }
            }
        })
        .boxed()
    }

    async fn add_input(&self, id: ExecutionId, bytes: Option<Bytes>) -> Result<Seq> {
        let mut records = self.records();
        let Record { execution, inputs, .. } = records.record_mut(id)?;
        inputs.add(execution, bytes)
    }

    fn inputs(&self, id: ExecutionId, after: Seq) -> BoxStream<'static, Result<Input>> {
        let records = self.records.clone();
        inputs::follow(move |after| Ok(lock(&records).record(id)?.inputs.look(after)), after)
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Execution>> {
        Ok(self.records().list(query))
    }

    async fn delivery(&self, id: ExecutionId) -> Result<Option<Delivery>> {
        Ok(self.records().deliveries.get(id))
    }

    async fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>> {
        Ok(self.records().deliveries.due(query))
    }

    async fn update_delivery(&self, delivery: &Delivery) -> Result<()> {
        self.records().deliveries.update(delivery)
    }

    async fn prune(&self, query: &PruneQuery) -> Result<Pruned> {
        Ok(self.records().prune(query))
    }

    async fn count_open(&self, owner: &Owner, session: Option<SessionId>, most: u64) -> Result<u64> {
        let records = self.records();
        let open = records.open.iter().filter_map(|id| records.executions.get(id)).filter(|record| {
            let execution = &record.execution;
            execution.owner == *owner && (session.is_none() || execution.session_id == session)
        });
        Ok(open.take(usize::try_from(most).unwrap_or(usize::MAX)).count() as u64)
    }

    async fn admit(&self, who: &str, quota: &Quota, now: Timestamp) -> Result<Option<Refusal>> {
        Ok(self.records().tallies.admit(who, quota, now))
    }
}

impl Records {
    fn record(&self, id: ExecutionId) -> Result<&Record> {
        self.executions.get(&id).ok_or_else(|| unknown_execution(id))
    }

    fn record_mut(&mut self, id: ExecutionId) -> Result<&mut Record> {
        self.executions.get_mut(&id).ok_or_else(|| unknown_execution(id))
    }

    fn insert(&mut self, execution: &Execution, spec: &ExecutionSpec) -> Result<Inserted> {
        let id = execution.id;
        let key = execution
            .idempotency_key
            .as_ref()
            .map(|key| (execution.owner.clone(), execution.session_id, key.clone()));
        if let Some(existing) = key.as_ref().and_then(|key| self.by_key.get(key)) {
            return Ok(Inserted::Existing(Box::new(self.record(*existing)?.execution.clone())));
        }
        if self.executions.contains_key(&id) {
            return Err(Error::conflict(format!("execution {id} is there already")));
        }
        if let Some(key) = key {
            self.by_key.insert(key, id);
        }
        if let Some(session) = execution.session_id {
            self.by_session.entry(session).or_default().insert(id);
        }
        self.by_owner.entry(execution.owner.clone()).or_default().insert(id);
        self.open.insert(id);
        self.deliveries.insert(Delivery::of(execution, spec));
        let mut record = Record {
            execution: execution.clone(),
            spec: spec.clone(),
            log: Vec::new(),
            inputs: Inputs::of(spec),
            grown: Arc::default(),
        };
        record.log_status();
        self.executions.insert(id, record);
        Ok(Inserted::New)
    }

    fn update(&mut self, execution: &Execution, output: &[Output]) -> Result<Seq> {
        let id = execution.id;
        let record = self.record_mut(id)?;
        check_version(format_args!("execution {id}"), record.execution.version, execution.version)?;
        let differs = execution.status_differs(&record.execution);
        record.execution = execution.clone();
        record.log_output(output);
        if differs {
            record.log_status();
        }
        record.grown.notify_waiters();
        let last = record.last_seq();
        if let Some(completed_at) = execution.completed_at {
            self.open.remove(&id);
            self.ended.insert((completed_at, id));
            self.deliveries.execution_ended(id, completed_at);
        }
        Ok(last)
    }

    fn list(&self, query: &ListQuery) -> Vec<Execution> {
        static NONE: BTreeSet<ExecutionId> = BTreeSet::new();
        let (start, end) = match query.page {
            PageStart::Before(before) => (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded)),
            PageStart::After(after) => (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded),
        };
        let index = match (query.open_since_before, query.session, &query.owner) {
            (Some(_), _, _) => Some(&self.open),
            (None, Some(session), _) => Some(self.by_session.get(&session).unwrap_or(&NONE)),
            (None, None, Some(owner)) => Some(self.by_owner.get(owner).unwrap_or(&NONE)),
            (None, None, None) => None,
        };
        let ids: Box<dyn DoubleEndedIterator<Item = &ExecutionId>> = match index {
            Some(index) => Box::new(index.range((start, end))),
            None => Box::new(self.executions.range((start, end)).map(|(id, _)| id)),
        };
        let ids: Box<dyn Iterator<Item = &ExecutionId>> = match query.page {
            PageStart::Before(_) => Box::new(ids.rev()),
            PageStart::After(_) => Box::new(ids),
        };
        ids.filter_map(|id| self.executions.get(id))
            .map(|record| &record.execution)
            .filter(|execution| {
                query.owner.as_ref().is_none_or(|owner| *owner == execution.owner)
                    && query.session.is_none_or(|session| Some(session) == execution.session_id)
                    && query.open_since_before.is_none_or(|moment| execution.created_at < moment)
            })
            .take(query.limit)
            .cloned()
            .collect()
    }

    fn delete(&mut self, id: ExecutionId) {
        let Some(Record { execution, .. }) = self.executions.remove(&id) else { return };
        self.deliveries.delete(id);
        if let Some(key) = execution.idempotency_key {
            self.by_key.remove(&(execution.owner.clone(), execution.session_id, key));
        }
        if let Some(session) = execution.session_id {
            forget(&mut self.by_session, session, id);
        }
        forget(&mut self.by_owner, execution.owner, id);
    }
}

impl SessionRecord {
    fn remember(&mut self) {
        let revision = SessionRevision {
            revision: self.session.revision,
            source: self.session.source.clone(),
            saved_at: self.session.updated_at,
        };
        self.history.insert(revision.revision, revision);
    }
}

impl Record {
    fn log_output(&mut self, output: &[Output]) {
        let attempt = self.execution.attempt;
        self.log.extend(output.iter().map(|output| EventKind::Output {
            attempt,
            // A copy: the few bytes of a short line may be part of a large buffer, which they would keep.
            output: Output::new(output.stdio, Bytes::copy_from_slice(&output.bytes)),
        }));
    }

    fn log_status(&mut self) {
        let execution = &self.execution;
        self.log.push(if execution.state.is_terminal() {
            EventKind::End(Box::new(execution.clone()))
        } else {
            EventKind::Status {
                state: execution.state,
                attempt: execution.attempt,
                cancel_requested: execution.cancel_requested_at.is_some(),
            }
        });
    }

    fn next_event(&self, after: Seq, follow: Follow) -> Option<Event> {
        let from = usize::try_from(after.0).unwrap_or(usize::MAX);
        let wanted = |kind: &EventKind| match kind {
            EventKind::Output { .. } => follow == Follow::Everything,
            EventKind::Status { .. } => follow != Follow::End,
            EventKind::End(_) => true,
        };
        let index = from + self.log.get(from..)?.iter().position(wanted)?;
        Some(Event { seq: Seq(index as u64).next(), kind: self.log[index].clone() })
    }

    fn has_ended(&self) -> bool {
        matches!(self.log.last(), Some(EventKind::End(_)))
    }

    fn last_seq(&self) -> Seq {
        Seq(self.log.len() as u64)
    }
}

/// Takes an id out of an index, and its entry with the last one.
fn forget<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<ExecutionId>>, of: K, id: ExecutionId) {
    if let Entry::Occupied(mut ids) = index.entry(of) {
        ids.get_mut().remove(&id);
        if ids.get().is_empty() {
            ids.remove();
        }
    }
}

pub(super) fn check_version(what: fmt::Arguments<'_>, stored: u64, new: u64) -> Result<()> {
    if new.checked_sub(1) == Some(stored) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "{what} was changed meanwhile: version {new} doesn't follow on {stored}; read it again"
    )))
}

fn unknown_session(id: SessionId) -> Error {
    Error::not_found(format_args!("session {id}"))
}

fn unknown_execution(id: ExecutionId) -> Error {
    Error::not_found(format_args!("execution {id}"))
}
