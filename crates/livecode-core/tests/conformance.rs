//! The backends in memory under the suites that every backend runs.

use livecode_core::{MemoryQueue, MemoryStore};

mod store {
    use super::MemoryStore;

    livecode_core::conformance::store_suite!(async || (MemoryStore::new(), ()));
}

mod queue {
    use super::MemoryQueue;

    livecode_core::conformance::queue_suite!(async || (MemoryQueue::new(), ()));
}
