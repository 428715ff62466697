//! Who is told next: of what is due, so that nobody who is slow holds up others.

use std::collections::{HashMap, HashSet, VecDeque};

use livecode::{Delivery, ExecutionId, Owner};
use url::Url;

/// The most tries at a time; of one owner's; and at one receiver, which is a host and port.
const AT_A_TIME: usize = 32;
const OF_AN_OWNER: usize = 16;
const AT_A_RECEIVER: usize = 4;

/// The most that wait here, all together; of one owner, whatever the number of its receivers; and of that for one of them. The
/// others wait in the store.
const WAITING: usize = 2_048;
const WAITING_OF_AN_OWNER: usize = WAITING / 8;
const WAITING_FOR_A_RECEIVER: usize = WAITING_OF_AN_OWNER / 4;

/// What waits here, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The one that had its turn last is last.
    lanes: VecDeque<Lane>,
    known: HashSet<ExecutionId>,
    under_way: HashMap<Owner, usize>,
}

/// What one owner has for one receiver.
#[derive(Debug)]
struct Lane {
    owner: Owner,
    receiver: String,
    waiting: VecDeque<Delivery>,
    under_way: usize,
}

impl Turns {
    /// Whether no more can wait here.
    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= WAITING
    }

    /// Lets a delivery wait; not where it does, is under way, or its owner or its receiver has enough that do.
    pub(super) fn add(&mut self, delivery: Delivery) {
        if self.is_full() || self.known.contains(&delivery.execution_id) {
            return;
        }
        let of_owner = self.lanes.iter().filter(|lane| lane.owner == delivery.owner);
        if of_owner.map(|lane| lane.waiting.len()).sum::<usize>() >= WAITING_OF_AN_OWNER {
            return;
        }
        let receiver = receiver(&delivery);
        let id = delivery.execution_id;
        match self.lanes.iter_mut().find(|lane| lane.is_of(&delivery.owner, &receiver)) {
            Some(lane) if lane.waiting.len() >= WAITING_FOR_A_RECEIVER => {}
            Some(lane) => {
                lane.waiting.push_back(delivery);
                self.known.insert(id);
            }
            None => {
                let (owner, waiting) = (delivery.owner.clone(), [delivery].into());
                self.lanes.push_back(Lane { owner, receiver, waiting, under_way: 0 });
                self.known.insert(id);
            }
        }
    }

    /// The next one to begin, if any may.
    pub(super) fn next(&mut self) -> Option<Delivery> {
        if self.under_way.values().sum::<usize>() >= AT_A_TIME {
            return None;
        }
        let of = |owner: &Owner| self.under_way.get(owner).copied().unwrap_or(0);
        let at = self.lanes.iter().position(|lane| {
            !lane.waiting.is_empty() && lane.under_way < AT_A_RECEIVER && of(&lane.owner) < OF_AN_OWNER
        })?;
        let mut lane = self.lanes.remove(at)?;
        let next = lane.waiting.pop_front()?;
        lane.under_way += 1;
        *self.under_way.entry(lane.owner.clone()).or_default() += 1;
        self.lanes.push_back(lane);
        Some(next)
    }

    /// The try of one is over.
    pub(super) fn end(&mut self, delivery: &Delivery) {
        self.known.remove(&delivery.execution_id);
        let receiver = receiver(delivery);
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.is_of(&delivery.owner, &receiver)) {
            lane.under_way = lane.under_way.saturating_sub(1);
        }
        self.lanes.retain(|lane| lane.under_way > 0 || !lane.waiting.is_empty());
        if let Some(count) = self.under_way.get_mut(&delivery.owner) {
            *count = count.saturating_sub(1);
        }
        self.under_way.retain(|_, count| *count > 0);
    }
}

impl Lane {
    fn is_of(&self, owner: &Owner, receiver: &str) -> bool {
        self.owner == *owner && self.receiver == receiver
    }
}

/// Who the URL leads to; what can't be read leads nowhere.
fn receiver(delivery: &Delivery) -> String {
    Url::parse(&delivery.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use livecode::{Clock, Execution, ExecutionSpec, SystemClock};

    use super::*;

    /// Lets so many wait, as far as they may.
    fn add(turns: &mut Turns, owner: &str, receiver: &str, count: usize) {
        let spec = ExecutionSpec::new("python", "1").callback_url(format!("https://{receiver}/"));
        for _ in 0..count {
            let execution = Execution::new(Owner::new(owner).unwrap(), "python", SystemClock.now());
            turns.add(Delivery::of(&execution, &spec).unwrap());
        }
    }

    fn is_next(turns: &mut Turns, owner: &str, receiver: &str) -> bool {
        let mut begun = std::iter::from_fn(|| turns.next());
        begun.any(|next| next.owner.as_str() == owner && next.url == format!("https://{receiver}/"))
    }

    #[test]
    fn an_owner_of_many_receivers_leaves_room_for_others() {
        let mut turns = Turns::default();
        for n in 0..100 {
            add(&mut turns, "mallory", &format!("h{n}.example"), 100);
        }
        add(&mut turns, "alice", "alice.example", 1);
        assert!(is_next(&mut turns, "alice", "alice.example"));
    }

    #[test]
    fn a_receiver_leaves_room_for_others_of_its_owner() {
        let mut turns = Turns::default();
        add(&mut turns, "alice", "slow.example", WAITING);
        add(&mut turns, "alice", "alice.example", 1);
        assert!(is_next(&mut turns, "alice", "alice.example"));
    }
}
