//! Records in PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use livecode_core::{
    Captured, Delivery, DeliveryQuery, Event, Execution, ExecutionId, ExecutionSpec, Follow, Input, Inserted,
    ListQuery, Output, Owner, PageStart, PruneQuery, Pruned, Quota, Refusal, Result, Revision, RevisionHead,
    Seq, Session, SessionId, SessionRevision, Stdio, Store, Timestamp,
};
use sqlx::QueryBuilder;

use super::{
    Database, deliveries, events,
    executions::{self, Append, Insert, Update},
    inputs,
    looks::Look,
    quota::{self, Admit},
    retention, rows, sessions,
};
use crate::{error::from_sqlx, follower, value::at_most};

/// A [`Store`] in a PostgreSQL database, from [`Postgres::store`](crate::Postgres::store) or
/// [`Postgres::store_and_queue`](crate::Postgres::store_and_queue).
///
/// It keeps a session's source once for each revision: [`Store::update_session`] takes a changed source only with a higher
/// revision, as [`Session::save`] gives it. Of an execution it never changes what was asked, nor one that has ended.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    database: Arc<Database>,
    /// Whether the queue in the same database is the one of these executions.
    is_queue: bool,
}

impl PostgresStore {
    pub(super) fn new(database: Arc<Database>, is_queue: bool) -> Self {
        Self { database, is_queue }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn insert_session(&self, session: &Session) -> Result<()> {
        sessions::insert(&self.database.connections, session).await
    }

    async fn session(&self, id: SessionId) -> Result<Session> {
        if let Some(session) = self.database.sessions.make(Look::at(id.as_uuid())).await? {
            return Ok(session);
        }
        let select = sqlx::query(
            "SELECT * FROM session JOIN session_revision USING (revision) WHERE id = $1 AND session_id = $1",
        )
        .bind(id.as_uuid());
        let row = self.database.connections.row(select).await.map_err(from_sqlx)?;
        rows::session(&row.ok_or_else(|| sessions::unknown(id))?)
    }

    async fn update_session(&self, session: &Session) -> Result<()> {
        sessions::update(&self.database.connections, session).await
    }

    async fn revisions(
        &self,
        id: SessionId,
        before: Option<Revision>,
        limit: usize,
    ) -> Result<Vec<RevisionHead>> {
        let select = sqlx::query(
            "SELECT revision, language, saved_at FROM session_revision
             WHERE session_id = $1 AND revision < $2 ORDER BY revision DESC LIMIT $3",
        )
        .bind(id.as_uuid())
        .bind(before.map_or(i64::MAX, |before| at_most(before.0)))
        .bind(at_most(limit as u64));
        let rows = self.database.connections.rows(select).await.map_err(from_sqlx)?;
        rows.iter().map(rows::revision_head).collect()
    }

    async fn revision(&self, id: SessionId, revision: Revision) -> Result<SessionRevision> {
        // One that the database can't count to isn't there.
        let select = sqlx::query("SELECT * FROM session_revision WHERE session_id = $1 AND revision = $2")
            .bind(id.as_uuid())
            .bind(i64::try_from(revision.0).ok());
        let row = self.database.connections.row(select).await.map_err(from_sqlx)?;
        rows::revision(&row.ok_or_else(|| sessions::unknown_revision(id, revision))?)
    }

    async fn insert(&self, execution: &Execution, spec: &ExecutionSpec) -> Result<Inserted> {
        let insert = Insert::new(execution.clone(), spec, self.is_queue)?;
        let inserted = self.database.inserts.make(insert).await?;
        if self.is_queue {
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
        let select = executions::by_key(owner, session, key)?;
        let row = self.database.connections.row(select).await.map_err(from_sqlx)?;
        row.as_ref().map(rows::execution).transpose()
    }

    async fn get(&self, id: ExecutionId) -> Result<Execution> {
        if let Some(execution) = self.database.executions.make(Look::at(id.as_uuid())).await? {
            return Ok(execution);
        }
        rows::execution(&executions::row(&self.database.connections, id).await?)
    }

    async fn spec(&self, id: ExecutionId) -> Result<ExecutionSpec> {
        let select = sqlx::query("SELECT spec FROM spec WHERE execution_id = $1").bind(id.as_uuid());
        let row = self.database.connections.row(select).await.map_err(from_sqlx)?;
        rows::spec(&row.ok_or_else(|| executions::unknown(id))?)
    }

    async fn update(&self, execution: &Execution, output: &[Output]) -> Result<Seq> {
        let id = execution.id;
        let has_ended = execution.state.is_terminal();
        let update = Update::new(execution.clone(), output.to_vec(), self.is_queue)?;
        let last = self.database.updates.make(update).await?;
        self.database.waiters.log_grew(id, last, has_ended);
        Ok(last)
    }

    async fn append(&self, id: ExecutionId, attempt: u32, output: &[Output]) -> Result<()> {
        let last = self.database.appends.make(Append { id, attempt, output: output.to_vec() }).await?;
        self.database.waiters.log_grew(id, last, false);
        Ok(())
    }

    async fn output(&self, id: ExecutionId) -> Result<Captured> {
        if let Some(written) = self.database.outputs.make(Look::at(id.as_uuid())).await? {
            return Ok(written);
        }
        // One row at least where there is such an execution: a stream of none.
        let select = sqlx::query(
            "SELECT output.stdio, output.bytes FROM execution
             LEFT JOIN output ON output.execution_id = id AND output.attempt = execution.attempt
             WHERE id = $1 ORDER BY output.seq",
        )
        .bind(id.as_uuid());
        let rows = self.database.connections.rows(select).await.map_err(from_sqlx)?;
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
        let last = inputs::add(&self.database, id, bytes).await?;
        self.database.waiters.input_grew(id, last);
        Ok(last)
    }

    fn inputs(&self, id: ExecutionId, after: Seq) -> BoxStream<'static, Result<Input>> {
        crate::inputs::inputs(inputs::Inputs { database: self.database.clone(), id }, after)
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Execution>> {
        let wanted = at_most(query.limit as u64);
        // What can't be read doesn't fill a page. Where there is any, all is read anew, so that it's of one moment.
        let mut damaged = 0;
        loop {
            let limit = wanted.saturating_add(damaged);
            let mut select = select(query, limit);
            let rows = self.database.connections.rows(select.build()).await.map_err(from_sqlx)?;
            let mut found = Vec::with_capacity(rows.len());
            for row in &rows {
                match rows::execution(row) {
                    Ok(execution) => found.push(execution),
                    Err(error) => {
                        tracing::debug!(%error, "a list leaves out an execution that can't be read")
                    }
                }
            }
            if at_most(rows.len() as u64) < limit || at_most(found.len() as u64) >= wanted {
                found.truncate(query.limit);
                return Ok(found);
            }
            damaged += wanted - at_most(found.len() as u64);
        }
    }

    async fn delivery(&self, id: ExecutionId) -> Result<Option<Delivery>> {
        self.database.deliveries.make(Look::at(id.as_uuid())).await
    }

    async fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>> {
        deliveries::due(&self.database.connections, query).await
    }

    async fn update_delivery(&self, delivery: &Delivery) -> Result<()> {
        deliveries::update(&self.database.connections, delivery).await
    }

    async fn prune(&self, query: &PruneQuery) -> Result<Pruned> {
        let page = retention::page(&self.database.connections, query).await?;
        let deleted = match page.old.len() {
            0 => 0,
            _ => retention::delete(&self.database.connections, page.old).await?,
        };
        Ok(Pruned { deleted, last: page.last })
    }

    async fn count_open(&self, owner: &Owner, session: Option<SessionId>, most: u64) -> Result<u64> {
        quota::count_open(&self.database.connections, owner, session, most).await
    }

    async fn admit(&self, who: &str, quota: &Quota, now: Timestamp) -> Result<Option<Refusal>> {
        self.database.admits.make(Admit { who: who.to_owned(), quota: *quota, now }).await
    }
}

fn select(query: &ListQuery, limit: i64) -> QueryBuilder<sqlx::Postgres> {
    let mut select = QueryBuilder::new("SELECT * FROM execution WHERE true");
    // Those that are open are few: by a comparison that no index has, none of a whole history is taken for them.
    let (owned_by, of_session) = match query.open_since_before {
        Some(_) => (" AND owner IS NOT DISTINCT FROM ", " AND session_id IS NOT DISTINCT FROM "),
        None => (" AND owner = ", " AND session_id = "),
    };
    if let Some(owner) = &query.owner {
        select.push(owned_by).push_bind(owner.as_str().to_owned());
    }
    if let Some(session) = query.session {
        select.push(of_session).push_bind(session.as_uuid());
    }
    if let Some(moment) = query.open_since_before {
        select.push(" AND completed_at IS NULL AND created_at < ").push_bind(moment.as_millis());
    }
    let order = match query.page {
        PageStart::Before(start) => {
            if let Some(id) = start {
                select.push(" AND id < ").push_bind(id.as_uuid());
            }
            " ORDER BY id DESC LIMIT "
        }
        PageStart::After(start) => {
            if let Some(id) = start {
                select.push(" AND id > ").push_bind(id.as_uuid());
            }
            " ORDER BY id LIMIT "
        }
    };
    select.push(order).push_bind(limit);
    select
}
