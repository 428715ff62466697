//! The example server: livecode's HTTP API, thin. A handler parses, calls the [`Engine`](livecode::Engine) and renders.
//!
//! [`app`] is the whole API as a router that tests call without a socket; [`serve`] runs it until a signal and drains;
//! the binary adds the wiring: [`Config`] and [`Parts`].

#![forbid(unsafe_code)]

mod app;
mod config;
mod events;
mod executions;
mod extract;
mod health;
mod images;
mod languages;
mod local;
mod page;
mod parts;
mod problem;
mod retention;
mod serve;
mod sessions;
mod socket;
mod warm;

pub use self::{
    app::{App, app, worker_app},
    config::{Config, Database, Isolation, QueueKind, Role},
    parts::Parts,
    retention::prune_forever,
    serve::{Shutdown, serve},
};
