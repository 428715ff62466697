//! Where the word of an execution's end stands.

use livecode_core::{Delivery, DeliveryQuery, Error, Owner, Result, Timestamp};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    connections::Connections,
    rows::{column, count, from_json, moment, optional_from_json, parsed},
};
use crate::{
    error::from_sqlx,
    value::{at_most, check_version, damaged, json, signed, unsigned},
};

pub(super) async fn due(connections: &Connections, query: &DeliveryQuery) -> Result<Vec<Delivery>> {
    let (after, after_id) = match query.after {
        Some((at, id)) => (at.as_millis(), id.as_uuid()),
        None => (i64::MIN, Uuid::nil()),
    };
    let wanted = at_most(query.limit as u64);
    // What can't be read doesn't fill a page. Where there is any, all is read anew, so that it's of one moment.
    let mut damaged = 0;
    loop {
        let limit = wanted.saturating_add(damaged);
        // No foreign key says that there is the execution.
        let select = sqlx::query(
            "SELECT delivery.*, execution.owner FROM delivery JOIN execution ON execution.id = execution_id
             WHERE due_at <= $1 AND (due_at, execution_id) > ($2, $3) ORDER BY due_at, execution_id LIMIT $4",
        )
        .bind(query.due_until.as_millis())
        .bind(after)
        .bind(after_id)
        .bind(limit);
        let rows = connections.rows(select).await.map_err(from_sqlx)?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            match delivery(row) {
                Ok(delivery) => found.push(delivery),
                Err(error) => tracing::debug!(%error, "what is due leaves out a delivery that can't be read"),
            }
        }
        if at_most(rows.len() as u64) < limit || at_most(found.len() as u64) >= wanted {
            found.truncate(query.limit);
            return Ok(found);
        }
        damaged += wanted - at_most(found.len() as u64);
    }
}

pub(super) fn delivery(row: &PgRow) -> Result<Delivery> {
    Ok(Delivery {
        execution_id: column::<Uuid>(row, "execution_id")?.into(),
        owner: Owner::new(column::<String>(row, "owner")?).map_err(damaged)?,
        url: from_json(row, "url")?,
        state: parsed(row, "state")?,
        attempts: count(row, "attempts")?,
        due_at: moment(row, "due_at")?,
        delivered_at: moment(row, "delivered_at")?,
        last_error: optional_from_json(row, "last_error")?,
        version: unsigned(column(row, "version")?)?,
    })
}

pub(super) async fn update(connections: &Connections, delivery: &Delivery) -> Result<()> {
    let id = delivery.execution_id;
    let version = signed(delivery.version)?;
    let update = sqlx::query(
        "UPDATE delivery SET state = $2, attempts = $3, due_at = $4, delivered_at = $5, last_error = $6, version = $7
         WHERE execution_id = $1 AND version = $7 - 1 RETURNING version",
    )
    .bind(id.as_uuid())
    .bind(delivery.state.as_str())
    .bind(i64::from(delivery.attempts))
    .bind(delivery.due_at.map(Timestamp::as_millis))
    .bind(delivery.delivered_at.map(Timestamp::as_millis))
    .bind(delivery.last_error.as_ref().map(json).transpose()?)
    .bind(version);
    if connections.row(update).await.map_err(from_sqlx)?.is_some() {
        return Ok(());
    }
    let select = sqlx::query("SELECT version FROM delivery WHERE execution_id = $1").bind(id.as_uuid());
    let stored = connections.row(select).await.map_err(from_sqlx)?;
    let what = format_args!("the delivery of execution {id}");
    let stored = column(&stored.ok_or_else(|| Error::not_found(what))?, "version")?;
    check_version(what, stored, version)?;
    Err(Error::conflict(format!("{what} was changed meanwhile: read it again")))
}
