//! What a program tries in order to get out: each attempt fails with everything in force, and succeeds with exactly the
//! layers left out that stop it. Where several back each other, any one of them is enough. So no layer is decoration, and
//! none is trusted alone where there are two.
//!
//! Payloads are harmless and bound themselves. What can't be shown, since the kernel has its own no that can't be left
//! out, and is held by `seccomp::tests` or by the suite alone:
//!
//! - calls for which the kernel wants a capability over the whole machine (`bpf`, `init_module`, `kexec_load`, `reboot`,
//!   `swapon`, `settimeofday`, `iopl`, `syslog`, `open_by_handle_at`, `quotactl`, `acct`, `TIOCLINUX`), and x32's;
//! - writing our executable: while any init lives the kernel says `ETXTBSY`, and the seals say no for good. That it can't be
//!   opened at all is shown;
//! - `/proc/<pid>` of the helper: another user namespace is enough for the kernel to refuse, which is tested;
//! - links in the way of our own mounts (CVE-2025-31133, -52565, -52881): the root is ours and the host's, and no program has
//!   been there when it's built;
//! - `AF_ALG` and higher priorities where this kernel has none or this host may not raise its own limits: contained is tested,
//!   and where they are there, escaped as well;
//! - the mount namespace: without it no run can be furnished, which fails closed;
//! - a hard link, a pipe or a device brought back as a file, and file names with `..`: the suite's.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod attempt;
mod calls;
mod closed;
mod files;
mod kernel;
mod limits;
mod network;
#[path = "../ordinary_user/mod.rs"]
mod ordinary_user;
mod processes;
#[path = "../warmed/mod.rs"]
mod warmed;

#[test]
fn every_attempt_is_contained_for_an_ordinary_user() {
    attempt::be_a_generous_host();
    ordinary_user::run_this_binary_again();
}
