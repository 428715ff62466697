//! The example server: livecode's HTTP API, thin. A handler parses, calls the [`Engine`](livecode::Engine) and renders.
//!
//! [`app`] is the whole API as a router that tests call without a socket; [`serve`] runs it until a signal and drains;
//! the binary adds the wiring: [`Config`] and [`Parts`].

#![forbid(unsafe_code)]
#![expect(unused_qualifications, reason = "what utoipa makes of the handlers' attributes has some")]

mod app;
mod auth;
mod batch;
mod config;
mod connections;
mod debug;
mod events;
mod executions;
mod extract;
mod grading;
mod health;
mod images;
mod jobs;
mod languages;
mod local;
mod metrics;
mod openapi;
#[cfg(feature = "otel")]
pub mod otel;
mod page;
mod parts;
mod problem;
mod record;
mod request;
mod retention;
mod serve;
mod sessions;
mod socket;
mod streams;
mod telemetry;
mod tiers;
mod warm;
mod webhooks;

pub use self::{
    app::{App, app, worker_app},
    auth::{Auth, KeyEntry, KeyFile, Role as KeyRole},
    config::{Command, Config, Database, Isolation, KeysAction, LogFormat, QueueKind, Role},
    connections::Bounds,
    metrics::{Watched, keep_metrics},
    parts::Parts,
    retention::prune_forever,
    serve::{Shutdown, serve},
    telemetry::{Telemetry, log_layer},
    tiers::{Allowance, Tiers},
    webhooks::{WebhookArgs, WebhookSecret, Webhooks, deliver_webhooks},
};
