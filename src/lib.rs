//! Runs code that somebody else wrote.
#![cfg_attr(feature = "process", doc = include_str!("../README.md"))]
#![forbid(unsafe_code)]

pub use livecode_core::*;

#[cfg(feature = "docker")]
pub use livecode_docker as docker;

#[cfg(feature = "process")]
pub use livecode_process as process;

#[cfg(feature = "redis")]
pub use livecode_redis as redis;

#[cfg(feature = "sqlx")]
pub use livecode_sqlx as sqlx;
