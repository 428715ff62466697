//! The container sandbox of livecode: a [`Sandbox`](livecode_core::Sandbox) on a Docker or Podman engine, for hosts that want a
//! container image for each language.
//!
//! Each run has a container of its own, never used again. A small static program of ours, the runner, is its first process: it waits
//! for a program, so that containers can be started ahead, and tells the end in a frame, so that nobody waits for the engine's
//! cleaning up. Images need the interpreter and nothing else: the runner is added to them, as an image of its own.

#![forbid(unsafe_code)]

mod container;
mod engine;
mod error;
mod image;
mod pool;
mod protocol;
mod run;
mod sandbox;
mod sweep;
mod verdict;

pub use self::{
    image::{ImageSource, PullProgress},
    pool::PoolStats,
    sandbox::{Builder, DockerSandbox, Isolation},
};
