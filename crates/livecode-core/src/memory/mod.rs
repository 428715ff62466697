//! The backends in memory: the reference for every other one. They forget everything when the process ends.

mod deliveries;
mod inputs;
mod queue;
mod store;
mod tallies;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

pub use self::{queue::MemoryQueue, store::MemoryStore};

/// No section under a lock here can stop halfway through a change, so what a panicking thread left is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn concat(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [] => Bytes::new(),
        [one] => one.clone(),
        several => {
            let mut all = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
            several.iter().for_each(|chunk| all.extend_from_slice(chunk));
            all.freeze()
        }
    }
}
