//! Looks at single records, shared by all who look at the same time.
//!
//! Each takes what its record is now: the statement begins when all of its callers have asked. What is larger than 32 KiB is left out
//! and read by its caller alone, so that nobody waits for another's megabytes; a look that finds nothing is made alone as well, and
//! that one says so.

use std::{collections::HashMap, marker::PhantomData};

use livecode_core::{Captured, Delivery, Execution, Result, Session};
use sqlx::{PgConnection, postgres::PgRow};
use uuid::Uuid;

use super::{
    deliveries,
    lanes::Call,
    rows::{self, column},
};

/// A record that has an id.
pub(super) trait Record: Send + Sized + 'static {
    /// Asks for those of the ids `$1` that there are, with their `id`. Whatever is joined is looked up for each of them, whatever plan
    /// the server has kept since a table was small.
    const SELECT: &'static str;

    fn read(row: &PgRow) -> Result<Self>;
}

impl Record for Session {
    const SELECT: &'static str = "SELECT session.*, source FROM session CROSS JOIN LATERAL (
             SELECT source FROM session_revision
             WHERE session_id = session.id AND session_revision.revision = session.revision LIMIT 1
         ) AS saved
         WHERE id = ANY($1) AND octet_length(source) <= 32768";

    fn read(row: &PgRow) -> Result<Self> {
        rows::session(row)
    }
}

impl Record for Execution {
    const SELECT: &'static str = "SELECT * FROM execution
         WHERE id = ANY($1) AND coalesce(octet_length(outcome), 0) + coalesce(octet_length(failure), 0) <= 32768";

    fn read(row: &PgRow) -> Result<Self> {
        rows::execution(row)
    }
}

/// Of the latest attempt.
impl Record for Captured {
    const SELECT: &'static str = "SELECT id, stdout, stderr FROM execution CROSS JOIN LATERAL (
             SELECT string_agg(bytes, '' ORDER BY seq) FILTER (WHERE stdio = 1) AS stdout,
                 string_agg(bytes, '' ORDER BY seq) FILTER (WHERE stdio = 2) AS stderr
             FROM output WHERE execution_id = execution.id AND output.attempt = execution.attempt
         ) AS written
         WHERE id = ANY($1)
             AND (SELECT coalesce(sum(octet_length(bytes)), 0) FROM output WHERE execution_id = execution.id) <= 32768";

    fn read(row: &PgRow) -> Result<Self> {
        let stream = |name| Ok(column::<Option<Vec<u8>>>(row, name)?.unwrap_or_default().into());
        Ok(Self { stdout: stream("stdout")?, stderr: stream("stderr")? })
    }
}

/// Its URL and the sentence in it are never large.
impl Record for Delivery {
    const SELECT: &'static str = "SELECT execution_id AS id, delivery.*, (SELECT owner FROM execution WHERE execution.id = execution_id)
         AS owner FROM delivery WHERE execution_id = ANY($1)";

    fn read(row: &PgRow) -> Result<Self> {
        deliveries::delivery(row)
    }
}

/// Looks at the record that has this id; makes none where there isn't one, or it's large.
#[derive(Debug)]
pub(super) struct Look<R> {
    id: Uuid,
    record: PhantomData<fn() -> R>,
}

impl<R> Look<R> {
    pub(super) fn at(id: Uuid) -> Self {
        Self { id, record: PhantomData }
    }
}

impl<R: Record> Call for Look<R> {
    type Made = Option<R>;

    fn joins(&self, _: &[Self]) -> bool {
        true
    }

    async fn make(
        looks: &[Self],
        connection: &mut PgConnection,
    ) -> Result<Vec<Result<Option<R>>>, sqlx::Error> {
        let ids: Vec<Uuid> = looks.iter().map(|look| look.id).collect();
        let rows = sqlx::query(R::SELECT).bind(ids).fetch_all(connection).await?;
        let by_id: HashMap<Uuid, &PgRow> =
            rows.iter().filter_map(|row| Some((column(row, "id").ok()?, row))).collect();
        Ok(looks.iter().map(|look| by_id.get(&look.id).map(|row| R::read(row)).transpose()).collect())
    }
}
