//! Backends in memory that fail, forget and wait as a test wants.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use livecode_core::{
    Captured, Delivery, DeliveryQuery, Error, Event, Execution, ExecutionId, ExecutionSpec, Follow, Input,
    Inserted, Job, Lease, ListQuery, MemoryQueue, MemoryStore, Output, Owner, PruneQuery, Pruned, Queue,
    QueueStats, Quota, Refusal, Result, Revision, RevisionHead, Seq, Session, SessionId, SessionRevision,
    Store, Timestamp,
};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does what it should.
    Works,
    /// It fails with `Unavailable` without effect.
    FailsBefore,
    /// It fails with `Internal` without effect.
    Breaks,
    /// It takes effect and fails with `Unavailable` all the same.
    FailsAfter,
    /// It says that all is well and has no effect; only of calls that give nothing back.
    Pretends,
}

/// Decides about each call by the name of its method; may take its time.
pub(crate) type Plan = dyn Fn(&'static str) -> BoxFuture<'static, Fate> + Send + Sync;

/// Decides, and counts calls.
struct Fates {
    plan: RwLock<Arc<Plan>>,
    calls: Mutex<HashMap<&'static str, usize>>,
}

impl Fates {
    fn new() -> Self {
        Self { plan: RwLock::new(Arc::new(|_| ready(Fate::Works).boxed())), calls: Mutex::default() }
    }

    fn set(&self, plan: impl Fn(&'static str) -> Fate + Send + Sync + 'static) {
        self.set_slow(move |method| ready(plan(method)).boxed());
    }

    fn set_slow(&self, plan: impl Fn(&'static str) -> BoxFuture<'static, Fate> + Send + Sync + 'static) {
        *self.plan.write().unwrap() = Arc::new(plan);
    }

    fn calls(&self, method: &str) -> usize {
        self.calls.lock().unwrap().get(method).copied().unwrap_or(0)
    }

    fn next(&self, method: &'static str) -> BoxFuture<'static, Fate> {
        *self.calls.lock().unwrap().entry(method).or_default() += 1;
        let plan = self.plan.read().unwrap().clone();
        plan(method)
    }

    async fn meet<T>(&self, method: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.meet_or(method, call, || unreachable!("{method} can't pretend")).await
    }

    async fn meet_or<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T>>,
        pretend: impl FnOnce() -> T,
    ) -> Result<T> {
        match self.next(method).await {
            Fate::Works => call.await,
            Fate::FailsBefore => Err(Error::unavailable(format!("{method} has no effect"))),
            Fate::Breaks => Err(Error::internal(format!("{method} is broken"))),
            Fate::FailsAfter => {
                call.await?;
                Err(Error::unavailable(format!("{method} has its effect")))
            }
            Fate::Pretends => Ok(pretend()),
        }
    }
}

/// A store over another.
pub(crate) struct FatedStore {
    inner: Arc<dyn Store>,
    fates: Fates,
}

/// A queue that can lose its memory.
pub(crate) struct FatedQueue {
    inner: RwLock<Arc<dyn Queue>>,
    fates: Fates,
}

macro_rules! fated {
    ($name:ident) => {
        impl $name {
            /// From now on `plan` decides about calls.
            pub(crate) fn plan(&self, plan: impl Fn(&'static str) -> Fate + Send + Sync + 'static) {
                self.fates.set(plan);
            }

            /// The same with a plan that may take its time.
            pub(crate) fn slow_plan(
                &self,
                plan: impl Fn(&'static str) -> BoxFuture<'static, Fate> + Send + Sync + 'static,
            ) {
                self.fates.set_slow(plan);
            }

            /// How often that method was called.
            pub(crate) fn calls(&self, method: &str) -> usize {
                self.fates.calls(method)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

fated!(FatedStore);
fated!(FatedQueue);

impl FatedStore {
    pub(crate) fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, fates: Fates::new() })
    }

    pub(crate) fn new() -> Arc<Self> {
        Self::over(Arc::new(MemoryStore::new()))
    }
}

impl FatedQueue {
    pub(crate) fn over(inner: Arc<dyn Queue>) -> Arc<Self> {
        Arc::new(Self { inner: RwLock::new(inner), fates: Fates::new() })
    }

    pub(crate) fn new() -> Arc<Self> {
        Self::over(Arc::new(MemoryQueue::new()))
    }

    /// Loses all jobs and leases.
    pub(crate) fn forget(&self) {
        *self.inner.write().unwrap() = Arc::new(MemoryQueue::new());
    }

    fn inner(&self) -> Arc<dyn Queue> {
        self.inner.read().unwrap().clone()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for FatedStore {
    async fn insert_session(&self, session: &Session) -> Result<()> {
        self.fates.meet("insert_session", self.inner.insert_session(session)).await
    }

    async fn session(&self, id: SessionId) -> Result<Session> {
        self.fates.meet("session", self.inner.session(id)).await
    }

    async fn update_session(&self, session: &Session) -> Result<()> {
        self.fates.meet("update_session", self.inner.update_session(session)).await
    }

    async fn revisions(
        &self,
        id: SessionId,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<RevisionHead>> {
        self.fates.meet("revisions", self.inner.revisions(id, before, limit)).await
    }

    async fn revision(&self, id: SessionId, revision: Revision) -> Result<SessionRevision> {
        self.fates.meet("revision", self.inner.revision(id, revision)).await
    }

    async fn insert(&self, execution: &Execution, spec: &ExecutionSpec) -> Result<Inserted> {
        self.fates.meet("insert", self.inner.insert(execution, spec)).await
    }

    fn is_queue(&self) -> bool {
        self.inner.is_queue()
    }

    async fn by_key(
        &self,
        owner: &Owner,
        session: Option<SessionId>,
        key: &str,
    ) -> Result<Option<Execution>> {
        self.fates.meet("by_key", self.inner.by_key(owner, session, key)).await
    }

    async fn spec(&self, id: ExecutionId) -> Result<ExecutionSpec> {
        self.fates.meet("spec", self.inner.spec(id)).await
    }

    async fn get(&self, id: ExecutionId) -> Result<Execution> {
        self.fates.meet("get", self.inner.get(id)).await
    }

    async fn update(&self, execution: &Execution, output: &[Output]) -> Result<Seq> {
        self.fates.meet("update", self.inner.update(execution, output)).await
    }

    async fn append(&self, id: ExecutionId, attempt: u32, output: &[Output]) -> Result<()> {
        self.fates.meet("append", self.inner.append(id, attempt, output)).await
    }

    async fn output(&self, id: ExecutionId) -> Result<Captured> {
        self.fates.meet("output", self.inner.output(id)).await
    }

    fn events(&self, id: ExecutionId, after: Seq, follow: Follow) -> BoxStream<'static, Result<Event>> {
        let events = self.inner.events(id, after, follow);
        let fate = self.fates.next("events");
        async move {
            match fate.await {
                Fate::Works => events,
                Fate::FailsBefore | Fate::Breaks | Fate::FailsAfter | Fate::Pretends => {
                    stream::iter([Err(Error::unavailable("events can't be followed"))]).boxed()
                }
            }
        }
        .flatten_stream()
        .boxed()
    }

    async fn add_input(&self, id: ExecutionId, bytes: Option<Bytes>) -> Result<Seq> {
        self.fates.meet("add_input", self.inner.add_input(id, bytes)).await
    }

    fn inputs(&self, id: ExecutionId, after: Seq) -> BoxStream<'static, Result<Input>> {
        let inputs = self.inner.inputs(id, after);
        let fate = self.fates.next("inputs");
        async move {
            match fate.await {
                Fate::Works => inputs,
                // After the first piece, where it's after.
                fate => {
                    let pieces = usize::from(matches!(fate, Fate::FailsAfter | Fate::Pretends));
                    let error = Error::unavailable("inputs can't be followed");
                    inputs.take(pieces).chain(stream::iter([Err(error)])).boxed()
                }
            }
        }
        .flatten_stream()
        .boxed()
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Execution>> {
        self.fates.meet("list", self.inner.list(query)).await
    }

    async fn delivery(&self, id: ExecutionId) -> Result<Option<Delivery>> {
        self.fates.meet("delivery", self.inner.delivery(id)).await
    }

    async fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>> {
        self.fates.meet("deliveries", self.inner.deliveries(query)).await
    }

    async fn update_delivery(&self, delivery: &Delivery) -> Result<()> {
        self.fates.meet("update_delivery", self.inner.update_delivery(delivery)).await
    }

    async fn prune(&self, query: &PruneQuery) -> Result<Pruned> {
        self.fates.meet("prune", self.inner.prune(query)).await
    }

    async fn count_open(&self, owner: &Owner, session: Option<SessionId>, most: u64) -> Result<u64> {
        self.fates.meet("count_open", self.inner.count_open(owner, session, most)).await
    }

    async fn admit(&self, who: &str, quota: &Quota, now: Timestamp) -> Result<Option<Refusal>> {
        self.fates.meet("admit", self.inner.admit(who, quota, now)).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Queue for FatedQueue {
    async fn push(&self, jobs: &[Job]) -> Result<()> {
        let push = async { self.inner().push(jobs).await };
        self.fates.meet_or("push", push, || ()).await
    }

    async fn claim(&self, max: usize, wait: Duration, lease: Duration) -> Result<Vec<Lease>> {
        let claim = async { self.inner().claim(max, wait, lease).await };
        self.fates.meet("claim", claim).await
    }

    async fn extend(&self, leases: &[Lease], by: Duration) -> Result<Vec<Lease>> {
        let extend = async { self.inner().extend(leases, by).await };
        self.fates.meet_or("extend", extend, Vec::new).await
    }

    async fn ack(&self, leases: &[Lease]) -> Result<()> {
        let ack = async { self.inner().ack(leases).await };
        self.fates.meet("ack", ack).await
    }

    async fn stats(&self) -> Result<QueueStats> {
        let stats = async { self.inner().stats().await };
        self.fates.meet("stats", stats).await
    }
}
