//! The shared suites of livecode-core, each case on a queue of its own: on one server, and on a cluster.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod redis_server;

use std::sync::Arc;

use livecode_core::Queue;
use livecode_redis::RedisQueue;

async fn open(url: &str) -> RedisQueue {
    RedisQueue::open(url).await.unwrap()
}

/// Two handles share nothing in memory: they are to each other as two processes are.
async fn two(url: &str) -> ([Arc<dyn Queue>; 2], ()) {
    ([Arc::new(open(url).await), Arc::new(open(url).await)], ())
}

mod queue {
    use super::*;

    livecode_core::conformance::queue_suite!(async || (open(&redis_server::fresh()).await, ()));
}

mod queues_of_two_processes {
    use super::*;

    livecode_core::conformance::shared_queue_suite!(async || two(&redis_server::fresh()).await);
}

mod queue_in_a_cluster {
    use super::*;

    livecode_core::conformance::queue_suite!(async || (open(&redis_server::fresh_in_cluster()).await, ()));
}

mod queues_of_two_processes_in_a_cluster {
    use super::*;

    livecode_core::conformance::shared_queue_suite!(async || two(&redis_server::fresh_in_cluster()).await);
}
