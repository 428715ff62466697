//! The binary as it's shipped: SQLite, PostgreSQL and Redis, the process sandbox, real programs; and what is left when it's killed.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../../../../crates/livecode-sqlx/tests/postgres_server/mod.rs"]
mod postgres_server;
mod processes;
#[path = "../../../../crates/livecode-redis/tests/redis_server/mod.rs"]
mod redis_server;
mod runs;
mod server;
mod webhooks;
