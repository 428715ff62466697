//! The queue on Redis beside the one in memory: the same operations get the same answers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod redis_server;

use livecode_core::conformance::queue::model;
use livecode_redis::RedisQueue;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn redis_queues_as_memory_does(steps in model::steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let queue = RedisQueue::open(&redis_server::fresh()).await.unwrap();
            model::does_as_memory_does(queue, steps).await;
        });
    }
}
