//! What a backend has to do, as tests: a suite for each trait, which every backend runs, and [`ManualClock`].
//!
//! A suite is a macro that makes one test of each clause, named after it. It takes a factory, an async function without
//! arguments, and calls it for every test: it gives back a fresh backend, and a guard that cleans up when it's dropped.
//! The crate that runs a suite needs `tokio` with `macros` and `rt-multi-thread`. A backend whose medium several
//! processes can open runs [`shared_store_suite`] and [`shared_queue_suite`] as well. [`queue::model`] is a property for
//! `proptest`.
//!
//! ```
//! use livecode_core::{MemoryQueue, MemoryStore};
//!
//! mod store {
//!     # use super::*;
//!     livecode_core::conformance::store_suite!(async || (MemoryStore::new(), ()));
//! }
//! mod queue {
//!     # use super::*;
//!     livecode_core::conformance::queue_suite!(async || (MemoryQueue::new(), ()));
//! }
//! # fn main() {}
//! ```

#![expect(clippy::unwrap_used, reason = "the cases are tests: they fail by panicking")]

mod clock;
pub mod queue;
pub mod sandbox;
pub mod shared;
pub mod store;

use std::{future::Future, time::Duration};

pub use self::clock::ManualClock;
#[doc(inline)]
pub use crate::{queue_suite, sandbox_suite, shared_queue_suite, shared_store_suite, store_suite};

/// Waits for the end of a case; fails it after two minutes, so that one that hangs is named.
pub async fn finish(case: impl Future<Output = ()>) {
    let end = tokio::time::timeout(Duration::from_secs(120), case).await;
    assert!(end.is_ok(), "the case hangs: no end within two minutes");
}

/// Makes a test of each case: functions of `conformance::$kind` that take an `Arc` of the backend.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($kind:ident, $factory:expr, $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let (backend, _guard) = ($factory)().await;
                let backend = ::std::sync::Arc::new(backend);
                $crate::conformance::finish($crate::conformance::$kind::$case(backend)).await;
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_its_suite() {
        let store = [
            include_str!("store/mod.rs"),
            include_str!("store/sessions.rs"),
            include_str!("store/executions.rs"),
            include_str!("store/log.rs"),
            include_str!("store/followers.rs"),
            include_str!("store/inputs.rs"),
            include_str!("store/list.rs"),
            include_str!("store/quota.rs"),
            include_str!("store/deliveries.rs"),
            include_str!("store/retention.rs"),
        ];
        let queue = [
            include_str!("queue/mod.rs"),
            include_str!("queue/jobs.rs"),
            include_str!("queue/claims.rs"),
            include_str!("queue/leases.rs"),
            include_str!("queue/turns.rs"),
        ];
        let sandbox = [
            include_str!("sandbox/mod.rs"),
            include_str!("sandbox/programs.rs"),
            include_str!("sandbox/streams.rs"),
            include_str!("sandbox/limits.rs"),
            include_str!("sandbox/containment.rs"),
        ];
        let shared = [include_str!("shared.rs")];
        for files in [store.as_slice(), queue.as_slice(), sandbox.as_slice(), shared.as_slice()] {
            let suite = files[0];
            let listed: Vec<&str> = suite.split_whitespace().collect();
            let cases = files.iter().flat_map(|file| file.split("\npub async fn ").skip(1));
            for case in cases.filter_map(|rest| rest.split(['(', '<']).next()) {
                assert!(listed.contains(&case), "{case} is never run");
            }
        }
    }
}
