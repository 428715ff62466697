//! The HTTP API through [`app`](livecode_server::app), over the backends in memory and a sandbox that obeys the test.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod binary;
mod events;
mod executions;
mod fake;
mod health;
mod local;
mod page;
mod problems;
mod server;
mod sessions;
mod shutdown;
mod socket;
