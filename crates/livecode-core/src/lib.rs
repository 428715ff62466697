//! The core of livecode: what sessions and executions are, how they change, and the three seams that a host chooses
//! behind: [`Store`], [`Queue`] and [`Sandbox`]. It names no backend but the ones in memory.
//!
//! A host that only wants to run a program uses a [`Runner`] over a sandbox. One that wants sessions, history, live
//! followers and many workers uses an [`Engine`] where requests come in and a [`Worker`] where programs run.

#![forbid(unsafe_code)]

mod artifact;
mod clock;
mod compile_cache;
#[cfg(feature = "conformance")]
pub mod conformance;
mod delivery;
mod engine;
mod error;
mod event;
mod execution;
mod grading;
mod id;
mod language;
mod limits;
pub mod memory;
mod metrics;
mod outcome;
mod queue;
mod quota;
mod runner;
mod sandbox;
mod session;
mod spec;
mod state;
mod store;
mod trace;
mod worker;

pub use self::{
    artifact::{Artifact, Reuse},
    clock::{Clock, SystemClock, Timestamp},
    compile_cache::{CompileCache, CompileCacheStats},
    delivery::{Delivery, DeliveryChange, DeliveryState},
    engine::{Accepted, Edit, Engine, RunOptions},
    error::{Error, ErrorKind, Result},
    event::{Event, EventKind, Input, Output, Seq, Stdio},
    execution::{Change, Execution},
    grading::{CaseResult, Compare, Excerpt, Grading, TestCase, Verdict},
    id::{ExecutionId, Owner, SessionId},
    language::{Language, Languages},
    limits::{Ceiling, LimitRequest, Limits},
    memory::{MemoryQueue, MemoryStore},
    metrics::describe_metrics,
    outcome::{CollectedFile, ErrorType, Outcome, Termination, Usage},
    queue::{Job, Lease, Queue, QueueStats},
    quota::{Quota, Rate, Refusal, Tally},
    runner::{Overflow, Run, Runner},
    sandbox::{Capabilities, Io, Program, Sandbox, Step},
    session::{Revision, RevisionHead, Session, SessionRevision, SessionStatus, Source},
    spec::{ExecutionSpec, SourceFile},
    state::{State, Transition},
    store::{Captured, DeliveryQuery, Follow, Inserted, ListQuery, PageStart, PruneQuery, Pruned, Store},
    trace::Trace,
    worker::Worker,
};
