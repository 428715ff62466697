//! The container sandbox under the suite that every sandbox runs, on a real engine: with containers that are started for a run, and with
//! such as wait.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use livecode_docker::DockerSandbox;

async fn sandbox(waiting: usize) -> DockerSandbox {
    let builder = DockerSandbox::builder().group("livecode-conformance").waiting(waiting);
    ["python", "compiled", "nothing"]
        .into_iter()
        .fold(builder, |builder, language| builder.image(language, "livecode-test/python"))
        .build()
        .await
        .unwrap()
}

mod cold {
    livecode_core::conformance::sandbox_suite!(async || (super::sandbox(0).await, ()));
}

mod warm {
    livecode_core::conformance::sandbox_suite!(async || (super::sandbox(1).await, ()));
}
