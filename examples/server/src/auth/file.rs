//! What is read from a file, and read again when it has changed.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use livecode::{Error, Result};

/// How old the look at the file may be: a key that was revoked is good for as long.
const LOOK_AGE: Duration = Duration::from_secs(1);

/// The content of a file, as `T`. Where it can't be read again, what was read before stays good.
#[derive(Debug)]
pub(crate) struct FromFile<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Result<T>,
    read: RwLock<Read<T>>,
}

#[derive(Debug)]
struct Read<T> {
    content: Arc<T>,
    looked: Instant,
    version: Option<(SystemTime, u64)>,
}

impl<T> FromFile<T> {
    pub(crate) fn open(path: PathBuf, parse: fn(&[u8]) -> Result<T>) -> Result<Self> {
        let version = version(&path);
        let content = Arc::new(load(&path, parse)?);
        let read = RwLock::new(Read { content, looked: Instant::now(), version });
        Ok(Self { path, parse, read })
    }

    /// What the file says, or said a second ago.
    pub(crate) fn get(&self) -> Arc<T> {
        {
            let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
            if read.looked.elapsed() < LOOK_AGE {
                return read.content.clone();
            }
        }
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        if read.looked.elapsed() >= LOOK_AGE {
            read.looked = Instant::now();
            let now = version(&self.path);
            if now != read.version {
                match load(&self.path, self.parse) {
                    Ok(content) => {
                        read.content = Arc::new(content);
                        read.version = now;
                    }
                    Err(error) => tracing::error!(%error, "what was read before stays good"),
                }
            }
        }
        read.content.clone()
    }
}

fn version(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load<T>(path: &Path, parse: fn(&[u8]) -> Result<T>) -> Result<T> {
    let refused = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::invalid(format!("AUTH names {}, which can't be used: {source}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| refused(error.into()))?;
    parse(&bytes).map_err(|error| refused(error.into()))
}
