//! The process sandbox under the suite that every sandbox runs: as whoever runs the tests, and as an ordinary user.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod ordinary_user;

use livecode_process::ProcessSandbox;

async fn sandbox() -> (ProcessSandbox, ()) {
    let builder =
        ordinary_user::own_cgroup().into_iter().fold(ProcessSandbox::builder(), |b, path| b.cgroup(path));
    (builder.build().unwrap(), ())
}

livecode_core::conformance::sandbox_suite!(sandbox);

#[test]
fn every_case_holds_for_an_ordinary_user() {
    ordinary_user::run_this_binary_again();
}
