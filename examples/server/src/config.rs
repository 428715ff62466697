//! What the operator decides: flags, and environment variables by the same names.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use axum::http::HeaderValue;
use clap::{ArgAction, Parser, Subcommand, ValueEnum, builder::BoolishValueParser};
use livecode::{Ceiling, CompileCache, Error, Languages, Limits, Owner, Result, process::Warm};
use url::Url;

use crate::{WebhookArgs, auth, connections::Bounds, images, tiers::Allowance, warm};

/// The HTTP API and the worker of livecode in one process.
///
/// Each flag can be given as an environment variable by the name in its brackets; a flag wins.
#[derive(Clone, Debug, Parser)]
#[command(name = "livecode-server", version, args_conflicts_with_subcommands = true)]
pub struct Config {
    /// Address and port to listen on (default: 127.0.0.1:3000). One that isn't loopback needs AUTH, or ALLOW_ANONYMOUS=1
    #[arg(long, env, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// Port on 127.0.0.1, in place of LISTEN, which wins
    #[arg(long, env)]
    pub port: Option<u16>,

    /// Let everybody who can reach the address run programs, without AUTH
    #[arg(long, env, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub allow_anonymous: bool,

    /// Tell administrators of this process's internals at /debug/state, which else isn't there
    #[arg(long, env, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub debug_routes: bool,

    /// How callers are known: none (they aren't), keys:FILE (API keys, which the subcommand keys makes) or jwt:FILE (tokens, signed
    /// by a secret of at least 32 bytes, or by the keys of a JWKS: RS256, EdDSA, HS256). Files are read again when they change
    #[arg(long, env, default_value = "none")]
    pub auth: String,

    /// With AUTH=jwt:FILE, the issuer that tokens must name (default: any)
    #[arg(long, env, value_name = "ISS")]
    pub jwt_issuer: Option<String>,

    /// With AUTH=jwt:FILE, the audience that tokens must name (default: any)
    #[arg(long, env, value_name = "AUD")]
    pub jwt_audience: Option<String>,

    /// The origins, such as `https://example.org`, whose pages may ask this server, after commas (default: none but its own)
    #[arg(long, env, value_name = "ORIGIN,...", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// What this process does
    #[arg(long, env, value_enum, default_value_t = Role::All)]
    pub role: Role,

    /// Where sessions and executions live: memory: (gone with the process), sqlite://FILE, made where there is none, or
    /// postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, env, default_value = "sqlite://livecode.db", hide_env_values = true)]
    pub database_url: String,

    /// How work reaches workers: database (the same one), redis://USER:PASSWORD@HOST:PORT/DATABASE (also rediss://, redis+cluster://
    /// and redis+sentinel://) or memory: (within this process)
    #[arg(long, env, default_value = "database", hide_env_values = true)]
    pub queue_url: String,

    /// What programs are contained by
    #[arg(long, env, value_enum, default_value_t = SandboxKind::Process)]
    pub sandbox: SandboxKind,

    /// With SANDBOX=docker, the images in which programs run, as python=python:3.13-slim,javascript=node:22-slim; a language
    /// without one is not available. The engine is the one that DOCKER_HOST names (default: this machine's)
    #[arg(long, env, value_name = "LANGUAGE=IMAGE,...")]
    pub docker_images: Option<String>,

    /// With SANDBOX=docker, the runtime of the containers, such as runsc (default: the engine's own)
    #[arg(long, env, value_name = "NAME")]
    pub docker_runtime: Option<String>,

    /// What happens where a protection can't be had on this machine
    #[arg(long, env, value_enum, default_value_t = Isolation::Strict)]
    pub isolation: Isolation,

    /// How programs are started: off (the interpreter with the program), single-use (it has booted ahead and waits in a
    /// sandbox for one program) or fork (each program gets a copy of one that has), for all languages or, as in
    /// python=fork,java=off, for single ones (default: single-use for interpreters). With SANDBOX=docker containers wait, unless it's off
    #[arg(long, env, value_name = "WAY")]
    pub warm: Option<String>,

    /// What is kept of compile steps, in bytes, so that the same program isn't compiled twice; all clients share it. 0: nothing
    #[arg(long, env, default_value_t = CompileCache::MAX_BYTES)]
    pub compile_cache_bytes: u64,

    /// Programs at a time (default: the number of cores)
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,

    /// Wall time of a run in milliseconds: the default, and the most that a request may ask for; so for all limits
    #[arg(long, env, default_value_t = millis(Limits::RUN.wall_time), value_parser = clap::value_parser!(u64).range(1..))]
    pub limit_wall_ms: u64,

    /// CPU time of all processes of a run together in milliseconds
    #[arg(long, env, default_value_t = millis(Limits::RUN.cpu_time), value_parser = clap::value_parser!(u64).range(1..))]
    pub limit_cpu_ms: u64,

    /// Memory of a run, its files in memory included
    #[arg(long, env, default_value_t = Limits::RUN.memory_bytes, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit_memory_bytes: u64,

    /// Processes and threads of a run at a time
    #[arg(long, env, default_value_t = Limits::RUN.processes, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit_processes: u32,

    /// Output that is kept, for each of the two streams
    #[arg(long, env, default_value_t = Limits::RUN.output_bytes, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit_output_bytes: u64,

    /// What all files that a run writes may hold
    #[arg(long, env, default_value_t = Limits::RUN.file_bytes, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit_file_bytes: u64,

    /// Processors that a run may use at a time, such as 0.5
    #[arg(long, env, default_value = "1", value_parser = cpus)]
    pub limit_cpus: u32,

    /// Characters of a source
    #[arg(long, env, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_source_chars: u32,

    /// Executions that may be queued; beyond it requests get 503
    #[arg(long, env, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_queued: u64,

    /// What each caller may ask for.
    #[command(flatten)]
    pub allowance: Allowance,

    /// What is asked of clients' connections.
    #[command(flatten)]
    pub bounds: Bounds,

    /// How often a run is tried where we fail; a program that fails is never tried again
    #[arg(long, env, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: u32,

    /// How long a worker that says nothing is believed to live, in milliseconds
    #[arg(long, env, default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub lease_ms: u64,

    /// Days for which executions that have ended are kept; processes that run programs delete older ones, of all sessions, with
    /// their output. Sessions stay (default: forever)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub retain_days: Option<u32>,

    /// How receivers are told of ends
    #[command(flatten)]
    pub webhooks: WebhookArgs,

    /// How the log is written to standard error; what of it, RUST_LOG says (default: info)
    #[arg(long, env, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// A TOML file with more languages, as `[[language]]` tables
    #[arg(long, env, value_name = "FILE")]
    pub languages: Option<PathBuf>,

    /// What to do in place of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What there is to do in place of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make, list and revoke API keys, for AUTH=keys:FILE; servers see it within a second
    Keys {
        /// The file, made where there is none
        #[arg(long, value_name = "FILE")]
        file: PathBuf,

        /// What to do with it
        #[command(subcommand)]
        action: KeysAction,
    },

    /// Print the secret that an owner's webhooks are signed by, for the owner to check them with
    WebhookSecret {
        /// Whose; nobody's in particular where nobody signs in
        #[arg(value_parser = owner)]
        owner: Option<Owner>,

        /// The server's own, as it's set there
        #[arg(long, env, value_name = "SECRET", hide_env_values = true)]
        webhook_secret: String,
    },
}

/// What to do with a file of API keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysAction {
    /// Make a key and print it, once: the file has only its hash
    Create {
        /// Whose requests it is for: a user, a tenant, a service
        #[arg(value_parser = owner)]
        owner: Owner,

        /// What they may do: user, or admin, who sees everybody's records and the metrics
        #[arg(long, value_enum, default_value = "user")]
        role: auth::Role,

        /// How much they may ask for: a tier of the server's TIERS (default: the tier `default`)
        #[arg(long)]
        tier: Option<String>,
    },
    /// Print id, role, time, owner and tier of each key
    List,
    /// Make a key worthless
    Revoke {
        /// Its id: what stands between lck_ and the next _
        id: String,
    },
}

fn owner(text: &str) -> Result<Owner> {
    Owner::new(text)
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Answers requests and runs programs
    All,
    /// Answers requests
    Api,
    /// Runs programs, and answers for its health
    Worker,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// Lines that are JSON objects
    Json,
}

/// What programs are contained by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SandboxKind {
    /// Linux namespaces, seccomp and cgroups
    Process,
    /// A container for each run, on a Docker engine
    Docker,
}

/// What happens where a protection can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// Refuse to start, with the reason and the remedy
    Strict,
    /// Go on without it, say so in the log and in each execution's `unprotected`
    BestEffort,
}

/// Where records live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// In this process.
    Memory,
    /// In a file: the URL.
    Sqlite(String),
    /// On a PostgreSQL server: the URL.
    Postgres(String),
}

/// How work reaches workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Within this process.
    Memory,
    /// Through the database.
    Database,
    /// Through Redis: the URL.
    Redis(String),
}

impl Config {
    /// Refuses what can't be right, with the variable, the reason and the remedy.
    pub fn check(&self) -> Result<()> {
        let address = self.address();
        if !address.ip().is_loopback() && self.auth == "none" && !self.allow_anonymous {
            return Err(Error::invalid(format!(
                "LISTEN is {address}, where others can reach it, and whoever does can run programs: set AUTH, or \
                 ALLOW_ANONYMOUS=1 if that is meant, or listen on 127.0.0.1"
            )));
        }
        self.allowed_origins()?;
        self.warm()?;
        self.images()?;
        let within_one_process = self.database()? == Database::Memory || self.queue()? == QueueKind::Memory;
        if self.role != Role::All && within_one_process {
            return Err(Error::invalid(
                "ROLE is api or worker alone, but DATABASE_URL or QUEUE_URL is memory:, which other processes don't \
                 share, so that nothing would ever run: set ROLE=all, or a database that both use",
            ));
        }
        Ok(())
    }

    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        let port = self.port.unwrap_or(3000);
        self.listen.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// Where records live. Errors don't repeat the URL: it may hold a password.
    pub fn database(&self) -> Result<Database> {
        let url = self.database_url.as_str();
        match url.split_once(':') {
            Some(("memory", "")) => Ok(Database::Memory),
            Some(("sqlite", file))
                if file.trim_start_matches('/').is_empty() || file.contains(":memory:") =>
            {
                Err(Error::invalid(
                    "DATABASE_URL names no file: set sqlite://livecode.db, or memory: for a database that is gone with \
                     the process",
                ))
            }
            Some(("sqlite", _)) => Ok(Database::Sqlite(url.to_owned())),
            Some(("postgres" | "postgresql", _)) => Ok(Database::Postgres(url.to_owned())),
            Some(_) | None => Err(Error::invalid(
                "DATABASE_URL is not a database known here: set sqlite://FILE, postgres://HOST/DATABASE or memory:",
            )),
        }
    }

    /// How work reaches workers. Errors don't repeat the URL: it may hold a password.
    pub fn queue(&self) -> Result<QueueKind> {
        match self.queue_url.split_once(':') {
            None if self.queue_url == "database" => Ok(QueueKind::Database),
            Some(("memory", "")) => Ok(QueueKind::Memory),
            Some((scheme, _)) if scheme.starts_with("redis") => Ok(QueueKind::Redis(self.queue_url.clone())),
            Some(_) | None => Err(Error::invalid(
                "QUEUE_URL is not a queue known here: set database, redis://HOST or memory:",
            )),
        }
    }

    /// The origins whose pages may ask.
    pub fn allowed_origins(&self) -> Result<Vec<HeaderValue>> {
        let origin = |text: &String| {
            let is_origin = Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == *text);
            HeaderValue::from_str(text).ok().filter(|_| is_origin).ok_or_else(|| {
                Error::invalid(format!(
                    "CORS_ORIGINS has '{text}', which is no origin: write the scheme and the host, and the port where it isn't \
                     the usual one, in lower case and without a path, as https://example.org"
                ))
            })
        };
        self.cors_origins.iter().map(origin).collect()
    }

    /// What people call the store and the queue.
    pub fn backends(&self) -> Result<[&'static str; 2]> {
        let store = match self.database()? {
            Database::Memory => "memory",
            Database::Sqlite(_) => "SQLite",
            Database::Postgres(_) => "PostgreSQL",
        };
        let queue = match self.queue()? {
            QueueKind::Memory => "memory",
            QueueKind::Database => store,
            QueueKind::Redis(_) => "Redis",
        };
        Ok([store, queue])
    }

    /// How the programs of these languages are started; for others the library knows.
    pub fn warm(&self) -> Result<Vec<(String, Warm)>> {
        match &self.warm {
            Some(text) => warm::ways(text, &self.known_languages()?),
            None => Ok(Vec::new()),
        }
    }

    /// The images of languages, by their canonical names; none where programs don't run in containers.
    pub fn images(&self) -> Result<Vec<(String, String)>> {
        match (self.sandbox, &self.docker_images) {
            (SandboxKind::Process, _) => Ok(Vec::new()),
            (SandboxKind::Docker, Some(text)) => images::named(text, &self.known_languages()?),
            (SandboxKind::Docker, None) => Err(Error::invalid(
                "DOCKER_IMAGES is not set, and SANDBOX=docker needs to know in which images programs run: set \
                 DOCKER_IMAGES=python=python:3.13-slim, and others after a comma",
            )),
        }
    }

    /// The default and the most of every limit.
    pub fn ceiling(&self) -> Ceiling {
        Ceiling {
            run: Limits {
                wall_time: Duration::from_millis(self.limit_wall_ms),
                cpu_time: Duration::from_millis(self.limit_cpu_ms),
                memory_bytes: self.limit_memory_bytes,
                processes: self.limit_processes,
                output_bytes: self.limit_output_bytes,
                file_bytes: self.limit_file_bytes,
                cpu_millis: self.limit_cpus,
                ..Limits::RUN
            },
            compile: Limits::COMPILE,
            source_chars: usize::try_from(self.max_source_chars).unwrap_or(usize::MAX),
        }
    }

    /// The built-in languages and those of the operator's file.
    pub fn known_languages(&self) -> Result<Languages> {
        let mut languages = Languages::builtin();
        if let Some(file) = &self.languages {
            let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
                Error::invalid(format!("LANGUAGES names {}, which can't be used", file.display()))
                    .with_source(error)
            };
            let text = std::fs::read_to_string(file).map_err(|error| refused(error.into()))?;
            languages.add_toml(&text).map_err(|error| refused(error.into()))?;
        }
        Ok(languages)
    }

    /// Programs at a time.
    pub fn concurrency(&self) -> usize {
        match self.workers {
            Some(workers) => usize::from(workers),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// How long executions that have ended are kept; none is forever.
    pub fn retain(&self) -> Option<Duration> {
        self.retain_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60))
    }

    /// How long a worker that says nothing is believed to live.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Processors as thousandths.
fn cpus(text: &str) -> Result<u32, String> {
    let refused =
        || format!("{text:?} is not a number of processors: set one such as 1 or 0.5, at least 0.01");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 3 || !text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(refused());
    }
    let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| refused())?;
    let whole: u32 = whole.parse().map_err(|_| refused())?;
    let millis = whole.checked_mul(1000).and_then(|whole| whole.checked_add(thousandths));
    millis.filter(|millis| *millis >= 10).ok_or_else(refused)
}
