//! Signed tokens (JWT, RFC 7519): by a secret that both sides have (HS256), or by the public keys of who signs (RS256, EdDSA).

use std::path::PathBuf;

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use livecode::{Error, Owner, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{Identity, Role, file::FromFile};

/// How far the clocks of who signs and of this machine may differ, in seconds.
const LEEWAY: u64 = 30;

/// The shortest secret in bytes: as long as the hash (RFC 7518, section 3.2).
const MIN_SECRET: usize = 32;

/// A key, and the one algorithm that it's for: what the token says of its algorithm decides nothing.
#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What tokens are checked against.
#[derive(Debug)]
pub(super) struct Tokens {
    keys: FromFile<Vec<Key>>,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    /// Other services may mean something else by it.
    #[serde(default)]
    tier: Option<Value>,
}

impl Tokens {
    pub(super) fn open(path: PathBuf, issuer: Option<&str>, audience: Option<&str>) -> Result<Self> {
        let keys = FromFile::open(path, keys)?;
        Ok(Self { keys, issuer: issuer.map(Into::into), audience: audience.map(Into::into) })
    }

    pub(super) fn identify(&self, token: &str) -> Option<Identity> {
        let header = decode_header(token).ok()?;
        let keys = self.keys.get();
        let fitting = keys.iter().filter(|key| {
            key.algorithm == header.alg && (key.id.is_none() || header.kid.is_none() || key.id == header.kid)
        });
        let claims = fitting.filter_map(|key| self.claims(token, key)).next()?;
        let owner = Owner::new(claims.sub).ok().filter(|owner| *owner != Owner::anonymous())?;
        let is_admin = claims.role.iter().chain(&claims.roles).any(|role| role == "admin");
        let role = if is_admin { Role::Admin } else { Role::User };
        let tier = claims.tier.map(|tier| tier.as_str().map_or_else(|| tier.to_string(), Into::into));
        Some(Identity { owner, role, tier })
    }

    fn claims(&self, token: &str, key: &Key) -> Option<Claims> {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        let mut required = vec!["exp", "sub"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        match decode(token, &key.key, &validation) {
            Ok(token) => Some(token.claims),
            Err(error) => {
                // The kind only: it says nothing of the token.
                tracing::debug!(reason = ?error.kind(), "a token is refused");
                None
            }
        }
    }
}

/// A JWKS (RFC 7517), or else a secret, whose line end doesn't count.
fn keys(bytes: &[u8]) -> Result<Vec<Key>> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        let set: JwkSet = serde_json::from_slice(bytes)
            .map_err(|error| Error::invalid(format!("it is not a set of JSON Web Keys: {error}")))?;
        let keys: Vec<Key> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(Error::invalid(
                "it has no key for RS256, EdDSA (Ed25519) or HS256 (of at least 32 bytes): add the public keys of who signs the tokens",
            ));
        }
        return Ok(keys);
    }
    let secret = bytes.trim_ascii_end();
    if secret.len() < MIN_SECRET {
        return Err(Error::invalid(format!(
            "its secret has {} bytes, fewer than {MIN_SECRET}: make one with `openssl rand -hex 32`",
            secret.len()
        )));
    }
    Ok(vec![Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) }])
}

/// Of a set, what we verify by; others have their uses elsewhere.
fn usable(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return None,
    };
    let other = jwk.common.key_algorithm.is_some_and(|own| own.to_string() != format!("{algorithm:?}"));
    let key = DecodingKey::from_jwk(jwk).ok().filter(|_| !other)?;
    let is_short = || key.try_get_as_bytes().map_or(true, |secret| secret.len() < MIN_SECRET);
    if algorithm == Algorithm::HS256 && is_short() {
        return None;
    }
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key })
}
