//! What is asked of the engine, each with the time that it may take.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use bollard::{
    Docker,
    container::LogOutput,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerSummary, ContainerUpdateBody, ImageInspect,
        SystemInfo,
    },
    query_parameters::{
        AttachContainerOptions, CommitContainerOptions, CreateContainerOptions, CreateImageOptions,
        InspectContainerOptions, ListContainersOptions, RemoveContainerOptions, RenameContainerOptions,
        UploadToContainerOptions,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use livecode_core::{Error, ErrorKind, Result};
use tokio::{io::AsyncWrite, time::timeout};

use crate::{
    error::{from_engine, silent},
    image::PullProgress,
};

/// Whether an image gets on at all: more than this between two signs of it is too long.
const PULL_PATIENCE: Duration = Duration::from_secs(120);

/// A container engine.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    docker: Arc<Docker>,
    /// How long a call may take.
    patience: Duration,
}

/// The streams of a container's first process.
pub(crate) struct Attached {
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
    pub(crate) output:
        Pin<Box<dyn Stream<Item = std::result::Result<LogOutput, bollard::errors::Error>> + Send>>,
}

impl Engine {
    pub(crate) async fn connect(host: Option<&str>, patience: Duration) -> Result<Self> {
        let docker = match host {
            Some(host) => Docker::connect_with_host(host),
            None => Docker::connect_with_defaults(),
        };
        let docker = docker.map_err(|error| match error {
            bollard::errors::Error::SocketNotFoundError(_) => from_engine("be reached")(error),
            _ => Error::invalid(
                "the container engine's address is none: write unix:///PATH or tcp://HOST:PORT",
            )
            .with_source(error),
        })?;
        // Ours may be newer than an older engine's.
        let docker = in_time(patience, "tell its version", docker.negotiate_version()).await?;
        Ok(Self { docker: Arc::new(docker), patience })
    }

    async fn in_time<T>(
        &self,
        what: &str,
        answer: impl Future<Output = std::result::Result<T, bollard::errors::Error>>,
    ) -> Result<T> {
        in_time(self.patience, what, answer).await
    }

    pub(crate) async fn info(&self) -> Result<SystemInfo> {
        self.in_time("tell of itself", self.docker.info()).await
    }

    pub(crate) async fn image(&self, name: &str) -> Result<Option<ImageInspect>> {
        found(self.in_time("tell of an image", self.docker.inspect_image(name)).await)
    }

    /// Gets it from its registry, and tells how that gets on.
    pub(crate) async fn pull(&self, name: &str, told: impl Fn(PullProgress)) -> Result<()> {
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            // Without one all would come.
            tag: (!name.contains('@') && !name.rsplit('/').next().unwrap_or(name).contains(':'))
                .then(|| "latest".to_owned()),
            ..CreateImageOptions::default()
        };
        let mut steps = self.docker.create_image(Some(options), None, None);
        loop {
            let step = timeout(PULL_PATIENCE, steps.next()).await.map_err(|_| silent("pull an image"))?;
            let Some(step) = step else { return Ok(()) };
            let step = step.map_err(|error| {
                Error::unsupported(format!(
                    "the image {name} is not on the container engine, and it can't pull it: {error}: pull or build it there, or name another"
                ))
                .with_source(error)
            })?;
            let detail = step.progress_detail.unwrap_or_default();
            let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
            told(PullProgress {
                image: name.to_owned(),
                layer: step.id.unwrap_or_default(),
                status: step.status.unwrap_or_default(),
                current: bytes(detail.current),
                total: bytes(detail.total),
            });
        }
    }

    pub(crate) async fn create(&self, body: ContainerCreateBody) -> Result<String> {
        let options = None::<CreateContainerOptions>;
        Ok(self.in_time("create a container", self.docker.create_container(options, body)).await?.id)
    }

    pub(crate) async fn upload(&self, id: &str, archive: Vec<u8>) -> Result<()> {
        let options = UploadToContainerOptions { path: "/".into(), ..UploadToContainerOptions::default() };
        let body = bollard::body_full(Bytes::from(archive));
        self.in_time("add a file to a container", self.docker.upload_to_container(id, Some(options), body))
            .await
    }

    /// Makes an image of a container, with that name.
    pub(crate) async fn commit(&self, id: &str, repo: &str, tag: &str) -> Result<()> {
        let options = CommitContainerOptions {
            container: Some(id.to_owned()),
            repo: Some(repo.to_owned()),
            tag: Some(tag.to_owned()),
            pause: false,
            ..CommitContainerOptions::default()
        };
        let config = bollard::models::ContainerConfig::default();
        self.in_time("make an image", self.docker.commit_container(options, config)).await.map(drop)
    }

    pub(crate) async fn attach(&self, id: &str) -> Result<Attached> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        let attached =
            self.in_time("attach to a container", self.docker.attach_container(id, Some(options))).await?;
        Ok(Attached { input: attached.input, output: attached.output })
    }

    pub(crate) async fn start(&self, id: &str) -> Result<()> {
        let options = None::<bollard::query_parameters::StartContainerOptions>;
        self.in_time("start a container", self.docker.start_container(id, options)).await
    }

    pub(crate) async fn rename(&self, id: &str, name: String) -> Result<()> {
        let options = RenameContainerOptions { name };
        self.in_time("name a container", self.docker.rename_container(id, options)).await
    }

    /// Whether what is in it fits into these limits.
    pub(crate) async fn update(&self, id: &str, body: ContainerUpdateBody) -> Result<bool> {
        match self.in_time("change a container's limits", self.docker.update_container(id, body)).await {
            Ok(()) => Ok(true),
            // Runc's words. Version 2 of cgroups ends processes in place of that.
            Err(error) if error.to_string().contains("unable to set memory limit") => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        let options = None::<InspectContainerOptions>;
        found(self.in_time("tell of a container", self.docker.inspect_container(id, options)).await)
    }

    /// Ends it, and removes it and what is its own.
    pub(crate) async fn remove(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        match self.in_time("remove a container", self.docker.remove_container(id, Some(options))).await {
            Err(error) if error.kind() == ErrorKind::NotFound || is_being_removed(&error) => Ok(()),
            removed => removed,
        }
    }

    /// All containers with that label.
    pub(crate) async fn list(&self, label: String) -> Result<Vec<ContainerSummary>> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![label])])),
            ..ListContainersOptions::default()
        };
        self.in_time("list its containers", self.docker.list_containers(Some(options))).await
    }
}

/// Somebody else does it.
fn is_being_removed(error: &Error) -> bool {
    error.to_string().contains("already in progress")
}

async fn in_time<T>(
    patience: Duration,
    what: &str,
    answer: impl Future<Output = std::result::Result<T, bollard::errors::Error>>,
) -> Result<T> {
    timeout(patience, answer).await.map_err(|_| silent(what))?.map_err(from_engine(what))
}

fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
