//! The second half of a commit.

use std::fmt;

use super::fault::Result;

/// Offsets that are still to be committed, of a commit whose records are durable ([`Sink::begin_commit`]).
///
/// [`Sink::begin_commit`]: super::Sink::begin_commit
#[must_use = "the offsets are not committed yet"]
pub struct PendingOffsets(Option<Box<dyn FnOnce() -> Result<()> + Send>>);

impl PendingOffsets {
    /// What `commit` is to do; it may wait.
    pub fn new(commit: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Self(Some(Box::new(commit)))
    }

    /// The log has committed them with the records.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether nothing is left to do.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Commits them: on any thread, before the next commit begins. After an error nothing is known of them: the answer may have been lost.
    pub fn commit(self) -> Result<()> {
        self.0.map_or(Ok(()), |commit| commit())
    }
}

impl fmt::Debug for PendingOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingOffsets").field(&self.0.is_some()).finish()
    }
}
