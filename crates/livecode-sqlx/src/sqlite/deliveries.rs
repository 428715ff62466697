//! Where the word of an execution's end stands.

use futures_util::TryStreamExt;
use livecode_core::{Delivery, DeliveryQuery, Error, ExecutionId, Owner, Result, Timestamp};
use sqlx::{SqlitePool, sqlite::SqliteRow};
use uuid::Uuid;

use super::{
    rows::{column, moment, parsed},
    writer::{Failure, Transaction},
};
use crate::{
    error::from_sqlx,
    value::{check_version, damaged, signed, unsigned},
};

pub(super) async fn get(readers: &SqlitePool, id: ExecutionId) -> Result<Option<Delivery>> {
    let select = sqlx::query(
        "SELECT *, (SELECT owner FROM execution WHERE id = execution_id) AS owner FROM delivery WHERE execution_id = ?",
    )
    .bind(id.as_uuid());
    let row = select.fetch_optional(readers).await.map_err(from_sqlx)?;
    row.as_ref().map(delivery).transpose()
}

pub(super) async fn due(readers: &SqlitePool, query: &DeliveryQuery) -> Result<Vec<Delivery>> {
    let (after, after_id) = match query.after {
        Some((at, id)) => (at.as_millis(), id.as_uuid()),
        None => (i64::MIN, Uuid::nil()),
    };
    // Without LIMIT, because what can't be read doesn't fill a page; no more rows are read than it takes.
    let mut rows = sqlx::query(
        "SELECT delivery.*, execution.owner FROM delivery CROSS JOIN execution ON execution.id = execution_id
         WHERE due_at <= ? AND (due_at, execution_id) > (?, ?) ORDER BY due_at, execution_id",
    )
    .bind(query.due_until.as_millis())
    .bind(after)
    .bind(after_id)
    .fetch(readers);
    let mut found = Vec::new();
    while found.len() < query.limit
        && let Some(row) = rows.try_next().await.map_err(from_sqlx)?
    {
        match delivery(&row) {
            Ok(delivery) => found.push(delivery),
            Err(error) => tracing::debug!(%error, "what is due leaves out a delivery that can't be read"),
        }
    }
    Ok(found)
}

fn delivery(row: &SqliteRow) -> Result<Delivery> {
    Ok(Delivery {
        execution_id: column::<Uuid>(row, "execution_id")?.into(),
        owner: Owner::new(column::<String>(row, "owner")?).map_err(damaged)?,
        url: column(row, "url")?,
        state: parsed(row, "state")?,
        attempts: column(row, "attempts")?,
        due_at: moment(row, "due_at")?,
        delivered_at: moment(row, "delivered_at")?,
        last_error: column(row, "last_error")?,
        version: unsigned(column(row, "version")?)?,
    })
}

pub(super) async fn update(transaction: Transaction<'_>, delivery: Delivery) -> Result<(), Failure> {
    let id = delivery.execution_id;
    let version = signed(delivery.version)?;
    let updated = sqlx::query(transaction.only(
        "UPDATE delivery SET state = ?, attempts = ?, due_at = ?, delivered_at = ?, last_error = ?, version = ?
         WHERE execution_id = ? AND version = ? RETURNING version",
    ))
    .bind(delivery.state.as_str())
    .bind(delivery.attempts)
    .bind(delivery.due_at.map(Timestamp::as_millis))
    .bind(delivery.delivered_at.map(Timestamp::as_millis))
    .bind(&delivery.last_error)
    .bind(version)
    .bind(id.as_uuid())
    .bind(version - 1)
    .fetch_all(&mut *transaction.connection)
    .await?;
    if !updated.is_empty() {
        return Ok(());
    }
    let stored: Option<i64> = sqlx::query_scalar("SELECT version FROM delivery WHERE execution_id = ?")
        .bind(id.as_uuid())
        .fetch_optional(transaction.connection)
        .await?;
    let what = format_args!("the delivery of execution {id}");
    check_version(what, stored.ok_or_else(|| Error::not_found(what))?, version)?;
    Err(Error::conflict(format!("{what} was changed meanwhile: read it again")).into())
}
