//! Webhooks: who asked for it with `callback_url` is told of an execution's end, by a signed `POST` that is repeated until it's
//! accepted (<https://www.standardwebhooks.com>).
//!
//! Where each stands is a [`Delivery`](livecode::Delivery) in the store. What is sent, how often and where to is said here, and
//! nowhere else: [`policy`] says when the next try is, [`turns`] who is told first, [`address`] who may be told at all.

mod address;
mod deliver;
mod policy;
mod post;
mod signature;
mod turns;

use std::{fmt, sync::Arc, time::Duration};

use clap::Args;
use ipnet::IpNet;
use livecode::{Delivery, DeliveryState, Error, Result, Timestamp};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{Components, RefOr, Schema},
};

use self::{address::Allowed, policy::Tries};
pub use self::{deliver::deliver_webhooks, signature::WebhookSecret};
use crate::{openapi, problem::Problem};

/// What the operator decides about webhooks.
#[derive(Clone, Args)]
pub struct WebhookArgs {
    /// What webhooks are signed by, or rather what each owner's own secret is made of (see the subcommand webhook-secret): at least 32
    /// bytes, as they are or in file:FILE. Processes that answer requests deliver (default: none, and callback_url is refused)
    #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,

    /// Networks that are told though they aren't public, such as 10.1.0.0/16, after commas (default: none)
    #[arg(long, env, value_name = "CIDR,...", value_delimiter = ',')]
    pub webhook_allow: Vec<IpNet>,

    /// How often a receiver is told before it's given up
    #[arg(long, env, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub webhook_attempts: u32,

    /// How long after the first try the second one is, in milliseconds; before each further one it's four times as long, and a day at most
    #[arg(long, env, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub webhook_retry_ms: u64,
}

impl fmt::Debug for WebhookArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookArgs").field("webhook_allow", &self.webhook_allow).finish_non_exhaustive()
    }
}

/// How receivers are told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    secret: WebhookSecret,
    allowed: Allowed,
    client: reqwest::Client,
    tries: Tries,
}

impl Webhooks {
    /// As the operator says; none without a secret.
    ///
    /// # Errors
    ///
    /// Where the secret can't be had or is too short, and where this machine has no certificates to know receivers by.
    pub fn open(args: &WebhookArgs) -> Result<Option<Self>> {
        let Some(secret) = &args.webhook_secret else {
            return Ok(None);
        };
        let secret = WebhookSecret::read(secret)?;
        let allowed = Allowed::new(args.webhook_allow.clone());
        Ok(Some(Self(Arc::new(Parts {
            client: post::client(&allowed)?,
            tries: Tries {
                most: args.webhook_attempts,
                first_pause: Duration::from_millis(args.webhook_retry_ms),
            },
            secret,
            allowed,
        }))))
    }

    /// Refuses what can be known beforehand not to be told: nothing is resolved.
    fn check(&self, url: &str) -> Result<()> {
        let url = self.0.allowed.url(url)?;
        match self.0.allowed.is_refused(&url) {
            false => Ok(()),
            true => Err(Error::invalid(
                "callback_url names an address that isn't public, and this server doesn't go there: name another, or have its \
                 operator set WEBHOOK_ALLOW",
            )),
        }
    }
}

/// Refuses a `callback_url` that nobody would ever be told at.
pub(crate) fn check(webhooks: Option<&Webhooks>, url: Option<&str>) -> Result<(), Problem> {
    match (webhooks, url) {
        (_, None) => Ok(()),
        (Some(webhooks), Some(url)) => Ok(webhooks.check(url)?),
        (None, Some(_)) => Err(Problem::invalid(vec![
            "callback_url is there, and this server tells nobody: leave it out, or have its operator set WEBHOOK_SECRET".into(),
        ])),
    }
}

/// Takes `callback_url` out of the description of a server that tells nobody.
pub(crate) fn leave_out(components: &mut Components) {
    for schema in components.schemas.values_mut() {
        let parts = match schema {
            RefOr::T(Schema::AllOf(all)) => all.items.iter_mut().collect(),
            whole => vec![whole],
        };
        for part in parts {
            if let RefOr::T(Schema::Object(object)) = part {
                object.properties.remove("callback_url");
            }
        }
    }
}

/// Where the word of an execution's end stands. All members are always there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Callback {
    url: String,
    /// `PENDING` before the end as well, and between two tries.
    #[schema(value_type = CallbackStatus)]
    status: DeliveryState,
    /// Tries that were begun.
    attempts: u32,
    /// Why the latest one failed.
    last_error: Option<String>,
    /// Null where there will be none, and while the execution hasn't ended.
    #[schema(value_type = Option<openapi::Moment>)]
    next_attempt_at: Option<Timestamp>,
    #[schema(value_type = Option<openapi::Moment>)]
    delivered_at: Option<Timestamp>,
}

impl From<Delivery> for Callback {
    fn from(delivery: Delivery) -> Self {
        Self {
            url: delivery.url,
            status: delivery.state,
            attempts: delivery.attempts,
            last_error: delivery.last_error,
            next_attempt_at: delivery.due_at,
            delivered_at: delivery.delivered_at,
        }
    }
}

/// The URL of who is told: `http` or `https`, without a user, a password and a fragment.
#[derive(Debug, ToSchema)]
#[schema(format = "uri", max_length = 2048, pattern = r"^https?://[^@#\s]+$")]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct CallbackUrl(String);

/// Where the word of an execution's end stands.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum CallbackStatus {
    Pending,
    Delivered,
    Failed,
}
