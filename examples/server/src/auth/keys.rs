//! API keys: a file of their hashes, which the subcommand `keys` writes.
//!
//! A key is `lck_ID_SECRET`. The secret is 256 random bits, so that a plain SHA-256 of the key is as hard to turn back as the key is to guess;
//! hashes made to be slow are for what people think up.

use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use livecode::{Clock, Error, Owner, Result, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Identity, Role, file::FromFile};

/// What keys begin with, so that scanners for leaked secrets know them.
const PREFIX: &str = "lck_";

/// One key, without what it's proven by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Its name, the first part of the key: 16 hexadecimal digits.
    pub id: String,
    /// Whose requests it's for.
    pub owner: Owner,
    /// What they may do.
    #[serde(default)]
    pub role: Role,
    /// How much they may ask for: a tier that the server has; none is the one of who has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// SHA-256 of the whole key, as base64url.
    sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    keys: Vec<KeyEntry>,
}

fn parse(bytes: &[u8]) -> Result<Content> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::invalid(format!("it is not a file of keys: {error}: make one with the subcommand keys"))
    })
}

fn sha256(key: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(key))
}

/// A file of API keys, for whoever makes and revokes them. Servers that use it see a change within a second.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The one at this path; [`KeyFile::create`] makes it where there is none.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes a key, and gives it back: nobody can tell it again.
    ///
    /// # Errors
    ///
    /// Where the owner is empty, which is nobody in particular; where the file can't be read or written.
    pub fn create(&self, owner: Owner, role: Role) -> Result<String> {
        self.create_in(None, owner, role)
    }

    /// The same, for who may ask for as much as that tier's may.
    ///
    /// # Errors
    ///
    /// As [`KeyFile::create`]. Which tiers there are is the server's to know: a key of one that it doesn't have is refused there.
    pub fn create_in(&self, tier: Option<&str>, owner: Owner, role: Role) -> Result<String> {
        if owner == Owner::anonymous() {
            return Err(Error::invalid("the owner of a key is empty: name who it is for"));
        }
        let mut random = [0_u8; 40];
        getrandom::fill(&mut random)
            .map_err(|error| Error::unavailable("the system gives no random numbers").with_source(error))?;
        let (name, secret) = random.split_at(8);
        let id: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let (tier, created_at) = (tier.map(Into::into), SystemClock.now());
        let entry = KeyEntry { id, owner, role, tier, created_at, sha256: sha256(&key) };
        self.change(|content| {
            content.keys.push(entry);
            Ok(())
        })?;
        Ok(key)
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    ///
    /// Where the file can't be read.
    pub fn list(&self) -> Result<Vec<KeyEntry>> {
        Ok(self.read()?.keys)
    }

    /// Revokes the key of this id.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none; where the file can't be read or written.
    pub fn revoke(&self, id: &str) -> Result<()> {
        self.change(|content| {
            let before = content.keys.len();
            content.keys.retain(|key| key.id != id);
            if content.keys.len() == before {
                return Err(Error::not_found(format!("key {id}")));
            }
            Ok(())
        })
    }

    fn read(&self) -> Result<Content> {
        match fs::read(&self.path) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Content::default()),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    /// Two at the same time take turns; a server that reads meanwhile sees the file before or after it.
    fn change(&self, change: impl FnOnce(&mut Content) -> Result<()>) -> Result<()> {
        let lock = self.beside("lock");
        let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(|error| self.failed("locked", error))?;
        let mut content = self.read()?;
        change(&mut content)?;
        let text = serde_json::to_vec_pretty(&content)
            .map_err(|error| Error::internal("keys can't be written as JSON").with_source(error))?;
        let new = self.beside("new");
        let write = || {
            let mut file = File::create(&new)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        write().map_err(|error| self.failed("written", error))
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(extension);
        name.into()
    }

    fn failed(&self, what: &str, error: std::io::Error) -> Error {
        Error::unavailable(format!("the file of keys {} can't be {what}: {error}", self.path.display()))
    }
}

/// The keys that are good now, by their ids.
#[derive(Debug)]
pub(super) struct Keys(FromFile<HashMap<String, KeyEntry>>);

impl Keys {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        if !Path::new(&path).exists() {
            return Err(Error::invalid(format!(
                "AUTH names {}, which isn't there: make a key with `livecode-server keys --file {} create OWNER`",
                path.display(),
                path.display()
            )));
        }
        let by_id =
            |bytes: &[u8]| Ok(parse(bytes)?.keys.into_iter().map(|key| (key.id.clone(), key)).collect());
        Ok(Self(FromFile::open(path, by_id)?))
    }

    pub(super) fn identify(&self, key: &str) -> Option<Identity> {
        let (id, _) = key.strip_prefix(PREFIX)?.split_once('_')?;
        let keys = self.0.get();
        let entry = keys.get(id)?;
        // The id is no secret; what is compared here takes the same time wherever it differs.
        let same: bool = entry.sha256.as_bytes().ct_eq(sha256(key).as_bytes()).into();
        same.then(|| Identity { owner: entry.owner.clone(), role: entry.role, tier: entry.tier.clone() })
    }
}
