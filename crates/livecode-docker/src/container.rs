//! One container: what it's made with, and the way to the runner in it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bollard::{
    container::LogOutput,
    models::{
        ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum,
        HostConfigLogConfig, ResourcesUlimits,
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use livecode_core::{Error, Limits, Result};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::AsyncWriteExt,
    runtime::Handle,
    time::{Instant, timeout},
};

use crate::{
    engine::{Attached, Engine},
    image::{Prepared, RUNNER_PATH},
    protocol::{self, HEADER, Kind, OWN_FILES, Ready},
};

/// All containers of ours have these labels: which sandboxes they belong to, and which process made them.
pub(crate) const GROUP: &str = "livecode.group";
const WORKER: &str = "livecode.worker";

/// From its start until the runner is there.
const BOOT: Duration = Duration::from_secs(30);

const SECCOMP: &str = include_str!("seccomp.json");

/// Each container has another user of these, as far as they go: what the kernel counts by user isn't shared.
const USERS: std::ops::Range<u32> = 61_000..64_000;

/// A complaint is short.
const MOST_SAID: usize = 500;

/// What each process may use. A core of one byte is none, and unlike none at all keeps the kernel from starting a program of the host's
/// for it (core(5)).
const ULIMITS: [(&str, i64); 6] =
    [("core", 1), ("memlock", 65_536), ("msgqueue", 0), ("nice", 0), ("rtprio", 0), ("sigpending", 1024)];

/// The engine takes no less.
pub(crate) const LEAST_MEMORY: u64 = 6 * 1024 * 1024;
const LEAST_CPU_MILLIS: u32 = 10;
const CPU_PERIOD: i64 = 100_000;

/// The runner is one of them.
const OWN_PROCESSES: u32 = 1;

/// What all containers of a sandbox have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) engine: Engine,
    pub(crate) group: String,
    pub(crate) worker: String,
    pub(crate) runtime: Option<String>,
    pub(crate) processors: u32,
}

impl Common {
    pub(crate) fn labels(&self) -> HashMap<String, String> {
        [(GROUP, &self.group), (WORKER, &self.worker)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into()
    }
}

/// What a container was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerKind {
    pub(crate) image: Arc<Prepared>,
    pub(crate) files: FileLimits,
    pub(crate) limits: CgroupLimits,
}

/// What can't be changed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileLimits {
    pub(crate) bytes: u64,
    pub(crate) files: u32,
}

/// What can be changed while it's there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CgroupLimits {
    memory: u64,
    processes: u32,
    cpu_millis: u32,
}

impl CgroupLimits {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            memory: limits.memory_bytes.max(LEAST_MEMORY),
            processes: limits.processes,
            cpu_millis: limits.cpu_millis.max(LEAST_CPU_MILLIS),
        }
    }

    fn memory(self) -> Option<i64> {
        i64::try_from(self.memory).ok()
    }

    fn processes(self) -> Option<i64> {
        Some(i64::from(self.processes.saturating_add(OWN_PROCESSES)))
    }

    fn quota(self, processors: u32) -> i64 {
        i64::from(self.cpu_millis.min(processors.saturating_mul(1000))) * CPU_PERIOD / 1000
    }
}

/// A container that belongs to one run, or waits for one. Gone soon after it's dropped.
pub(crate) struct Container {
    id: String,
    common: Arc<Common>,
    streams: Attached,
    heard: BytesMut,
    /// What the runner complained of.
    said: String,
    limits: CgroupLimits,
    /// What it can't enforce, for the reasons given.
    pub(crate) missing: Vec<String>,
    pub(crate) since: Instant,
    remover: Remover,
}

/// Removes a container in the background.
#[derive(Debug)]
struct Remover {
    id: Option<String>,
    common: Arc<Common>,
    runtime: Handle,
}

impl Drop for Remover {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let common = self.common.clone();
        // Where that fails, a sweep finds it.
        self.runtime.spawn(async move {
            if let Err(error) = common.engine.remove(&id).await {
                tracing::debug!(container = id, %error, "a container is left for the sweep");
            }
        });
    }
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Container").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Container {
    /// Makes and starts one, whose runner waits then.
    pub(crate) async fn start(common: &Arc<Common>, kind: &ContainerKind) -> Result<Self> {
        let engine = &common.engine;
        let id = engine.create(body(common, kind)).await?;
        let remover = Remover { id: Some(id.clone()), common: common.clone(), runtime: Handle::current() };
        let streams = engine.attach(&id).await?;
        engine.start(&id).await?;
        let mut container = Self {
            id,
            common: common.clone(),
            streams,
            heard: BytesMut::new(),
            said: String::new(),
            limits: kind.limits,
            missing: Vec::new(),
            since: Instant::now(),
            remover,
        };
        let first = timeout(BOOT, container.next()).await;
        let first = first.map_err(|_| Error::unavailable("a container's runner doesn't start in time"))??;
        match first {
            Some((Kind::Ready, text)) => container.missing = parse::<Ready>(&text)?.missing,
            Some(_) | None => return Err(container.ended("before it was ready")),
        }
        container.since = Instant::now();
        Ok(container)
    }

    /// Whether the runner still waits.
    pub(crate) fn is_alive(&mut self) -> bool {
        // It says nothing while it waits: whatever comes is its end.
        self.heard.is_empty() && self.streams.output.next().now_or_never().is_none()
    }

    /// Gives it the name of a run, for people who look at the engine; a label can't be added to it any more. The run doesn't wait for that.
    pub(crate) fn call(&self, name: &str) {
        let (common, id, name) = (self.common.clone(), self.id.clone(), format!("livecode-{name}"));
        tokio::spawn(async move {
            if let Err(error) = common.engine.rename(&id, name).await {
                tracing::debug!(container = id, %error, "a container keeps the name that it had");
            }
        });
    }

    pub(crate) fn has_other_limits(&self, limits: CgroupLimits) -> bool {
        self.limits != limits
    }

    /// Puts other limits in force. Whether what is in it fits into them.
    pub(crate) async fn limit(&mut self, limits: CgroupLimits) -> Result<bool> {
        if limits != self.limits {
            let body = ContainerUpdateBody {
                memory: limits.memory(),
                memory_swap: limits.memory(),
                pids_limit: limits.processes(),
                cpu_period: Some(CPU_PERIOD),
                cpu_quota: Some(limits.quota(self.common.processors)),
                ..ContainerUpdateBody::default()
            };
            if !self.common.engine.update(&self.id, body).await? {
                return Ok(false);
            }
            self.limits = limits;
        }
        Ok(true)
    }

    pub(crate) async fn tell(&mut self, kind: Kind, message: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec(message)
            .map_err(|error| Error::internal("a message can't be written").with_source(error))?;
        self.say(kind, &text).await
    }

    pub(crate) async fn say(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(HEADER + bytes.len());
        frame.extend(protocol::header(kind, bytes.len()));
        frame.extend(bytes);
        let written = async {
            self.streams.input.write_all(&frame).await?;
            self.streams.input.flush().await
        };
        written.await.map_err(|error| Error::unavailable("a container's input is closed").with_source(error))
    }

    /// What the runner says next; nothing when it has ended. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Result<Option<(Kind, Bytes)>> {
        loop {
            let damaged = |_| Error::internal("a container's runner says what is no frame");
            if let Some((kind, length)) = protocol::first(&self.heard).map_err(damaged)? {
                let frame = self.heard.split_to(HEADER + length).freeze();
                return Ok(Some((kind, frame.slice(HEADER..))));
            }
            match self.streams.output.next().await {
                Some(Ok(LogOutput::StdOut { message })) => self.heard.extend_from_slice(&message),
                Some(Ok(other)) => {
                    let text = String::from_utf8_lossy(&other.into_bytes()).replace('\n', " ");
                    self.said.extend(text.chars().take(MOST_SAID.saturating_sub(self.said.len())));
                }
                Some(Err(error)) => {
                    return Err(Error::unavailable(format!("a container's output broke off: {error}"))
                        .with_source(error));
                }
                None => return Ok(None),
            }
        }
    }

    /// What is known of its end.
    pub(crate) fn ended(&self, when: &str) -> Error {
        let said = if self.said.is_empty() { String::new() } else { format!(" ({})", self.said.trim()) };
        Error::unavailable(format!(
            "a container ended {when}{said}: the engine may have been restarted, and it can be tried again"
        ))
    }

    /// Whether the kernel ended it, runner and all, for memory, as far as the engine tells.
    pub(crate) async fn was_out_of_memory(&mut self) -> bool {
        let state =
            self.common.engine.inspect(&self.id).await.ok().flatten().and_then(|container| container.state);
        state.and_then(|state| state.oom_killed).unwrap_or_default()
    }

    /// Ends and removes it, and waits for that.
    pub(crate) async fn remove(mut self) -> Result<()> {
        self.common.engine.remove(&self.id).await?;
        self.remover.id = None;
        Ok(())
    }
}

/// A message of the runner's.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| {
        Error::internal("a container's runner says what can't be understood").with_source(error)
    })
}

fn body(common: &Common, kind: &ContainerKind) -> ContainerCreateBody {
    let user = fastrand::u32(USERS);
    let files = u64::from(kind.files.files).saturating_add(OWN_FILES);
    let tmpfs = |bytes: u64| {
        format!("rw,exec,nosuid,nodev,size={bytes},nr_inodes={files},mode=0755,uid={user},gid={user}")
    };
    let mut writable: HashMap<String, String> =
        ["/box", "/dev/shm"].map(|path| (path.to_owned(), tmpfs(kind.files.bytes))).into();
    // In place of a directory of the host that nobody limits.
    for path in &kind.image.volumes {
        writable.entry(path.clone()).or_insert_with(|| "ro,noexec,nosuid,nodev,size=4096,nr_inodes=2".into());
    }
    let same = |name: &str, value: i64| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    };
    ContainerCreateBody {
        image: Some(kind.image.name.clone()),
        entrypoint: Some(vec![RUNNER_PATH.into()]),
        cmd: Some(Vec::new()),
        user: Some(format!("{user}:{user}")),
        hostname: Some("livecode".into()),
        working_dir: Some("/".into()),
        labels: Some(common.labels()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        // The end of ours is the end of the runner's: nobody outlives us.
        stdin_once: Some(true),
        tty: Some(false),
        network_disabled: Some(true),
        stop_signal: Some("SIGKILL".into()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            // What the image's resolver would be told is the host's.
            dns: Some(vec!["127.0.0.1".into()]),
            dns_search: Some(vec![".".into()]),
            readonly_rootfs: Some(true),
            tmpfs: Some(writable),
            cap_drop: Some(vec!["ALL".into()]),
            security_opt: Some(vec!["no-new-privileges".into(), format!("seccomp={SECCOMP}")]),
            ipc_mode: Some("none".into()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            privileged: Some(false),
            // The runner is it, and gives nothing away.
            init: Some(false),
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            memory: kind.limits.memory(),
            memory_swap: kind.limits.memory(),
            pids_limit: kind.limits.processes(),
            cpu_period: Some(CPU_PERIOD),
            cpu_quota: Some(kind.limits.quota(common.processors)),
            oom_score_adj: Some(500),
            ulimits: Some(ULIMITS.map(|(name, value)| same(name, value)).to_vec()),
            runtime: common.runtime.clone(),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
