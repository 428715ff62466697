//! The suite where no cgroup can be had and the host has lowered the bar: resource limits do what they can, and every outcome
//! says what is missing.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "there is no cgroup to be had here")]
mod ordinary_user;
mod warmed;

use livecode_core::{ErrorKind, ExecutionSpec, Runner, Sandbox};
use livecode_process::{Builder, Isolation, ProcessSandbox, Warm};
use warmed::Warmed;

/// One that finds no place for its cgroups.
fn builder() -> Builder {
    ProcessSandbox::builder().cgroup("livecode-not-there/at-all")
}

fn sandbox(way: Warm) -> ProcessSandbox {
    builder().warm("python", way).isolation(Isolation::BestEffort).build().unwrap()
}

mod cold {
    livecode_core::conformance::sandbox_suite!(async || (super::sandbox(super::Warm::Off), ()));
}

mod warm {
    livecode_core::conformance::sandbox_suite!(async || {
        (super::Warmed::new(super::sandbox(super::Warm::SingleUse), false), ())
    });
}

mod copied {
    livecode_core::conformance::sandbox_suite!(async || {
        (super::Warmed::new(super::sandbox(super::Warm::Fork), false), ())
    });
}

#[test]
fn it_is_refused_with_the_remedy_unless_the_bar_is_lowered() {
    let error = builder().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let said = error.to_string();
    assert!(said.contains("livecode-not-there") && said.contains("Delegate=yes"), "{said}");
    assert!(said.contains("Isolation::BestEffort"), "{said}");
}

#[tokio::test]
async fn what_is_missing_is_told_beforehand_and_afterwards() {
    let sandbox = builder().isolation(Isolation::BestEffort).build().unwrap();
    let missing = sandbox.capabilities().missing;
    assert!(missing.len() == 1 && missing[0].contains("memory"), "{missing:?}");
    let run = Runner::new(sandbox).run(&ExecutionSpec::new("python", "print(1)")).await.unwrap();
    assert_eq!(run.outcome.unprotected, missing);
}

#[test]
fn the_same_holds_for_an_ordinary_user() {
    ordinary_user::run_this_binary_again();
}
