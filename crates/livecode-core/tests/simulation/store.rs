//! A store in memory behind a faulty link. What takes effect is noted down.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use livecode_core::{
    Captured, Delivery, DeliveryQuery, Event, Execution, ExecutionId, ExecutionSpec, Follow, Input, Inserted,
    Job, ListQuery, MemoryStore, Output, Owner, PruneQuery, Pruned, Queue, Quota, Refusal, Result, Revision,
    RevisionHead, Seq, Session, SessionId, SessionRevision, Store, Timestamp,
};

use crate::{history::Deed, link::Link, queue::Jobs};

pub(crate) struct FaultyStore {
    pub(crate) link: Arc<Link>,
    pub(crate) inner: Arc<MemoryStore>,
    /// Where it's the queue too.
    pub(crate) queue: Option<Arc<Jobs>>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("link", &self.link).finish_non_exhaustive()
    }
}

/// The call of a method with clones of its arguments.
macro_rules! call {
    ($self:ident, $about:expr, $method:ident ( $($argument:ident = $value:expr),* )) => {{
        let inner = $self.inner.clone();
        $(let $argument = $value;)*
        $self.link.call(stringify!($method), $about, async move { inner.$method($(&$argument),*).await }).await
    }};
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for FaultyStore {
    async fn insert_session(&self, session: &Session) -> Result<()> {
        call!(self, None, insert_session(session = session.clone()))
    }

    async fn session(&self, id: SessionId) -> Result<Session> {
        let inner = self.inner.clone();
        self.link.call("session", None, async move { inner.session(id).await }).await
    }

    async fn update_session(&self, session: &Session) -> Result<()> {
        call!(self, None, update_session(session = session.clone()))
    }

    async fn revisions(
        &self,
        id: SessionId,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<RevisionHead>> {
        self.inner.revisions(id, before, limit).await
    }

    async fn revision(&self, id: SessionId, revision: Revision) -> Result<SessionRevision> {
        self.inner.revision(id, revision).await
    }

    async fn insert(&self, execution: &Execution, spec: &ExecutionSpec) -> Result<Inserted> {
        let (link, inner, queue) = (self.link.clone(), self.inner.clone(), self.queue.clone());
        let (execution, spec) = (execution.clone(), spec.clone());
        let apply = async move {
            let inserted = inner.insert(&execution, &spec).await?;
            if inserted == Inserted::New {
                link.sim.history().insert(&execution);
                if let Some(queue) = queue {
                    let job = Job {
                        id: execution.id,
                        attempt: execution.attempt,
                        owner: execution.owner.clone(),
                        delay: execution.run_after.duration_since(execution.created_at),
                        priority: execution.priority,
                    };
                    queue.inner().push(&[job]).await?;
                }
            }
            Ok(inserted)
        };
        self.link.call("insert", None, apply).await
    }

    fn is_queue(&self) -> bool {
        self.queue.is_some()
    }

    async fn by_key(
        &self,
        owner: &Owner,
        session: Option<SessionId>,
        key: &str,
    ) -> Result<Option<Execution>> {
        let (inner, owner, key) = (self.inner.clone(), owner.clone(), key.to_owned());
        self.link.call("by_key", None, async move { inner.by_key(&owner, session, &key).await }).await
    }

    async fn get(&self, id: ExecutionId) -> Result<Execution> {
        let inner = self.inner.clone();
        self.link.call("get", Some(id), async move { inner.get(id).await }).await
    }

    async fn spec(&self, id: ExecutionId) -> Result<ExecutionSpec> {
        let inner = self.inner.clone();
        self.link.call("spec", Some(id), async move { inner.spec(id).await }).await
    }

    async fn update(&self, execution: &Execution, output: &[Output]) -> Result<Seq> {
        let (link, inner) = (self.link.clone(), self.inner.clone());
        let (execution, output) = (execution.clone(), output.to_vec());
        let about = Some(execution.id);
        let apply = async move {
            let seq = inner.update(&execution, &output).await?;
            link.sim.history().deeds.push(Deed(execution));
            Ok(seq)
        };
        self.link.call("update", about, apply).await
    }

    async fn append(&self, id: ExecutionId, attempt: u32, output: &[Output]) -> Result<()> {
        let (inner, output) = (self.inner.clone(), output.to_vec());
        self.link.call("append", Some(id), async move { inner.append(id, attempt, &output).await }).await
    }

    async fn output(&self, id: ExecutionId) -> Result<Captured> {
        let inner = self.inner.clone();
        self.link.call("output", Some(id), async move { inner.output(id).await }).await
    }

    fn events(&self, id: ExecutionId, after: Seq, follow: Follow) -> BoxStream<'static, Result<Event>> {
        self.link.stream("events", id, self.inner.events(id, after, follow))
    }

    async fn add_input(&self, id: ExecutionId, bytes: Option<Bytes>) -> Result<Seq> {
        let (link, inner) = (self.link.clone(), self.inner.clone());
        let apply = async move {
            let seq = inner.add_input(id, bytes.clone()).await?;
            link.sim.history().inputs.entry(id).or_default().extend(bytes);
            Ok(seq)
        };
        self.link.call("add_input", Some(id), apply).await
    }

    fn inputs(&self, id: ExecutionId, after: Seq) -> BoxStream<'static, Result<Input>> {
        self.link.stream("inputs", id, self.inner.inputs(id, after))
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Execution>> {
        call!(self, None, list(query = query.clone()))
    }

    async fn delivery(&self, id: ExecutionId) -> Result<Option<Delivery>> {
        self.inner.delivery(id).await
    }

    async fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>> {
        self.inner.deliveries(query).await
    }

    async fn update_delivery(&self, delivery: &Delivery) -> Result<()> {
        self.inner.update_delivery(delivery).await
    }

    async fn prune(&self, query: &PruneQuery) -> Result<Pruned> {
        self.inner.prune(query).await
    }

    async fn count_open(&self, owner: &Owner, session: Option<SessionId>, most: u64) -> Result<u64> {
        self.inner.count_open(owner, session, most).await
    }

    async fn admit(&self, who: &str, quota: &Quota, now: Timestamp) -> Result<Option<Refusal>> {
        self.inner.admit(who, quota, now).await
    }
}
