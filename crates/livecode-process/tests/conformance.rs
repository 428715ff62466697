//! The process sandbox under the suite that every sandbox runs: as whoever runs the tests, and as an ordinary user; with programs
//! that are started cold, and with such as find an interpreter that has booted, in each way.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod ordinary_user;
mod warmed;

use livecode_process::{ProcessSandbox, Warm};
use warmed::Warmed;

fn sandbox(way: Warm) -> ProcessSandbox {
    let builder = ProcessSandbox::builder().warm("python", way);
    ordinary_user::own_cgroup().into_iter().fold(builder, |b, path| b.cgroup(path)).build().unwrap()
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
fn every_case_holds_for_an_ordinary_user() {
    ordinary_user::run_this_binary_again();
}
