//! Answers that are held open: streams, WebSockets, and what waits for an end.

use std::{
    collections::{HashMap, hash_map::Entry},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::problem::Problem;

/// How long to wait where one that is open has to end first: nobody knows when it will.
const WAIT: Duration = Duration::from_secs(5);

/// How many each caller has open in this process; of one caller, as [`Streams::of`] gives it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    open: Arc<Mutex<HashMap<Arc<str>, u32>>>,
    who: Arc<str>,
    most: Option<NonZeroU32>,
}

impl Streams {
    /// Those of `who`, which may be so many.
    pub(crate) fn of(&self, who: &str, most: Option<NonZeroU32>) -> Self {
        Self { open: self.open.clone(), who: who.into(), most }
    }

    /// One more, which is open until what this gives is dropped.
    pub(crate) fn open(&self) -> Result<Held, Problem> {
        let mut open = self.lock();
        let count = open.entry(self.who.clone()).or_default();
        if let Some(most) = self.most.filter(|most| *count >= most.get()) {
            let seconds = WAIT.as_secs();
            return Err(Problem::too_many(
                WAIT,
                format!(
                    "too many streams: {most} are open, waits among them, which is all that may be at a time: one of them \
                     must end first, ask again in {seconds} s"
                ),
            ));
        }
        *count += 1;
        Ok(Held(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, u32>> {
        // No section under this lock stops halfway through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is held open.
#[derive(Debug)]
pub(crate) struct Held(Streams);

impl Drop for Held {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.0.lock().entry(self.0.who.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_who_has_none_open() {
        let streams = Streams::default();
        let alice = streams.of("alice", NonZeroU32::new(2));
        let held = [alice.open(), alice.open()].map(Result::unwrap);
        assert!(alice.open().is_err());
        assert!(streams.of("bob", NonZeroU32::new(1)).open().is_ok());
        drop(held);
        assert!(streams.lock().is_empty());
    }
}
