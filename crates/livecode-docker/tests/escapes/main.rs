//! What a program tries in order to get out of its container, or to make the sandbox misjudge it, on a real engine: each attempt is refused,
//! for the reason that the test names; and where that can be shown, the same attempt succeeds in a plain container of the same image that
//! has everything else but one layer. No plain container has the runner, nor Landlock, which is the runner's.
//!
//! Payloads are harmless and bound themselves. What can't be shown, since the kernel has its own no besides, is only refused: calls for
//! which it wants a capability over the whole machine, signals to PID 1, `/proc/sys`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod attempt;
mod calls;
mod endings;
mod files;
mod kernel;
mod limits;
mod network;
mod plain;
mod runner;
