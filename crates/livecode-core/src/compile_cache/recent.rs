//! A map that is bounded, and forgets what was used least recently.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// By when they were used, the latest last.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    bytes: u64,
    max_bytes: u64,
    max_entries: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(max_bytes: u64, max_entries: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0, max_bytes, max_entries }
    }

    pub(super) fn max_bytes(&mut self, bytes: u64) {
        self.max_bytes = bytes;
        self.shrink();
    }

    pub(super) fn max_entries(&mut self, entries: usize) {
        self.max_entries = entries;
        self.shrink();
    }

    /// What all of them may have.
    pub(super) fn most_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// What all of them have.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, *key);
        Some(&entry.value)
    }

    /// In place of what was there by that key. What is larger than all may be isn't kept, and costs nothing else its place.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: u64) {
        self.remove(&key);
        if bytes > self.max_bytes {
            return;
        }
        self.uses += 1;
        self.entries.insert(key, Entry { value, bytes, used: self.uses });
        self.by_use.insert(self.uses, key);
        self.bytes += bytes;
        self.shrink();
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
        self.bytes = 0;
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    fn shrink(&mut self) {
        while self.bytes > self.max_bytes || self.entries.len() > self.max_entries {
            let Some((_, key)) = self.by_use.pop_first() else {
                return;
            };
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Recent;

    #[derive(Clone, Debug)]
    enum Step {
        Get(u8),
        Insert(u8, u64),
        MaxBytes(u64),
        MaxEntries(usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..12u8).prop_map(Step::Get),
            8 => (0..12u8, 0..40u64).prop_map(|(key, bytes)| Step::Insert(key, bytes)),
            1 => (0..120u64).prop_map(Step::MaxBytes),
            1 => (0..8usize).prop_map(Step::MaxEntries),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        /// Beside a list in order of use, the latest last.
        #[test]
        fn it_holds_what_was_used_last_and_fits(steps in prop::collection::vec(step(), 0..80)) {
            let (mut max_bytes, mut max_entries) = (100, 6);
            let mut recent = Recent::new(max_bytes, max_entries);
            let mut model: Vec<(u8, usize, u64)> = Vec::new();
            for (value, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Get(key) => {
                        let at = model.iter().position(|(other, ..)| *other == key);
                        let found = at.map(|at| model.remove(at));
                        model.extend(found);
                        prop_assert_eq!(recent.get(&key).copied(), found.map(|(_, value, _)| value));
                    }
                    Step::Insert(key, bytes) => {
                        model.retain(|(other, ..)| *other != key);
                        if bytes <= max_bytes {
                            model.push((key, value, bytes));
                        }
                        recent.insert(key, value, bytes);
                    }
                    Step::MaxBytes(bytes) => {
                        max_bytes = bytes;
                        recent.max_bytes(bytes);
                    }
                    Step::MaxEntries(entries) => {
                        max_entries = entries;
                        recent.max_entries(entries);
                    }
                    Step::Clear => {
                        model.clear();
                        recent.clear();
                    }
                }
                let bytes = |model: &[(u8, usize, u64)]| model.iter().map(|(.., bytes)| bytes).sum::<u64>();
                while bytes(&model) > max_bytes || model.len() > max_entries {
                    model.remove(0);
                }
                prop_assert_eq!((recent.bytes(), recent.len()), (bytes(&model), model.len()));
                prop_assert_eq!(recent.by_use.values().copied().collect::<Vec<_>>(), model.iter().map(|(key, ..)| *key).collect::<Vec<_>>());
            }
        }
    }
}
