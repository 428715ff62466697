//! Which executions are old, and their end.

use std::ops::Bound;

use super::Records;
use crate::{ExecutionId, PruneQuery, Pruned};

impl Records {
    pub(super) fn prune(&mut self, query: &PruneQuery) -> Pruned {
        let start = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let ended = self.ended.range((start, Bound::Unbounded));
        let page: Vec<_> =
            ended.take_while(|(at, _)| *at < query.ended_before).take(query.limit).copied().collect();
        let mut deleted = 0;
        for &(at, id) in &page {
            if !self.is_kept(id, query.keep_per_session) {
                self.ended.remove(&(at, id));
                self.delete(id);
                deleted += 1;
            }
        }
        Pruned { deleted, last: page.last().filter(|_| page.len() == query.limit).copied() }
    }

    /// Whether it's one of the newest `keep` of its session.
    fn is_kept(&self, id: ExecutionId, keep: usize) -> bool {
        let session = self.executions.get(&id).and_then(|record| record.execution.session_id);
        let siblings = session.and_then(|session| self.by_session.get(&session));
        let newer = (Bound::Excluded(id), Bound::Unbounded);
        siblings.is_some_and(|siblings| siblings.range(newer).take(keep).count() < keep)
    }
}
