//! The binary: configuration, parts, signals.

#![forbid(unsafe_code)]

use std::{io::Write, process::ExitCode, time::Duration};

use clap::{CommandFactory, Parser, error::ErrorKind};
use livecode::{Engine, Error, Owner, Result, Worker};
use livecode_server::{
    App, Auth, Command, Config, KeyFile, KeysAction, Parts, Role, Shutdown, Telemetry, Tiers, WebhookSecret,
    Webhooks, app, deliver_webhooks, keep_metrics, prune_forever, serve, worker_app,
};
use mimalloc::MiMalloc;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

/// A request is some hundred small allocations on whatever thread, which the C library's takes a sixth of its time for.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long programs may run on after the signal; giving back the rest takes some time as well, and all of it 10 s.
const GRACE: Duration = Duration::from_secs(6);

fn main() -> ExitCode {
    let config = Config::parse();
    if let Some(command) = &config.command {
        return match carry_out(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("livecode-server: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Err(error) = config.check() {
        Config::command().error(ErrorKind::ValueValidation, error).exit();
    }
    let telemetry = match Telemetry::install(&config) {
        Ok(telemetry) => telemetry,
        Err(error) => Config::command().error(ErrorKind::ValueValidation, error).exit(),
    };
    let code = match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    };
    telemetry.end();
    code
}

fn carry_out(command: &Command) -> Result<()> {
    match command {
        Command::Keys { file, action } => keys(&KeyFile::new(file), action),
        Command::WebhookSecret { owner, webhook_secret } => {
            let owner = owner.clone().unwrap_or_else(Owner::anonymous);
            print(writeln!(std::io::stdout(), "{}", WebhookSecret::read(webhook_secret)?.of_owner(&owner)))
        }
    }
}

fn keys(file: &KeyFile, action: &KeysAction) -> Result<()> {
    let mut out = std::io::stdout();
    print(match action {
        KeysAction::Create { owner, role, tier } => {
            writeln!(out, "{}", file.create_in(tier.as_deref(), owner.clone(), *role)?)
        }
        KeysAction::Revoke { id } => return file.revoke(id),
        KeysAction::List => file.list()?.iter().try_for_each(|key| {
            let role = serde_json::to_value(key.role).unwrap_or_default();
            writeln!(
                out,
                "{}\t{}\t{}\t{}{}",
                key.id,
                role.as_str().unwrap_or_default(),
                key.created_at,
                key.owner,
                key.tier.as_ref().map(|tier| format!("\t{tier}")).unwrap_or_default()
            )
        }),
    })
}

fn print(written: std::io::Result<()>) -> Result<()> {
    written.map_err(|error| Error::unavailable("standard output can't be written").with_source(error))
}

/// Takes as many descriptors as this process may have: connections, followers and programs take some each, and what most systems
/// begin with is a thousand.
fn take_descriptors() {
    let all = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: all, maximum: all }) {
        tracing::warn!(%error, "the limit on open files can't be raised");
    }
}

fn start(config: &Config) -> Result<()> {
    take_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("the runtime can't be started").with_source(error))?;
    let ended = runtime.block_on(run(config));
    // What is still at work on a blocking thread isn't waited for longer.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

async fn run(config: &Config) -> Result<()> {
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let (auth, tiers) = (Auth::open(config)?, Tiers::open(config)?);
    // Who runs strangers' programs needs neither a way out nor the secret.
    let webhooks = match config.role {
        Role::All | Role::Api => Webhooks::open(&config.webhooks)?,
        Role::Worker => None,
    };
    let Parts { store, queue, runner, watched } = Parts::open(config).await?;
    let engine = Engine::new(store.clone(), queue.clone())
        .languages(config.known_languages()?)
        .ceiling(config.ceiling())
        .max_queued(config.max_queued);
    let shutdown = Shutdown::default();
    let anonymous = !auth.is_required();
    let state = App::new(engine.clone(), runner.clone(), shutdown.clone())
        .backends(config.backends()?)
        .auth(auth)
        .tiers(tiers)
        .origins(config.allowed_origins()?)
        .watching(watched.clone())
        .debug_routes(config.debug_routes)
        .webhooks(webhooks);
    let listener = listen(config).await?;
    let router = match config.role {
        Role::All | Role::Api => app(state.clone()),
        Role::Worker => worker_app(state.clone()),
    };
    let delivering = shutdown.draining().child_token();
    let webhooks = deliver_webhooks(state.clone(), delivering.clone());
    let probe = tokio::spawn(async move { state.probe_languages().await });
    let metrics = tokio::spawn(keep_metrics());
    let draining = shutdown.draining();
    let worker = runner.map(|runner| {
        for missing in runner.sandbox().capabilities().missing {
            tracing::warn!("programs run without a protection: {missing}");
        }
        let worker = Worker::new(store, queue, runner)
            .concurrency(config.concurrency())
            .lease(config.lease())
            .max_attempts(config.max_attempts)
            .grace(GRACE);
        #[cfg(feature = "otel")]
        let worker = worker.join_traces(livecode_server::otel::join_attempt);
        worker
    });
    let retain = config.retain();
    let work = async move {
        match worker {
            Some(worker) => tokio::select! {
                () = worker.run(draining) => {}
                () = prune_forever(engine, retain) => {}
            },
            None => draining.cancelled().await,
        }
        delivering.cancel();
    };
    let workers = async {
        tokio::join!(work, webhooks);
    };
    let ended = serve(listener, router, anonymous, config.bounds, shutdown, workers, async {
        either(&mut terminate, &mut interrupt).await;
        // From here on a second one ends the process at once: whatever it leaves lapses or is swept.
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            tracing::warn!("a second signal: ending at once");
            std::process::exit(130);
        });
    })
    .await;
    probe.abort();
    metrics.abort();
    if let Some(containers) = watched.docker
        && let Err(error) = containers.drain().await
    {
        tracing::warn!(%error, "containers that wait are left: they end with this process, and the next one removes them");
    }
    ended
}

async fn listen(config: &Config) -> Result<TcpListener> {
    let address = config.address();
    let failed = |error: std::io::Error| {
        Error::unavailable(format!(
            "can't listen on {address}: end what listens there, or set LISTEN or PORT"
        ))
        .with_source(error)
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let mut local = listener.local_addr().map_err(failed)?;
    if local.ip().is_unspecified() {
        local.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let page = match config.role {
        Role::All | Role::Api => "",
        Role::Worker => "health/ready",
    };
    if let Err(error) = writeln!(std::io::stdout(), "livecode: open http://{local}/{page}") {
        tracing::warn!(%error, "the address can't be printed: http://{local}/{page}");
    }
    Ok(listener)
}

fn on(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Error::internal("signals can't be received").with_source(error))
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
