//! The process sandbox of livecode: a [`Sandbox`](livecode_core::Sandbox) on Linux namespaces, seccomp, Landlock, cgroups
//! and resource limits, without a daemon, without set-user-id, without a container image.
//!
//! A [`ProcessSandbox`] carries a small static program in itself, `livecode-init`, which makes the world that each program
//! runs in and is its init. So a run costs the same whatever the size of the host, no host code runs between clone and
//! exec, and the end of the host, however it comes, is the end of everything that it started.

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("livecode-process knows the system calls of x86-64 and ARM64 only");

mod cgroup;
mod compiler;
mod helper;
#[cfg_attr(
    not(feature = "leave-out"),
    expect(dead_code, unreachable_pub, reason = "tests alone name the layers, most of which are init's")
)]
mod layer;
mod protocol;
mod sandbox;
mod seccomp;
mod shared;
mod streams;
mod toolchain;
mod verdict;
mod warm;

#[cfg(feature = "leave-out")]
pub use self::layer::Layer;
pub use self::{
    sandbox::{Builder, Isolation, ProcessSandbox},
    warm::{Warm, WarmStats},
};
