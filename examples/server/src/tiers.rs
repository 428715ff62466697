//! Who may ask for how much: what the environment says, and a file of tiers where callers differ.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
};

use axum::http::StatusCode;
use clap::Args;
use livecode::{Ceiling, Error, LimitRequest, Limits, Quota, Rate, Result};
use serde::{Deserialize, Deserializer, de};

use crate::{Config, problem::Problem};

/// The tier of who has none.
const DEFAULT: &str = "default";

/// What each caller may ask for.
#[derive(Clone, Debug, Args)]
pub struct Allowance {
    /// Runs that one owner, or session where nobody signs in, may ask for in a minute; beyond it requests get 429. 0: any number
    #[arg(long, env, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(Rate::MAX)))]
    pub rate_runs_per_minute: u32,

    /// How many of them may come at once
    #[arg(long, env, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=i64::from(Rate::MAX)))]
    pub rate_burst: u32,

    /// Runs a day, which begins at midnight UTC, for each of them. 0: any number
    #[arg(long, env, default_value_t = 0)]
    pub quota_runs_per_day: u32,

    /// Executions of one owner, or session where nobody signs in, that may be queued or running at a time. 0: any number
    #[arg(long, env, default_value_t = 0)]
    pub max_open_executions: u32,

    /// Event streams, WebSockets and requests with wait_ms that one owner, or address where nobody signs in, may have open at a time,
    /// in each process. 0: any number
    #[arg(long, env, default_value_t = 0)]
    pub max_open_streams: u32,

    /// A TOML file of tiers, as `[tiers.NAME]` tables with runs_per_minute, burst, runs_per_day, open_executions, open_streams (0: any
    /// number) and limits (as in requests); what is absent is as without it. Keys and tokens name a tier, or have `default`
    #[arg(long, env, value_name = "FILE")]
    pub tiers: Option<PathBuf>,
}

/// What is said of a tier.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Entry {
    runs_per_minute: Option<u32>,
    burst: Option<u32>,
    runs_per_day: Option<u32>,
    open_executions: Option<u32>,
    open_streams: Option<u32>,
    #[serde(deserialize_with = "known_limits")]
    limits: LimitRequest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Content {
    tiers: BTreeMap<String, Entry>,
}

/// Requests may have members that nobody knows; a file that an operator wrote may not.
fn known_limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LimitRequest, D::Error> {
    let members = toml::Table::deserialize(deserializer)?;
    let known = serde_json::to_value(LimitRequest::from(Limits::RUN)).map_err(de::Error::custom)?;
    if let Some(member) = members.keys().find(|member| known.get(member.as_str()).is_none()) {
        let known: Vec<_> = known.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let known = known.join(", ");
        return Err(de::Error::custom(format!("unknown limit `{member}`, expected one of {known}")));
    }
    LimitRequest::deserialize(members).map_err(de::Error::custom)
}

/// What who is in it may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tier {
    pub(crate) quota: Quota,
    pub(crate) open_streams: Option<NonZeroU32>,
    pub(crate) ceiling: Ceiling,
}

/// All tiers, by their names; who has none is in `default`.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    default: Option<Tier>,
    /// None where there is no file: what credentials name means nothing then.
    named: Option<BTreeMap<String, Tier>>,
}

impl Tiers {
    /// As the configuration says.
    ///
    /// # Errors
    ///
    /// Where the file of tiers can't be read, has a member that isn't known, or more than the server's own limits allow for.
    pub fn open(config: &Config) -> Result<Self> {
        let (allowance, ceiling) = (&config.allowance, config.ceiling());
        let content = match &allowance.tiers {
            None => Content::default(),
            Some(file) => {
                let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
                    Error::invalid(format!("TIERS names {}, which can't be used", file.display()))
                        .with_source(error)
                };
                let text = fs::read_to_string(file).map_err(|error| refused(error.into()))?;
                toml::from_str(&text).map_err(|error| refused(error.into()))?
            }
        };
        let named = content
            .tiers
            .iter()
            .map(|(name, entry)| Ok((name.clone(), allowance.tier(name, entry, ceiling)?)));
        let mut named: BTreeMap<_, _> = named.collect::<Result<_>>()?;
        let default = match named.remove(DEFAULT) {
            Some(tier) => tier,
            None => allowance.tier(DEFAULT, &Entry::default(), ceiling)?,
        };
        Ok(Self { default: Some(default), named: allowance.tiers.as_ref().map(|_| named) })
    }

    /// The one of that name; none where nothing is limited.
    pub(crate) fn get(&self, name: Option<&str>) -> Result<Option<&Tier>, Problem> {
        let named = name.filter(|name| *name != DEFAULT).zip(self.named.as_ref());
        let Some((name, named)) = named else {
            return Ok(self.default.as_ref());
        };
        // Whatever was meant, to guess might be to give more.
        named.get(name).map(Some).ok_or_else(|| {
            tracing::warn!(tier = name, "a credential names a tier that TIERS doesn't have: it is refused");
            Problem::new(
                StatusCode::FORBIDDEN,
                "the credential is for a tier that this server doesn't have: ask who runs it, or use another one",
            )
        })
    }
}

impl Allowance {
    fn tier(&self, name: &str, entry: &Entry, ceiling: Ceiling) -> Result<Tier> {
        let limits = format!("tiers.{name}.limits");
        let run = entry.limits.resolve(&ceiling.run, &limits).map_err(|error| {
            Error::invalid("TIERS asks for what the server doesn't have: lower it, or raise LIMIT_…")
                .with_source(error)
        })?;
        let runs_per_minute = entry.runs_per_minute.unwrap_or(self.rate_runs_per_minute);
        let rate = match runs_per_minute {
            0 => None,
            _ => {
                Some(Rate::new(runs_per_minute, entry.burst.unwrap_or(self.rate_burst)).map_err(|error| {
                    Error::invalid(format!("TIERS has a rate in tiers.{name} that can't be"))
                        .with_source(error)
                })?)
            }
        };
        let number = |entry: Option<u32>, default| NonZeroU32::new(entry.unwrap_or(default));
        Ok(Tier {
            quota: Quota {
                rate,
                runs_per_day: number(entry.runs_per_day, self.quota_runs_per_day),
                open_executions: number(entry.open_executions, self.max_open_executions),
            },
            open_streams: number(entry.open_streams, self.max_open_streams),
            ceiling: Ceiling { run, ..ceiling },
        })
    }
}

/// What stands for who asks from there. Of IPv6 it's the network: whoever has one has all the addresses in it. What a proxy says of
/// others is anybody's to say, so it isn't heard.
pub(crate) fn address(peer: Option<SocketAddr>) -> String {
    match peer.map(|peer| peer.ip().to_canonical()) {
        Some(IpAddr::V4(address)) => format!("address:{address}"),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("address:{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        None => "address:unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_whoever_can_have_it() {
        for (peer, expected) in [
            ("192.0.2.7:80", "address:192.0.2.7"),
            ("[::ffff:192.0.2.7]:80", "address:192.0.2.7"),
            ("[2001:db8:1:2:3:4:5:6]:80", "address:2001:db8:1:2::/64"),
            ("[2001:db8:1:2:ffff::1]:81", "address:2001:db8:1:2::/64"),
        ] {
            assert_eq!(address(Some(peer.parse().unwrap())), expected);
        }
    }
}
