//! `livecode-warm`: the library that stops an interpreter at its first look at its program, until there is one.
//!
//! It takes the place of the C library's ways to open a file. The first time that one of them is called for something beneath
//! the work directory, whoever calls waits; from then on all is as if this library weren't there. So the program is run by the
//! interpreter itself, with nothing of ours beneath it.
//!
//! An interpreter that a fork server is made of waits there for ever: its copies go on, each in a world of its own.

mod artifact;
#[expect(dead_code, reason = "the library makes no groups, it enters them")]
mod cgroup;
mod collect;
mod confine;
mod hooks;
mod landlock;
#[path = "../layer.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the host's layers are there as well, and are its tests' to name"
)]
mod layer;
mod node;
mod packets;
mod parked;
#[macro_use]
#[path = "../protocol.rs"]
#[expect(dead_code, reason = "most of it is between host and helper")]
mod protocol;
mod python;
#[expect(dead_code, reason = "the root is built by the helper")]
mod root;
mod step;
#[expect(dead_code, reason = "much of it is the helper's")]
mod sys;
mod told;
#[cfg(target_arch = "x86_64")]
mod unwind;
mod world;

use std::sync::atomic::AtomicU64;

use crate::layer::{Layer, LeftOut};

/// What is left out, as the helper said.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Whether a layer is not left out, as tests do and nobody else can.
pub(crate) fn in_force(layer: Layer) -> bool {
    #[cfg(not(feature = "leave-out"))]
    let left_out = LeftOut();
    #[cfg(feature = "leave-out")]
    let left_out = LeftOut(LEFT_OUT.load(std::sync::atomic::Ordering::Relaxed));
    !left_out.has(layer)
}
