//! Ids and owners. The only place where ids are made.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex},
};

use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Uuid};

use crate::{Error, Result, Timestamp};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, later in order than all that this process made at earlier moments or in the same one.
            pub fn generate(at: Timestamp) -> Self {
                Self(time_ordered(at))
            }

            /// The UUID in it, for stores.
            pub fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                match Uuid::try_parse(text) {
                    Ok(uuid) => Ok(Self(uuid)),
                    Err(error) => {
                        let shown: String = text.chars().take(64).collect();
                        Err(Error::invalid(format!("'{shown}' is not {} id (a UUID)", $what)).with_source(error))
                    }
                }
            }
        }
    };
}

id! {
    /// Names a [`Session`](crate::Session): a UUID of version 7, so that ids sort by creation.
    ///
    /// ```
    /// use livecode_core::{Clock, SessionId, SystemClock};
    ///
    /// let id = SessionId::generate(SystemClock.now());
    /// assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
    /// assert!("seven".parse::<SessionId>().is_err());
    /// ```
    SessionId, "a session"
}

id! {
    /// Names an [`Execution`](crate::Execution): a UUID of version 7, so that ids sort by creation.
    ///
    /// ```
    /// use livecode_core::{Clock, ExecutionId, SystemClock};
    ///
    /// let (first, second) = (ExecutionId::generate(SystemClock.now()), ExecutionId::generate(SystemClock.now()));
    /// assert!(first < second);
    /// ```
    ExecutionId, "an execution"
}

#[expect(clippy::disallowed_methods, reason = "the one owner of id generation")]
fn time_ordered(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    let subsec_nanos = u32::try_from(millis % 1_000).unwrap_or(0) * 1_000_000;
    // The context counts up within a millisecond and doesn't go back when the clock does.
    static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    Uuid::new_v7(uuid::Timestamp::from_unix(&CONTEXT, millis / 1_000, subsec_nanos))
}

/// Whose a session or an execution is; another owner's records don't exist for them.
///
/// What it says is the host's: a user id, a tenant, the subject of a token. The empty one stands for nobody in particular.
///
/// ```
/// use livecode_core::Owner;
///
/// assert_ne!(Owner::new("alice").unwrap(), Owner::anonymous());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(Arc<str>);

impl Owner {
    /// The longest name in bytes.
    pub const MAX_LEN: usize = 255;

    /// An owner by that name: at most [`Owner::MAX_LEN`] bytes, no NUL.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if name.len() > Self::MAX_LEN || name.contains('\0') {
            return Err(Error::invalid(format!("an owner has at most {} bytes and no NUL", Self::MAX_LEN)));
        }
        Ok(Self(name.into()))
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self("".into())
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Owner {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.as_str().into()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
