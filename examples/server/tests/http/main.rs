//! The HTTP API through [`app`](livecode_server::app), over the backends in memory and a sandbox that obeys the test.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod auth;
mod batch;
mod binary;
mod clients;
mod connections;
mod contract;
mod events;
mod executions;
mod fake;
mod grading;
mod health;
mod jobs;
mod local;
mod page;
mod problems;
mod quota;
mod receiver;
mod server;
mod sessions;
mod shutdown;
mod socket;
mod webhooks;
