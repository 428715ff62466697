//! The backends in memory: the reference for every other one. They forget everything when the process ends.

mod deliveries;
mod inputs;
mod queue;
mod store;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::{queue::MemoryQueue, store::MemoryStore};

/// No section under a lock here can stop halfway through a change, so what a panicking thread left is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
