//! From the engine's errors to ours.

use std::error::Error as _;

use bollard::errors::Error as Engine;
use livecode_core::{Error, ErrorKind};

/// What went wrong while `what` was done.
pub(crate) fn from_engine(what: &str) -> impl FnOnce(Engine) -> Error {
    move |error| {
        let kind = match &error {
            Engine::DockerResponseServerError { status_code: 404, .. } => ErrorKind::NotFound,
            Engine::DockerResponseServerError { status_code: 400, .. } => ErrorKind::Unsupported,
            // What the engine can't do now it may do later; no connection, no answer: as well.
            _ => ErrorKind::Unavailable,
        };
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(because) = cause {
            said = format!("{said}: {because}");
            cause = because.source();
        }
        let remedy = if matches!(error, Engine::DockerResponseServerError { .. }) {
            ""
        } else {
            ": see whether it runs and whether we may use its socket (DOCKER_HOST says where that is)"
        };
        Error::new(kind, format!("the container engine can't {what}: {said}{remedy}")).with_source(error)
    }
}

/// It gave no answer.
pub(crate) fn silent(what: &str) -> Error {
    Error::unavailable(format!("the container engine can't {what}: it gives no answer in time"))
}
