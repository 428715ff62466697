//! Where the word of each execution's end stands.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
};

use super::store::check_version;
use crate::{Delivery, DeliveryQuery, Error, ExecutionId, Result, Timestamp};

#[derive(Default)]
pub(super) struct Deliveries {
    all: HashMap<ExecutionId, Delivery>,
    /// Those that there will be a try of, by when.
    due: BTreeSet<(Timestamp, ExecutionId)>,
}

impl Deliveries {
    pub(super) fn insert(&mut self, delivery: Option<Delivery>) {
        self.all.extend(delivery.map(|delivery| (delivery.execution_id, delivery)));
    }

    pub(super) fn execution_ended(&mut self, id: ExecutionId, at: Timestamp) {
        if let Some(delivery) = self.all.get_mut(&id) {
            delivery.due_at = Some(at);
            delivery.version += 1;
            self.due.insert((at, id));
        }
    }

    pub(super) fn get(&self, id: ExecutionId) -> Option<Delivery> {
        self.all.get(&id).cloned()
    }

    pub(super) fn due(&self, query: &DeliveryQuery) -> Vec<Delivery> {
        let start = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let due = self.due.range((start, Bound::Unbounded));
        let due = due.take_while(|(at, _)| *at <= query.due_until).take(query.limit);
        due.filter_map(|(_, id)| self.get(*id)).collect()
    }

    pub(super) fn update(&mut self, delivery: &Delivery) -> Result<()> {
        let id = delivery.execution_id;
        let what = format_args!("the delivery of execution {id}");
        let stored = self.all.get_mut(&id).ok_or_else(|| Error::not_found(what))?;
        check_version(what, stored.version, delivery.version)?;
        if let Some(at) = stored.due_at {
            self.due.remove(&(at, id));
        }
        self.due.extend(delivery.due_at.map(|at| (at, id)));
        *stored = delivery.clone();
        Ok(())
    }

    pub(super) fn delete(&mut self, id: ExecutionId) {
        if let Some(at) = self.all.remove(&id).and_then(|delivery| delivery.due_at) {
            self.due.remove(&(at, id));
        }
    }
}
