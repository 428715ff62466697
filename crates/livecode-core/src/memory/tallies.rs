//! What was counted, in memory.

use std::collections::{BTreeSet, HashMap};

use crate::{Quota, Refusal, Tally, Timestamp};

/// How many that say nothing any more go for each that comes.
const SWEPT: usize = 2;

#[derive(Default)]
pub(super) struct Tallies {
    by_who: HashMap<String, Tally>,
    by_expiry: BTreeSet<(Timestamp, String)>,
}

impl Tallies {
    pub(super) fn admit(&mut self, who: &str, quota: &Quota, now: Timestamp) -> Option<Refusal> {
        let before = self.by_who.get(who);
        let after = match Tally::admit(before, quota, now) {
            Ok(after) => after,
            Err(refusal) => return Some(refusal),
        };
        match before {
            Some(before) => {
                self.by_expiry.remove(&(before.expires_at, who.to_owned()));
            }
            None => self.sweep(now),
        }
        self.by_expiry.insert((after.expires_at, who.to_owned()));
        self.by_who.insert(who.to_owned(), after);
        None
    }

    fn sweep(&mut self, now: Timestamp) {
        for _ in 0..SWEPT {
            match self.by_expiry.first() {
                Some((expires_at, _)) if *expires_at <= now => {
                    if let Some((_, who)) = self.by_expiry.pop_first() {
                        self.by_who.remove(&who);
                    }
                }
                Some(_) | None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_that_say_nothing_go() {
        let (mut tallies, quota) = (Tallies::default(), Quota::default());
        let start = Timestamp::from_millis(1_769_000_000_123).unwrap();
        for who in 0..10 {
            assert_eq!(tallies.admit(&who.to_string(), &quota, start), None);
        }
        let later = start.saturating_add(Duration::from_secs(24 * 60 * 60 + 60));
        assert_eq!(tallies.admit("0", &quota, later), None, "one that is there sweeps none");
        assert_eq!(tallies.by_who.len(), 10);
        for who in 0..5 {
            assert_eq!(tallies.admit(&format!("new {who}"), &quota, later), None);
        }
        assert_eq!((tallies.by_who.len(), tallies.by_expiry.len()), (6, 6), "the new ones and 0");
    }
}
