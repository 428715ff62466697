//! [`Queue`](livecode_core::Queue) of livecode on Redis 7 or newer and on Valkey: one server, a Sentinel's master, or a cluster.
//!
//! [`RedisQueue`] is for workers on many machines beside a store that they share.

#![forbid(unsafe_code)]

mod address;
mod calls;
mod connection;
mod error;
mod lanes;
mod queue;
mod scripts;
mod wakes;

pub use self::queue::RedisQueue;
