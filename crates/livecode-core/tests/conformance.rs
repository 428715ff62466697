//! The backends in memory under the suites that every backend runs.

use std::sync::Arc;

use livecode_core::{MemoryQueue, MemoryStore, Queue, Store, conformance};

mod store {
    use super::{MemoryStore, conformance};

    conformance::store_suite!(async || (MemoryStore::new(), ()));
}

mod queue {
    use super::{MemoryQueue, conformance};

    conformance::queue_suite!(async || (MemoryQueue::new(), ()));
}

mod shared {
    use super::{Arc, MemoryQueue, MemoryStore, Queue, Store, conformance};

    conformance::shared_store_suite!(async || {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        ([store.clone(), store], ())
    });
    conformance::shared_queue_suite!(async || {
        let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::new());
        ([queue.clone(), queue], ())
    });
}
