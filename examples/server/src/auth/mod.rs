//! Who is asking, by the credential of the request, and what they may see.

mod file;
mod jwt;
mod keys;

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use clap::ValueEnum;
use livecode::{Error, Owner, Result};
use serde::{Deserialize, Serialize};

pub use self::keys::{KeyEntry, KeyFile};
use self::{jwt::Tokens, keys::Keys};
use crate::{App, Config, app::Shared, problem::Problem, tiers::address};

/// What somebody who has signed in may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Has sessions and executions; another owner's don't exist.
    #[default]
    User,
    /// Sees everybody's, and the metrics.
    Admin,
}

/// Who has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) owner: Owner,
    pub(crate) role: Role,
    /// The tier that the credential names.
    pub(crate) tier: Option<String>,
}

/// How callers are known; by default they aren't, and everybody is the same, anonymous owner.
#[derive(Debug, Default)]
pub struct Auth(Way);

#[derive(Debug, Default)]
enum Way {
    #[default]
    Nobody,
    /// By API keys in a file.
    Keys(Keys),
    /// By signed tokens.
    Tokens(Tokens),
}

impl Auth {
    /// As AUTH says: `none`, `keys:FILE` or `jwt:FILE`.
    ///
    /// # Errors
    ///
    /// Where the file can't be used, with the reason.
    pub fn open(config: &Config) -> Result<Self> {
        Ok(Self(match config.auth.split_once(':') {
            None if config.auth == "none" => Way::Nobody,
            Some(("keys", file)) if !file.is_empty() => Way::Keys(Keys::open(file.into())?),
            Some(("jwt", file)) if !file.is_empty() => Way::Tokens(Tokens::open(
                file.into(),
                config.jwt_issuer.as_deref(),
                config.jwt_audience.as_deref(),
            )?),
            Some(_) | None => {
                return Err(Error::invalid("AUTH is not known here: set none, keys:FILE or jwt:FILE"));
            }
        }))
    }

    /// Whether callers have to sign in.
    pub fn is_required(&self) -> bool {
        !matches!(self.0, Way::Nobody)
    }

    /// Whether it's by API keys, which have a header of their own.
    pub(crate) fn has_keys(&self) -> bool {
        matches!(self.0, Way::Keys(_))
    }

    /// Who sends these headers; none where nobody signs in here.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, Problem> {
        let found = match &self.0 {
            Way::Nobody => return Ok(None),
            Way::Keys(keys) => {
                credential(headers, Some("x-api-key"), "an API key")?.and_then(|key| keys.identify(key))
            }
            Way::Tokens(tokens) => {
                credential(headers, None, "a token")?.and_then(|token| tokens.identify(token))
            }
        };
        // Neither why nor what was sent: both help who guesses, and logs aren't for secrets.
        found.map(Some).ok_or_else(|| {
            Problem::unauthorized("the credential is not valid here, or not any more: get another one")
        })
    }
}

/// What the request proves itself by. None where it's no text; a problem where there is none.
fn credential<'a>(headers: &'a HeaderMap, own: Option<&str>, what: &str) -> Result<Option<&'a str>, Problem> {
    if let Some(value) = own.and_then(|name| headers.get(name)) {
        return Ok(value.to_str().ok());
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(Problem::unauthorized(format!(
            "{what} is required: send it as the header Authorization: Bearer …"
        )));
    };
    let bearer = value.to_str().ok().and_then(|value| value.split_once(' '));
    Ok(bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim()))
}

/// The server as the caller may see it: the engine's view is the caller's. Every handler that touches records takes this in place
/// of the state, so that none can forget to ask who it is.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) App);

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
        let address = address(peer);
        let Some(Identity { owner, role, tier }) = app.auth.identify(&parts.headers)? else {
            return Ok(Self(App::clone(app).within(None, &address, &address)?));
        };
        let mut app = App::clone(app).within(tier.as_deref(), &format!("owner:{owner}"), &address)?;
        app.engine = match role {
            Role::User => app.engine.for_owner(owner),
            Role::Admin => app.engine.for_admin(owner),
        };
        Ok(Self(app))
    }
}

/// The server for an administrator, or for whoever reaches it where nobody signs in.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) App);

impl FromRequestParts<Shared> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
        match app.auth.identify(&parts.headers)? {
            None | Some(Identity { role: Role::Admin, .. }) => Ok(Self(App::clone(app))),
            Some(Identity { role: Role::User, .. }) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "this is for the role admin: use a credential that has it",
            )),
        }
    }
}
