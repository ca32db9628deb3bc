//! What can go wrong with state, named for what the caller does next.

use std::io;
use std::path::Path;

/// An error of a store, an engine or a codec. The kind says what to do; the text says what failed, where, and the mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The same call may succeed later (a full disk that is being cleared, a lock that is being released).
    #[error("{0}")]
    Retry(String),
    /// The bytes on disk cannot be trusted: delete this task's store and rebuild it from the changelog.
    #[error("{0}")]
    Corrupt(String),
    /// The call or the configuration is wrong (another application's directory, a directory in use, an unknown store).
    #[error("{0}")]
    Misuse(String),
    /// Nothing sensible can be done in this process.
    #[error("{0}")]
    Fatal(String),
}

/// Result of every fallible call in this room.
pub type Result<T, E = StateError> = std::result::Result<T, E>;

impl StateError {
    /// An error of the file system, with what was being done (`opening`, `writing to`) and where.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let what = format!("{doing} {} failed: {error}", path.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StateError::full(&what),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StateError::denied(&what),
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => StateError::Misuse(what),
            _ => StateError::Fatal(what),
        }
    }

    pub(crate) fn full(what: &str) -> Self {
        StateError::Retry(format!("{what}; the disk is full: make room, or move state.dir"))
    }

    pub(crate) fn denied(what: &str) -> Self {
        StateError::Misuse(format!(
            "{what}; give this user the right to write there, or move state.dir"
        ))
    }
}
