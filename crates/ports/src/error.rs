//! Errors of a port, by what the caller does about them.

use std::{error::Error, fmt};

/// What the caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again later: the backend is busy or away.
    Unavailable,
    /// Try again later: a bound of the backend is reached (HTTP 503).
    Full,
    /// A person must make room on the disk (HTTP 507).
    DiskFull,
    /// What was named is not there.
    NotFound,
    /// Never try this again: the request itself is wrong.
    Rejected,
    /// Somebody else came first: look again, then decide.
    Conflict,
    /// What was named can't be read as it is stored: put it aside and go on without it.
    Corrupt,
    /// Nothing can be written any more until the process starts again; what is stored may still be read.
    Failed,
}

/// A failure of a port: its kind, what was being done, and the cause.
#[derive(Debug)]
pub struct PortError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl PortError {
    /// An error without a cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same as another kind, where the caller knows better what it means.
    #[must_use]
    pub fn into_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller does about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was being done and what is wrong, without the cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Says whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::DiskFull)
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for PortError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
