//! Stores: sessions, executions, logs, lists and what is deleted.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use livecode_core::{
    Change, Event, Execution, ExecutionId, ExecutionSpec, Follow, Inserted, ListQuery, MemoryStore, Outcome,
    Output, Owner, PageStart, PruneQuery, Revision, Seq, Session, SessionId, Source, Stdio, Store,
    Termination, Timestamp,
};
use proptest::{collection::vec, option, prelude::*};
use uuid::Uuid;

use super::{pick, same};

#[derive(Clone, Debug)]
pub(crate) enum StoreStep {
    InsertSession {
        owner: usize,
        source: String,
        taken: bool,
    },
    Save {
        session: usize,
        source: String,
        stale: bool,
    },
    Close {
        session: usize,
    },
    ReadSession {
        session: usize,
        before: Option<u64>,
        limit: usize,
    },
    Insert {
        owner: usize,
        session: Option<usize>,
        key: Option<usize>,
        text: String,
        taken: bool,
    },
    Update {
        execution: usize,
        change: ChangeKind,
        output: Vec<Output>,
        skew: i64,
    },
    Append {
        execution: usize,
        attempt: i64,
        output: Vec<Output>,
    },
    Read {
        execution: usize,
        after: u64,
        status_only: bool,
    },
    List {
        owner: Option<usize>,
        session: Option<usize>,
        open_before: Option<i64>,
        page: PageKind,
        limit: usize,
    },
    Prune {
        ended_before: i64,
        keep: usize,
        limit: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum ChangeKind {
    Start,
    Finish(Outcome),
    RequestCancel,
    Cancel,
    Fail(String),
    Requeue(Option<String>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum PageKind {
    Newest,
    Oldest,
    Before(usize),
    After(usize),
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z\0\"\u{e9}]{1,8}"]
}

fn chunks() -> impl Strategy<Value = Vec<Output>> {
    let chunk = (any::<bool>(), vec(any::<u8>(), 0..40)).prop_map(|(out, bytes)| {
        let stdio = if out { Stdio::Stdout } else { Stdio::Stderr };
        Output::new(stdio, Bytes::from(bytes))
    });
    vec(chunk, 0..4)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let termination = prop_oneof![
        (0..3).prop_map(|code| Termination::Exited { code }),
        Just(Termination::Signaled { signal: 9 }),
        text().prop_map(|message| Termination::CompileFailed { message }),
        any::<u32>()
            .prop_map(|millis| Termination::WallTimeExceeded { limit: Duration::from_millis(millis.into()) }),
        any::<u64>().prop_map(|limit| Termination::MemoryExceeded { limit }),
        Just(Termination::Cancelled),
    ];
    (termination, option::of(text()), any::<bool>()).prop_map(|(termination, compile_output, truncated)| {
        Outcome { compile_output, stdout_truncated: truncated, ..Outcome::new(termination) }
    })
}

fn change() -> impl Strategy<Value = ChangeKind> {
    prop_oneof![
        4 => Just(ChangeKind::Start),
        2 => outcome().prop_map(ChangeKind::Finish),
        1 => Just(ChangeKind::RequestCancel),
        1 => Just(ChangeKind::Cancel),
        1 => text().prop_map(ChangeKind::Fail),
        2 => option::of(text()).prop_map(ChangeKind::Requeue),
    ]
}

pub(crate) fn store_step() -> impl Strategy<Value = StoreStep> {
    use StoreStep::*;
    let index = 0..8usize;
    let rarely = prop::bool::weighted(0.1);
    let page = prop_oneof![
        Just(PageKind::Newest),
        Just(PageKind::Oldest),
        index.clone().prop_map(PageKind::Before),
        index.clone().prop_map(PageKind::After),
    ];
    let limit = prop_oneof![0..5usize, Just(usize::MAX)];
    let skew = prop_oneof![8 => Just(0i64), 1 => -2..3i64];
    prop_oneof![
        1 => (0..2usize, text(), rarely).prop_map(|(owner, source, taken)| InsertSession { owner, source, taken }),
        2 => (index.clone(), text(), rarely).prop_map(|(session, source, stale)| Save { session, source, stale }),
        1 => index.clone().prop_map(|session| Close { session }),
        2 => (index.clone(), option::of(0..5u64), limit.clone())
            .prop_map(|(session, before, limit)| ReadSession { session, before, limit }),
        4 => (0..2usize, option::of(index.clone()), option::of(0..3usize), text(), rarely)
            .prop_map(|(owner, session, key, text, taken)| Insert { owner, session, key, text, taken }),
        8 => (index.clone(), change(), chunks(), skew)
            .prop_map(|(execution, change, output, skew)| Update { execution, change, output, skew }),
        4 => (index.clone(), prop_oneof![5 => Just(0i64), 1 => -1..2i64], chunks())
            .prop_map(|(execution, attempt, output)| Append { execution, attempt, output }),
        4 => (index.clone(), 0..12u64, any::<bool>())
            .prop_map(|(execution, after, status_only)| Read { execution, after, status_only }),
        3 => (option::of(0..2usize), option::of(index.clone()), option::of(0..60i64), page, limit)
            .prop_map(|(owner, session, open_before, page, limit)| List { owner, session, open_before, page, limit }),
        1 => (0..60i64, prop_oneof![0..3usize, Just(usize::MAX)], 1..5usize)
            .prop_map(|(ended_before, keep, limit)| Prune { ended_before, keep, limit }),
    ]
}

/// Both stores, and what has been put into them.
struct Stores<S> {
    memory: MemoryStore,
    sql: S,
    sessions: Vec<SessionId>,
    executions: Vec<ExecutionId>,
    now: i64,
}

impl<S: Store> Stores<S> {
    fn owner(&self, index: usize) -> Owner {
        Owner::new(["", "alice"][index % 2]).unwrap()
    }

    /// Later by a millisecond each time.
    fn now(&mut self) -> Timestamp {
        self.now += 1;
        Timestamp::from_millis(self.now).unwrap()
    }

    fn session(&self, index: usize) -> SessionId {
        pick(&self.sessions, index).copied().unwrap_or(Uuid::nil().into())
    }

    fn execution(&self, index: usize) -> ExecutionId {
        pick(&self.executions, index).copied().unwrap_or(Uuid::nil().into())
    }

    async fn step(&mut self, step: StoreStep) {
        let now = self.now();
        match step {
            StoreStep::InsertSession { owner, source, taken } => {
                let source = Source { language: "python".into(), source_code: source, files: Vec::new() };
                let mut session = Session::new(self.owner(owner), source, now);
                if taken && !self.sessions.is_empty() {
                    session.id = self.session(owner);
                }
                let inserted =
                    same(self.memory.insert_session(&session).await, self.sql.insert_session(&session).await);
                if inserted.is_ok() {
                    self.sessions.push(session.id);
                }
            }
            StoreStep::Save { session, source, stale } => {
                if let Ok(mut session) = self.memory.session(self.session(session)).await {
                    let source = Source { source_code: source, ..session.source.clone() };
                    session.save(source, now).ok();
                    session.version += u64::from(stale);
                    self.update_session(&session).await;
                }
            }
            StoreStep::Close { session } => {
                if let Ok(mut session) = self.memory.session(self.session(session)).await {
                    session.close(now);
                    self.update_session(&session).await;
                }
            }
            StoreStep::ReadSession { session, before, limit } => {
                let (id, before) = (self.session(session), before.map(Revision));
                same(self.memory.session(id).await, self.sql.session(id).await).ok();
                same(
                    self.memory.revisions(id, before, limit).await,
                    self.sql.revisions(id, before, limit).await,
                )
                .unwrap();
                let one = before.unwrap_or(Revision::FIRST);
                same(self.memory.revision(id, one).await, self.sql.revision(id, one).await).ok();
            }
            StoreStep::Insert { owner, session, key, text, taken } => {
                let mut execution = Execution::new(self.owner(owner), "python", now);
                let spec = ExecutionSpec::new("python", text);
                execution.session_id = session.map(|session| self.session(session));
                execution.revision = session.map(|_| Revision(7));
                execution.idempotency_key = key.map(|key| ["", "a\0b", "\u{1f980}"][key].into());
                if taken && !self.executions.is_empty() {
                    execution.id = self.execution(owner);
                }
                let inserted = same(
                    self.memory.insert(&execution, &spec).await,
                    self.sql.insert(&execution, &spec).await,
                );
                if let Some(key) = &execution.idempotency_key {
                    let (owner, session) = (&execution.owner, execution.session_id);
                    same(
                        self.memory.by_key(owner, session, key).await,
                        self.sql.by_key(owner, session, key).await,
                    )
                    .unwrap();
                }
                same(self.memory.spec(execution.id).await, self.sql.spec(execution.id).await).ok();
                if inserted == Ok(Inserted::New) {
                    self.executions.push(execution.id);
                }
            }
            StoreStep::Update { execution, change, output, skew } => {
                let Ok(mut execution) = self.memory.get(self.execution(execution)).await else { return };
                let change = match change {
                    ChangeKind::Start => Change::Start,
                    ChangeKind::Finish(outcome) => Change::Finish(outcome),
                    ChangeKind::RequestCancel => Change::RequestCancel,
                    ChangeKind::Cancel => Change::Cancel,
                    ChangeKind::Fail(failure) => Change::Fail { failure },
                    ChangeKind::Requeue(failure) => Change::Requeue { run_after: now, failure },
                };
                // What the state machine refuses never gets to a store.
                if matches!(execution.apply(change, now), Ok(true)) {
                    execution.version = execution.version.saturating_add_signed(skew);
                    same(
                        self.memory.update(&execution, &output).await,
                        self.sql.update(&execution, &output).await,
                    )
                    .ok();
                }
            }
            StoreStep::Append { execution, attempt, output } => {
                let id = self.execution(execution);
                let current = self.memory.get(id).await.map_or(1, |execution| i64::from(execution.attempt));
                let attempt = u32::try_from(current + attempt).unwrap();
                same(
                    self.memory.append(id, attempt, &output).await,
                    self.sql.append(id, attempt, &output).await,
                )
                .ok();
            }
            StoreStep::Read { execution, after, status_only } => {
                let follow = if status_only { Follow::Status } else { Follow::Everything };
                self.read(self.execution(execution), Seq(after), follow).await;
            }
            StoreStep::List { owner, session, open_before, page, limit } => {
                let query = ListQuery {
                    owner: owner.map(|owner| self.owner(owner)),
                    session: session.map(|session| self.session(session)),
                    open_since_before: open_before.map(|millis| Timestamp::from_millis(millis).unwrap()),
                    page: match page {
                        PageKind::Newest => PageStart::Before(None),
                        PageKind::Oldest => PageStart::After(None),
                        PageKind::Before(index) => PageStart::Before(Some(self.execution(index))),
                        PageKind::After(index) => PageStart::After(Some(self.execution(index))),
                    },
                    limit,
                };
                same(self.memory.list(&query).await, self.sql.list(&query).await).unwrap();
            }
            StoreStep::Prune { ended_before, keep, limit } => {
                let ended_before = Timestamp::from_millis(ended_before).unwrap();
                let mut query = PruneQuery { ended_before, keep_per_session: keep, after: None, limit };
                for _ in 0..2 {
                    query.after =
                        same(self.memory.prune(&query).await, self.sql.prune(&query).await).unwrap().last;
                }
            }
        }
    }

    async fn update_session(&self, session: &Session) {
        same(self.memory.update_session(session).await, self.sql.update_session(session).await).ok();
    }

    /// Record, output and log, as far as they go by now.
    async fn read(&self, id: ExecutionId, after: Seq, follow: Follow) {
        let stored = same(self.memory.get(id).await, self.sql.get(id).await);
        same(self.memory.output(id).await, self.sql.output(id).await).ok();
        let (mut memory, sql) = (self.memory.events(id, after, follow), self.sql.events(id, after, follow));
        let mut there: Vec<Event> = Vec::new();
        // The one in memory never waits for what is there.
        while let Some(Some(Ok(event))) = memory.next().now_or_never() {
            there.push(event);
        }
        match stored {
            Ok(execution) if execution.state.is_terminal() => {
                assert_eq!(sql.try_collect::<Vec<_>>().await.unwrap(), there);
            }
            Ok(_) => {
                let sql: Vec<_> = sql.take(there.len()).try_collect().await.unwrap();
                assert_eq!(sql, there);
            }
            Err(kind) => {
                let error = sql.try_collect::<Vec<_>>().await.unwrap_err();
                assert_eq!(error.kind(), kind);
            }
        }
    }
}

/// Does the same to both, and reads it all in the end.
pub(crate) async fn store_as_memory_does(sql: impl Store, steps: Vec<StoreStep>) {
    let mut stores =
        Stores { memory: MemoryStore::new(), sql, sessions: Vec::new(), executions: Vec::new(), now: 0 };
    for step in steps {
        stores.step(step).await;
    }
    for id in stores.executions.clone() {
        stores.read(id, Seq::START, Follow::Everything).await;
    }
}
