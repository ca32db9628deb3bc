//! What can go wrong with state, named for what the caller does next.

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
