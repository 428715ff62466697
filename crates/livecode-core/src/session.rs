//! What is being edited.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Owner, Result, SessionId, SourceFile, Timestamp, spec::shown};

/// The number of an autosaved version of a session's source: counts up by one from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Of a new session.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a session can still be saved and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SessionStatus {
    /// It can.
    Active,
    /// It was closed; it and its history can be read.
    Inactive,
}

impl SessionStatus {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
        }
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SessionStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Active, Self::Inactive]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Error::invalid(format!("'{}' is not a session's status", shown(text))))
    }
}

/// What a session holds at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The canonical name of the language.
    pub language: String,
    /// The entry file.
    pub source_code: String,
    /// The files beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SourceFile>,
}

/// A workspace whose source is autosaved and never executed by saving.
///
/// Changed only by [`Session::save`] and [`Session::close`]; stores fence each change by [`Session::version`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it can be saved and run.
    pub status: SessionStatus,
    /// The number of the source in it.
    pub revision: Revision,
    /// The source as it was saved last.
    pub source: Source,
    /// Counts the changes to this record, from 1: the token of compare-and-set.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was saved or closed last.
    pub updated_at: Timestamp,
}

impl Session {
    /// A new session with its first revision.
    pub fn new(owner: Owner, source: Source, at: Timestamp) -> Self {
        Self {
            id: SessionId::generate(at),
            owner,
            status: SessionStatus::Active,
            revision: Revision::FIRST,
            source,
            version: 1,
            created_at: at,
            updated_at: at,
        }
    }

    /// Puts `source` in as a new revision; says whether that changed anything. The same source again is no new revision.
    ///
    /// # Errors
    ///
    /// [`Conflict`](crate::ErrorKind::Conflict) on a closed session.
    pub fn save(&mut self, source: Source, at: Timestamp) -> Result<bool> {
        self.require_active("saved")?;
        if source == self.source {
            return Ok(false);
        }
        self.source = source;
        self.revision = self.revision.next();
        self.touch(at);
        Ok(true)
    }

    /// Closes it; says whether that changed anything.
    pub fn close(&mut self, at: Timestamp) -> bool {
        if self.status == SessionStatus::Inactive {
            return false;
        }
        self.status = SessionStatus::Inactive;
        self.touch(at);
        true
    }

    /// [`Conflict`](crate::ErrorKind::Conflict) on a closed session; `what` completes "can't be …".
    pub fn require_active(&self, what: &str) -> Result<()> {
        match self.status {
            SessionStatus::Active => Ok(()),
            SessionStatus::Inactive => {
                Err(Error::conflict(format!("session {} is closed and can't be {what}", self.id)))
            }
        }
    }

    fn touch(&mut self, at: Timestamp) {
        self.version += 1;
        self.updated_at = at;
    }
}

/// One entry of a session's autosave history without what was saved, which can be large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionHead {
    /// Its number.
    pub revision: Revision,
    /// The canonical name of the language.
    pub language: String,
    /// When it was saved.
    pub saved_at: Timestamp,
}

/// One entry of a session's autosave history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRevision {
    /// Its number.
    pub revision: Revision,
    /// What was saved.
    pub source: Source,
    /// When.
    pub saved_at: Timestamp,
}
