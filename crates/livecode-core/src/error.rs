//! The one error type. A program's failure is an [`Outcome`](crate::Outcome), never an `Error`.

use std::{error::Error as StdError, fmt, time::Duration};

/// What this crate and every backend return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for code to branch on. People read the message of the [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller handed over something that can never be accepted as it is.
    InvalidArgument,
    /// No such record, or one that belongs to another owner: the two can't be told apart.
    NotFound,
    /// The record is in a state that forbids this, or somebody else changed it first.
    Conflict,
    /// The revision that the caller insisted on isn't the current one.
    PreconditionFailed,
    /// The queue holds as many jobs as it may. Temporary.
    QueueFull,
    /// The caller asks for more than its [`Quota`](crate::Quota): [`Error::retry_after`] says when to come back. Temporary.
    RateLimited,
    /// A part (database, queue, engine of containers) can't be reached or is overloaded. Temporary.
    Unavailable,
    /// What was asked for can't be enforced or isn't installed on this machine; the message says how to get it.
    Unsupported,
    /// A defect or a broken environment of ours.
    Internal,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_temporary(self) -> bool {
        match self {
            Self::QueueFull | Self::RateLimited | Self::Unavailable => true,
            Self::InvalidArgument
            | Self::NotFound
            | Self::Conflict
            | Self::PreconditionFailed
            | Self::Unsupported
            | Self::Internal => false,
        }
    }
}

/// Our own failure: a kind for code, a sentence for people, and the cause below it where there is one.
///
/// ```
/// use livecode_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "execution 7 is unknown");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "execution 7 is unknown");
/// assert!(!error.is_temporary());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error that names the thing, the reason and the remedy in one lowercase fragment.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), source: None, retry_after: None }))
    }

    /// Adds what caused it; [`Display`](fmt::Display) shows it after a colon.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds how long the caller should wait before it asks again.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// How long to wait before asking again, where that is known.
    ///
    /// ```
    /// use livecode_core::{Error, ErrorKind};
    /// use std::time::Duration;
    ///
    /// let wait = Duration::from_secs(3);
    /// let error = Error::new(ErrorKind::RateLimited, "too many runs").with_retry_after(wait);
    /// assert_eq!(error.retry_after(), Some(wait));
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence alone, without what caused it: for people who don't run this service.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed later: [`ErrorKind::is_temporary`].
    pub fn is_temporary(&self) -> bool {
        self.0.kind.is_temporary()
    }

    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("{what} is unknown"))
    }

    /// [`ErrorKind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
