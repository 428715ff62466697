//! What the driver says, as kinds and sentences of livecode. No type of the driver's is in a public signature.

use livecode_core::{Error, ErrorKind};
use redis::{ErrorKind as Kind, RedisError};

/// The error of one call. The driver's own words have no URL in them, and so no password.
pub(crate) fn from_redis(error: RedisError) -> Error {
    let (kind, message) = generic(&error).unwrap_or_else(|| sentence(&error));
    Error::new(kind, message).with_source(error)
}

/// Of what has no code of its own.
fn generic(error: &RedisError) -> Option<(ErrorKind, &'static str)> {
    let detail = error.detail()?;
    if detail.contains("max number of clients") {
        let message = "Redis has no connection left: raise its maxclients, or run fewer processes";
        Some((ErrorKind::Unavailable, message))
    } else if detail.contains("cluster support disabled") {
        Some((
            ErrorKind::InvalidArgument,
            "this Redis is no cluster: begin its URL with redis:// or rediss://",
        ))
    } else if detail.contains("DB index is out of range") {
        Some((ErrorKind::InvalidArgument, "this Redis has no database of the number in its URL"))
    } else {
        None
    }
}

/// By the codes that an answer begins with, see <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>.
fn sentence(error: &RedisError) -> (ErrorKind, &'static str) {
    match (error.code(), error.kind()) {
        (Some("OOM"), _) => (
            ErrorKind::QueueFull,
            "Redis has no memory left for more jobs: raise its maxmemory, or try again when there are fewer",
        ),
        (Some("NOAUTH" | "WRONGPASS"), _) | (_, Kind::AuthenticationFailed) => {
            (ErrorKind::Unavailable, "Redis doesn't let us in: see user and password in its URL")
        }
        (Some("NOPERM"), _) => (
            ErrorKind::Unavailable,
            "Redis doesn't let this user do that: allow it ~{PREFIX}:* &{PREFIX}:* +@all -@admin -@dangerous +info, with the \
             prefix of the URL",
        ),
        (Some("MOVED" | "ASK" | "CROSSSLOT"), _) => (
            ErrorKind::Unavailable,
            "this Redis is part of a cluster: begin its URL with redis+cluster:// or rediss+cluster://",
        ),
        (Some("MISCONF"), _) => {
            (ErrorKind::Unavailable, "Redis can't write to its disk: see its log, and free some space")
        }
        (Some("READONLY"), _) => (
            ErrorKind::Unavailable,
            "this Redis is a replica: name its master in the URL, or Sentinels by redis+sentinel://",
        ),
        (Some("LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS"), _) => {
            (ErrorKind::Unavailable, "Redis can't serve this now, try again")
        }
        (Some("WRONGTYPE"), _) => (
            ErrorKind::Internal,
            "Redis has another program's data where the queue is: set another prefix in the URL, as ?prefix=NAME",
        ),
        (_, Kind::MasterNameNotFoundBySentinel) => {
            (ErrorKind::Unavailable, "the Sentinels know no such master: see service in the URL of Redis")
        }
        (_, Kind::RESP3NotSupported) => {
            (ErrorKind::Unsupported, "Redis is too old: livecode needs 7.0 or newer")
        }
        (
            _,
            Kind::Io | Kind::Parse | Kind::Client | Kind::EmptySentinelList | Kind::ClusterConnectionNotFound,
        ) => (ErrorKind::Unavailable, "Redis can't be reached"),
        _ => (ErrorKind::Internal, "Redis gave an answer that isn't understood"),
    }
}

/// An answer has another form than its script gives it.
pub(crate) fn garbled() -> Error {
    Error::internal("Redis gave an answer that isn't understood: another program answers in its place")
}
