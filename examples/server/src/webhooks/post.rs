//! One try.

use std::time::Duration;

use livecode::{Clock, Delivery, Error, Result, SystemClock};
use reqwest::{Client, header, redirect};

use super::{
    Webhooks,
    address::Allowed,
    policy::{PATIENCE, Tried},
};

/// One that goes nowhere but where it's let, straight, and once: by no proxy of the environment's, after no redirect, and over a
/// new connection each time, to an address that has just been checked.
pub(super) fn client(allowed: &Allowed) -> Result<Client> {
    // Where another was chosen for this process before, that one is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder()
        .dns_resolver(allowed.clone())
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        .timeout(PATIENCE)
        .user_agent(concat!("livecode/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| {
            Error::unavailable(
                "WEBHOOK_SECRET is set, and this machine has no certificates to know receivers by: install ca-certificates",
            )
            .with_source(error)
        })
}

impl Webhooks {
    /// Sends the body to the delivery's receiver. What the answer says is known by its head: its body isn't read.
    pub(super) async fn post(&self, delivery: &Delivery, body: Vec<u8>) -> Tried {
        let Webhooks(parts) = self;
        // What isn't allowed is told as what isn't there: from outside nobody learns what is inside.
        let unreachable = || {
            Tried::NotNow {
            error: "the receiver could not be reached: no public address, nothing that listens, or no valid certificate".into(),
            wish: None,
        }
        };
        let Some(url) = parts.allowed.url(&delivery.url).ok().filter(|url| !parts.allowed.is_refused(url))
        else {
            return unreachable();
        };
        let id = delivery.execution_id.to_string();
        let timestamp = SystemClock.now().as_millis().div_euclid(1000).to_string();
        let signature = parts.secret.sign(&delivery.owner, &id, &timestamp, &body);
        let sent = parts
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let wish = seconds.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
                Tried::answered(answer.status().as_u16(), wish)
            }
            Err(error) if error.is_timeout() => Tried::NotNow {
                error: format!("the receiver gave no answer within {} s", PATIENCE.as_secs()),
                wish: None,
            },
            Err(error) => {
                // For the operator alone, and without the URL, which may hold a secret.
                let error = error.without_url();
                tracing::debug!(execution = %delivery.execution_id, ?error, "a receiver could not be reached");
                unreachable()
            }
        }
    }
}
