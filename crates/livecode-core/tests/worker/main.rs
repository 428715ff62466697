//! What a worker promises, on backends in memory and in paused time, with programs played by closures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backends;
mod cancelling;
mod chaos;
mod failing;
mod input;
mod leases;
mod observing;
mod output;
mod running;
mod shutdown;
mod stage;
mod sweeping;
mod world;
