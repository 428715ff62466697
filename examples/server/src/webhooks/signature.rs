//! What receivers know the word by: the scheme of Standard Webhooks, with a secret for each owner.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use livecode::{Error, Owner, Result};
use sha2::Sha256;

/// The shortest secret in bytes: as long as the hash.
const MIN_SECRET: usize = 32;

/// What sets the secrets of owners apart from all else that may ever be made of the server's.
const PURPOSE: &[u8] = b"livecode webhook secret of ";

/// The server's secret. Each owner's own is made of it, so that none can sign what another one would believe, and nothing is kept.
#[derive(Clone)]
pub struct WebhookSecret(Vec<u8>);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

impl WebhookSecret {
    /// The text itself, or what is in the file that it names as `file:FILE`, without white space around it.
    ///
    /// # Errors
    ///
    /// Where there is no such file, and for less than 32 bytes.
    pub fn read(text: &str) -> Result<Self> {
        let secret = match text.strip_prefix("file:") {
            Some(file) => std::fs::read(file).map_err(|error| {
                Error::invalid(format!("WEBHOOK_SECRET names {file}, which can't be read")).with_source(error)
            })?,
            None => text.into(),
        };
        let secret = secret.trim_ascii();
        if secret.len() < MIN_SECRET {
            return Err(Error::invalid(format!(
                "WEBHOOK_SECRET has {} bytes, and whoever guesses it can sign: set at least {MIN_SECRET}, as openssl rand -hex 32 \
                 makes them",
                secret.len()
            )));
        }
        Ok(Self(secret.to_vec()))
    }

    /// The owner's secret, as libraries for Standard Webhooks take it: `whsec_` and base64.
    pub fn of_owner(&self, owner: &Owner) -> String {
        format!("whsec_{}", BASE64_STANDARD.encode(self.key(owner)))
    }

    fn key(&self, owner: &Owner) -> [u8; 32] {
        mac(&self.0, &[PURPOSE, owner.as_str().as_bytes()])
    }

    /// The header `webhook-signature` of what is sent about something of that owner's.
    pub(super) fn sign(&self, owner: &Owner, id: &str, timestamp: &str, body: &[u8]) -> String {
        let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        format!("v1,{}", BASE64_STANDARD.encode(mac(&self.key(owner), &signed)))
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is one: it can't fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
