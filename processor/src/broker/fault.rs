//! What goes wrong at the log, named for what the caller does next.

use std::error::Error;
use std::fmt;

use millstream_state::error::StateError;

/// Result of every fallible call of the seam.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The same call may succeed later.
    Retry,
    /// This process has lost its place in the group: drop the tasks, join anew.
    Rejoin,
    /// Bytes cannot be trusted.
    Corrupt,
    /// The call or the configuration is wrong; the text says how to mend it.
    Misuse,
    /// Nothing sensible can be done with this handle.
    Fatal,
}

/// An error at the log: what failed, where, and what to do.
#[derive(Debug)]
pub struct Fault {
    /// What the caller does next.
    pub kind: FaultKind,
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault of the given kind; `text` says what failed, where, and the mend.
    pub fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            source: None,
        }
    }

    /// The same call may succeed later.
    pub fn retry(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Retry, text)
    }

    /// This process has lost its place in the group.
    pub fn rejoin(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Rejoin, text)
    }

    /// Bytes cannot be trusted.
    pub fn corrupt(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Corrupt, text)
    }

    /// The call or the configuration is wrong.
    pub fn misuse(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Misuse, text)
    }

    /// Nothing sensible can be done with this handle.
    pub fn fatal(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Fatal, text)
    }

    /// Keeps the error that caused this one.
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Puts `place` in front of the text.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.text = format!("{place}: {}", self.text);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        let kind = match &error {
            StateError::Retry(_) => FaultKind::Retry,
            StateError::Corrupt(_) => FaultKind::Corrupt,
            StateError::Misuse(_) => FaultKind::Misuse,
            _ => FaultKind::Fatal,
        };
        Self::new(kind, error.to_string()).caused_by(error)
    }
}
