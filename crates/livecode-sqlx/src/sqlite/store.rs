//! Records in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, TryStreamExt, stream::BoxStream};
use livecode_core::{
    Captured, Delivery, DeliveryQuery, Event, Execution, ExecutionId, ExecutionSpec, Follow, Input, Inserted,
    ListQuery, Output, Owner, PageStart, PruneQuery, Pruned, Quota, Refusal, Result, Revision, RevisionHead,
    Seq, Session, SessionId, SessionRevision, Stdio, Store, Timestamp,
};
use sqlx::QueryBuilder;

use super::{
    Database, deliveries, events, executions, inputs, quota, retention, rows, sessions,
    writer::{Calls, Survives},
};
use crate::{
    error::from_sqlx,
    follower,
    value::{at_most, json},
};

/// A [`Store`] in a SQLite file, from [`Sqlite::store`](crate::Sqlite::store) or
/// [`Sqlite::store_and_queue`](crate::Sqlite::store_and_queue).
///
/// It keeps a session's source once for each revision: [`Store::update_session`] takes a changed source only with a higher
/// revision, as [`Session::save`] gives it. Of an execution it never changes what was asked, nor one that has ended. The file
/// doesn't shrink by [`Store::prune`]: what was freed is written again.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    database: Arc<Database>,
    /// Whether the queue in the same file is the one of these executions.
    is_queue: bool,
}

impl SqliteStore {
    pub(super) fn new(database: Arc<Database>, is_queue: bool) -> Self {
        Self { database, is_queue }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert_session(&self, session: &Session) -> Result<()> {
        let source = json(&session.source)?;
        let session = session.clone();
        self.database
            .writer
            .write(Survives::PowerCut, Calls::Several, move |transaction| {
                sessions::insert(transaction.connection, session.clone(), source.clone()).boxed()
            })
            .await
    }

    async fn session(&self, id: SessionId) -> Result<Session> {
        let row = sqlx::query(
            "SELECT * FROM session JOIN session_revision USING (revision) WHERE id = ?1 AND session_id = ?1",
        )
        .bind(id.as_uuid())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(from_sqlx)?;
        rows::session(&row.ok_or_else(|| sessions::unknown(id))?)
    }

    async fn update_session(&self, session: &Session) -> Result<()> {
        let source = json(&session.source)?;
        let session = session.clone();
        self.database
            .writer
            .write(Survives::PowerCut, Calls::Several, move |transaction| {
                sessions::update(transaction.connection, session.clone(), source.clone()).boxed()
            })
            .await
    }

    async fn revisions(
        &self,
        id: SessionId,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<RevisionHead>> {
        let rows = sqlx::query(
            "SELECT revision, language, saved_at FROM session_revision
             WHERE session_id = ?1 AND revision < ?2 ORDER BY revision DESC LIMIT ?3",
        )
        .bind(id.as_uuid())
        .bind(before.map_or(i64::MAX, |before| at_most(before.0)))
        .bind(at_most(limit as u64))
        .fetch_all(&self.database.readers)
        .await
        .map_err(from_sqlx)?;
        rows.iter().map(rows::revision_head).collect()
    }

    async fn revision(&self, id: SessionId, revision: Revision) -> Result<SessionRevision> {
        // One that the database can't count to isn't there.
        let row = sqlx::query("SELECT * FROM session_revision WHERE session_id = ? AND revision = ?")
            .bind(id.as_uuid())
            .bind(i64::try_from(revision.0).ok())
            .fetch_optional(&self.database.readers)
            .await
            .map_err(from_sqlx)?;
        rows::revision(&row.ok_or_else(|| sessions::unknown_revision(id, revision))?)
    }

    async fn insert(&self, execution: &Execution, spec: &ExecutionSpec) -> Result<Inserted> {
        let (takes_input, callback_url) = (spec.stdin_open, spec.callback_url.clone());
        let spec = json(spec)?;
        let execution = execution.clone();
        let is_queue = self.is_queue;
        // Who has a key looks first whether it was used.
        let calls = if execution.idempotency_key.is_none() { Calls::One } else { Calls::Several };
        let inserted = self
            .database
            .writer
            .write(Survives::PowerCut, calls, move |transaction| {
                let (execution, spec, callback_url) = (execution.clone(), spec.clone(), callback_url.clone());
                executions::insert(transaction, execution, spec, takes_input, callback_url, is_queue).boxed()
            })
            .await?;
        if is_queue {
            self.database.waiters.jobs_came();
        }
        Ok(inserted)
    }

    fn is_queue(&self) -> bool {
        self.is_queue
    }

    async fn by_key(
        &self,
        owner: &Owner,
        session: Option<SessionId>,
        key: &str,
    ) -> Result<Option<Execution>> {
        let mut reader = self.database.readers.acquire().await.map_err(from_sqlx)?;
        let row = executions::by_key(&mut reader, owner, session, key).await.map_err(from_sqlx)?;
        row.as_ref().map(rows::execution).transpose()
    }

    async fn get(&self, id: ExecutionId) -> Result<Execution> {
        let mut reader = self.database.readers.acquire().await.map_err(from_sqlx)?;
        executions::get(&mut reader, id).await
    }

    async fn spec(&self, id: ExecutionId) -> Result<ExecutionSpec> {
        let row = sqlx::query("SELECT spec FROM spec WHERE execution_id = ?")
            .bind(id.as_uuid())
            .fetch_optional(&self.database.readers)
            .await
            .map_err(from_sqlx)?;
        rows::spec(&row.ok_or_else(|| executions::unknown(id))?)
    }

    async fn update(&self, execution: &Execution, output: &[Output]) -> Result<Seq> {
        let id = execution.id;
        // Ends and wishes are told to people; the steps between are made again where they are lost.
        let has_ended = execution.state.is_terminal();
        let is_told = has_ended || execution.cancel_requested_at.is_some();
        let survives = if is_told { Survives::PowerCut } else { Survives::Kill };
        let (execution, output) = (execution.clone(), output.to_vec());
        let is_queue = self.is_queue;
        let last = self
            .database
            .writer
            .write(survives, Calls::One, move |transaction| {
                executions::update(transaction, execution.clone(), output.clone(), is_queue).boxed()
            })
            .await?;
        self.database.waiters.log_grew(id, last, has_ended);
        Ok(last)
    }

    async fn append(&self, id: ExecutionId, attempt: u32, output: &[Output]) -> Result<()> {
        let output = output.to_vec();
        let last = self
            .database
            .writer
            .write(Survives::Kill, Calls::One, move |transaction| {
                executions::append(transaction, id, attempt, output.clone()).boxed()
            })
            .await?;
        self.database.waiters.log_grew(id, last, false);
        Ok(())
    }

    async fn output(&self, id: ExecutionId) -> Result<Captured> {
        // One row at least where there is such an execution: a stream of none.
        let rows = sqlx::query(
            "SELECT output.stdio, output.bytes FROM execution
             LEFT JOIN output ON output.execution_id = id AND output.attempt = execution.attempt
             WHERE id = ?1 ORDER BY output.seq",
        )
        .bind(id.as_uuid())
        .fetch_all(&self.database.readers)
        .await
        .map_err(from_sqlx)?;
        if rows.is_empty() {
            return Err(executions::unknown(id));
        }
        let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
        for row in &rows {
            match rows::output(row)? {
                Some(Output { stdio: Stdio::Stdout, bytes }) => stdout.extend_from_slice(&bytes),
                Some(Output { stdio: Stdio::Stderr, bytes }) => stderr.extend_from_slice(&bytes),
                None => {}
            }
        }
        Ok(Captured { stdout: stdout.freeze(), stderr: stderr.freeze() })
    }

    fn events(&self, id: ExecutionId, after: Seq, follow: Follow) -> BoxStream<'static, Result<Event>> {
        follower::events(events::Log { database: self.database.clone(), id }, after, follow)
    }

    async fn add_input(&self, id: ExecutionId, bytes: Option<Bytes>) -> Result<Seq> {
        let counts = crate::inputs::counts(bytes.as_ref())?;
        let last = self
            .database
            .writer
            .write(Survives::Kill, Calls::One, move |transaction| {
                inputs::add(transaction, id, bytes.clone(), counts).boxed()
            })
            .await?;
        self.database.waiters.input_grew(id, last);
        Ok(last)
    }

    fn inputs(&self, id: ExecutionId, after: Seq) -> BoxStream<'static, Result<Input>> {
        crate::inputs::inputs(inputs::Inputs { database: self.database.clone(), id }, after)
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Execution>> {
        let mut select = QueryBuilder::new("SELECT * FROM execution WHERE true");
        // Those that are open are few: with a plus, no index of a whole history is taken for them.
        let (owned_by, of_session) = match query.open_since_before {
            Some(_) => (" AND +owner = ", " AND +session_id = "),
            None => (" AND owner = ", " AND session_id = "),
        };
        if let Some(owner) = &query.owner {
            select.push(owned_by).push_bind(owner.as_str());
        }
        if let Some(session) = query.session {
            select.push(of_session).push_bind(session.as_uuid());
        }
        if let Some(moment) = query.open_since_before {
            select
                .push(" AND state IN ('QUEUED', 'RUNNING') AND created_at < ")
                .push_bind(moment.as_millis());
        }
        let order = match query.page {
            PageStart::Before(start) => {
                if let Some(id) = start {
                    select.push(" AND id < ").push_bind(id.as_uuid());
                }
                " ORDER BY id DESC"
            }
            PageStart::After(start) => {
                if let Some(id) = start {
                    select.push(" AND id > ").push_bind(id.as_uuid());
                }
                " ORDER BY id"
            }
        };
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        // Without LIMIT, because what can't be read doesn't fill a page; no more rows are read than it takes.
        let mut rows = select.push(order).build().fetch(&self.database.readers);
        let mut found = Vec::new();
        while found.len() < query.limit
            && let Some(row) = rows.try_next().await.map_err(from_sqlx)?
        {
            match rows::execution(&row) {
                Ok(execution) => found.push(execution),
                Err(error) => tracing::debug!(%error, "a list leaves out an execution that can't be read"),
            }
        }
        Ok(found)
    }

    async fn delivery(&self, id: ExecutionId) -> Result<Option<Delivery>> {
        deliveries::get(&self.database.readers, id).await
    }

    async fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>> {
        deliveries::due(&self.database.readers, query).await
    }

    async fn update_delivery(&self, delivery: &Delivery) -> Result<()> {
        // What a power cut takes back is told once more.
        let delivery = delivery.clone();
        self.database
            .writer
            .write(Survives::Kill, Calls::One, move |transaction| {
                deliveries::update(transaction, delivery.clone()).boxed()
            })
            .await
    }

    async fn prune(&self, query: &PruneQuery) -> Result<Pruned> {
        let page = retention::page(&self.database.readers, query).await?;
        let old = page.old;
        let deleted = match old.len() {
            0 => 0,
            // Those that a power cut brings back are deleted the next time.
            _ => {
                self.database
                    .writer
                    .write(Survives::Kill, Calls::Several, move |transaction| {
                        retention::delete(transaction.connection, old.clone()).boxed()
                    })
                    .await?
            }
        };
        Ok(Pruned { deleted, last: page.last })
    }

    async fn count_open(&self, owner: &Owner, session: Option<SessionId>, most: u64) -> Result<u64> {
        quota::count_open(&self.database.readers, owner, session, most).await
    }

    async fn admit(&self, who: &str, quota: &Quota, now: Timestamp) -> Result<Option<Refusal>> {
        let (who, quota) = (who.to_owned(), *quota);
        self.database
            .writer
            .write(Survives::Kill, Calls::Several, move |transaction| {
                quota::admit(transaction.connection, who.clone(), quota, now).boxed()
            })
            .await
    }
}
