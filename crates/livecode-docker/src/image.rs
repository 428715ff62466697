//! Images: which one is a language's, where it comes from, and ours, which is that one with the runner in it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bollard::models::ContainerCreateBody;
use livecode_core::{Error, Result};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::container::Common;

const RUNNER: &[u8] = include_bytes!(env!("LIVECODE_RUNNER"));

/// Where the runner is in our images.
pub(crate) const RUNNER_PATH: &str = "/.livecode/runner";

/// What our images are called: the tag says what is in them.
const REPOSITORY: &str = "livecode/prepared";

/// Which image a language's programs run in: for hosts that build or choose images themselves.
///
/// ```
/// use async_trait::async_trait;
/// use livecode_core::{Error, Result};
/// use livecode_docker::ImageSource;
///
/// #[derive(Debug)]
/// struct OurOwn;
///
/// #[async_trait]
/// impl ImageSource for OurOwn {
///     async fn image(&self, language: &str) -> Result<String> {
///         match language {
///             "python" => Ok("registry.example/python@sha256:0f5a".into()),
///             other => Err(Error::unsupported(format!("there is no image for {other}"))),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait ImageSource: fmt::Debug + Send + Sync + 'static {
    /// The name or id of an image for `language` (its canonical name). One that the engine doesn't have is pulled. Asked for each run
    /// that finds no container waiting: keep what takes long.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](livecode_core::ErrorKind::Unsupported) where there is none; what it says is the run's error.
    async fn image(&self, language: &str) -> Result<String>;

    /// Hears how an image that is pulled gets on, some times a second. Where nobody wants to hear it, it's told to `tracing`.
    fn pulling(&self, progress: &PullProgress) {
        tracing::debug!(?progress, "pulling an image");
    }
}

/// How far an image has come that is pulled for its first run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullProgress {
    /// The image's name, as [`ImageSource::image`] gave it.
    pub image: String,
    /// The part of it that this is about; empty where it's about all.
    pub layer: String,
    /// What is done, in the engine's words.
    pub status: String,
    /// How many bytes of that are there.
    pub current: Option<u64>,
    /// How many there will be.
    pub total: Option<u64>,
}

/// The images that the builder was told.
#[derive(Debug, Default)]
pub(crate) struct Named(pub(crate) HashMap<String, String>);

#[async_trait]
impl ImageSource for Named {
    async fn image(&self, language: &str) -> Result<String> {
        self.0.get(language).cloned().ok_or_else(|| {
            let mut known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            known.sort_unstable();
            Error::unsupported(format!(
                "the container sandbox has no image for {language} (it has: {}): name one",
                known.join(", ")
            ))
        })
    }
}

/// Ours, by the images that they were made from.
#[derive(Debug, Default)]
pub(crate) struct Images {
    prepared: Mutex<HashMap<String, Arc<OnceCell<Arc<Prepared>>>>>,
}

/// An image with the runner in it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Prepared {
    pub(crate) name: String,
    /// Where the image would have volumes, which would be directories of the host.
    pub(crate) volumes: Vec<String>,
}

impl Images {
    /// Ours for that one, made where it isn't there. Who asks for the same waits for it.
    pub(crate) async fn prepared(
        &self,
        common: &Common,
        source: &dyn ImageSource,
        image: &str,
    ) -> Result<Arc<Prepared>> {
        let cell = {
            let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
            prepared.entry(image.to_owned()).or_default().clone()
        };
        cell.get_or_try_init(|| prepare(common, source, image)).await.cloned()
    }

    /// Makes sure that what was removed from the engine is made again.
    pub(crate) fn forget(&self, image: &Prepared) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.retain(|_, cell| cell.get().is_none_or(|known| **known != *image));
    }
}

async fn prepare(common: &Common, source: &dyn ImageSource, image: &str) -> Result<Arc<Prepared>> {
    let engine = &common.engine;
    let base = match engine.image(image).await? {
        Some(base) => base,
        None => {
            engine.pull(image, |progress| source.pulling(&progress)).await?;
            let pulled = engine.image(image).await?;
            pulled.ok_or_else(|| Error::unavailable(format!("the image {image} is gone again")))?
        }
    };
    let id = base.id.unwrap_or_default();
    let volumes = base.config.and_then(|config| config.volumes).unwrap_or_default();
    let tag = tag(&id);
    let name = format!("{REPOSITORY}:{tag}");
    if engine.image(&name).await?.is_none() {
        let body = ContainerCreateBody {
            image: Some(id),
            // It's never started, but some images say nothing and the engine wants to hear something.
            cmd: Some(vec![RUNNER_PATH.into()]),
            labels: Some(common.labels()),
            ..ContainerCreateBody::default()
        };
        let container = engine.create(body).await?;
        let made = async {
            engine.upload(&container, archive()?).await?;
            engine.commit(&container, REPOSITORY, &tag).await
        };
        let made = made.await;
        engine.remove(&container).await.ok();
        made?;
    }
    Ok(Arc::new(Prepared { name, volumes }))
}

/// The same for the same image, runner and way to put them together.
fn tag(base: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(base);
    hash.update(RUNNER);
    hash.update(include_str!("image.rs"));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What is added to an image: the runner, which can be executed and not read, so that nobody looks into its process; and links for the
/// places where programs may write, into the one file system that limits them.
fn archive() -> Result<Vec<u8>> {
    let failed = |error| Error::internal("the runner can't be packed").with_source(error);
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, link: Option<&str>, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        match link {
            Some(target) => archive.append_link(&mut header, path, target),
            None => archive.append_data(&mut header, path, content),
        }
    };
    add(".livecode/", tar::EntryType::Directory, 0o711, None, &[]).map_err(failed)?;
    add(RUNNER_PATH.trim_start_matches('/'), tar::EntryType::Regular, 0o111, None, RUNNER).map_err(failed)?;
    add("box/", tar::EntryType::Directory, 0o755, None, &[]).map_err(failed)?;
    add("work", tar::EntryType::Symlink, 0o777, Some("/box/work"), &[]).map_err(failed)?;
    add("tmp", tar::EntryType::Symlink, 0o777, Some("/box/tmp"), &[]).map_err(failed)?;
    archive.into_inner().map_err(failed)
}
