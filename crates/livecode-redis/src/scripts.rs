//! The scripts that are the queue, and how they are called.
//!
//! Each is a transaction by itself. The server keeps them by their hash until it's restarted or told to forget; it's told the whole
//! text where it doesn't know one.

use livecode_core::{Error, Result};
use redis::{Cmd, RedisError, Script, Value};

use crate::{connection::Server, error::from_redis};

/// The keys of one queue, and the server that has them.
#[derive(Debug)]
pub(crate) struct Scripts {
    server: Server,
    keys: [String; 5],
    /// What claimers hear of.
    channel: String,
    push: Loaded,
    step: Loaded,
    stats: Loaded,
}

#[derive(Debug)]
struct Loaded {
    text: &'static str,
    hash: String,
}

impl Loaded {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }
}

/// What to call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// Refused where the server has no memory left.
    Push,
    /// What a server does without memory as well: it ends in having more.
    Step,
    Stats,
}

impl Scripts {
    /// All keys have `{prefix}` in them, which a cluster keeps in one place.
    pub(crate) fn new(server: Server, prefix: &str) -> Self {
        let keys = ["jobs", "waiting", "times", "owners", "arrivals"];
        Self {
            server,
            keys: keys.map(|key| format!("{{{prefix}}}:{key}")),
            channel: format!("{{{prefix}}}:came"),
            push: Loaded::new(concat!(
                "#!lua\n",
                include_str!("scripts/common.lua"),
                include_str!("scripts/push.lua")
            )),
            step: Loaded::new(concat!(
                "#!lua flags=allow-oom\n",
                include_str!("scripts/common.lua"),
                include_str!("scripts/step.lua")
            )),
            stats: Loaded::new(concat!("#!lua flags=no-writes\n", include_str!("scripts/stats.lua"))),
        }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn channel(&self) -> &str {
        &self.channel
    }

    /// What the script gives back. `arguments` adds what comes after the channel.
    pub(crate) async fn call(&self, call: Call, arguments: impl Fn(&mut Cmd)) -> Result<Value> {
        let script = match call {
            Call::Push => &self.push,
            Call::Step => &self.step,
            Call::Stats => &self.stats,
        };
        let known = self.evaluate("EVALSHA", &script.hash, &arguments).await;
        let answer = match known {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.evaluate("EVAL", script.text, &arguments).await
            }
            answer => answer,
        };
        answer.map_err(from_redis)
    }

    async fn evaluate(
        &self,
        how: &str,
        script: &str,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, RedisError> {
        let mut command = redis::cmd(how);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.channel);
        arguments(&mut command);
        self.server.call(&command).await
    }

    /// Refuses a server that is too old, one that may throw jobs away (or, with `may_evict`, only warns), and a user who may not do what
    /// the scripts do.
    pub(crate) async fn check(&self, may_evict: bool) -> Result<()> {
        // By a script, so that in a cluster it's asked of the node that has the keys.
        let text = "#!lua\nredis.call('PUBLISH', ARGV[1], '') return redis.call('INFO')";
        let answer = self.evaluate("EVAL", text, |_| {}).await.map_err(|error| match error.code() {
            // Older servers take the first line for Lua.
            Some("ERR") if error.to_string().contains("compil") => too_old("it"),
            _ => from_redis(error),
        })?;
        let Value::BulkString(info) = answer else { return Err(crate::error::garbled()) };
        let info = String::from_utf8_lossy(&info);
        let field = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let version = field("redis_version").unwrap_or_default();
        let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
        if major.is_none_or(|major| major < 7) {
            return Err(too_old(version));
        }
        match field("maxmemory_policy") {
            Some("noeviction") | None => {}
            Some(policy) if may_evict => tracing::warn!(
                policy,
                "Redis may throw jobs away when it's short of memory, and they are late then: set maxmemory-policy noeviction"
            ),
            Some(policy) => {
                return Err(Error::unsupported(format!(
                    "Redis has maxmemory-policy {policy} and may throw jobs away when it's short of memory: set maxmemory-policy \
                     noeviction, or say ?eviction=warn in its URL"
                )));
            }
        }
        Ok(())
    }
}

fn too_old(version: &str) -> Error {
    Error::unsupported(format!(
        "Redis is too old, {version} is before 7.0: install Redis 7 or newer, or Valkey"
    ))
}
