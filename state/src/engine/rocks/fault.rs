//! RocksDB's errors, named for what the caller does next.

use crate::error::StateError;
use rocksdb::ErrorKind;
use std::path::Path;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Open,
    Read,
    Write,
}

impl Doing {
    pub(super) fn text(self) -> &'static str {
        match self {
            Doing::Open => "opening",
            Doing::Read => "reading from",
            Doing::Write => "writing to",
        }
    }
}

/// An error of RocksDB as one of ours.
pub(super) fn explain(dir: &Path, doing: Doing, error: &rocksdb::Error) -> StateError {
    let text: &str = error.as_ref();
    let what = format!("{} the database in {} failed: {text}", doing.text(), dir.display());
    match error.kind() {
        ErrorKind::Corruption => corrupt(&what),
        ErrorKind::IOError if text.contains("No space left") || text.contains("SpaceLimit") => StateError::full(&what),
        ErrorKind::IOError if text.contains("lock") => StateError::Misuse(format!(
            "{what}; it is in use: stop the other process, or use another directory"
        )),
        ErrorKind::IOError if text.contains("Permission denied") => StateError::denied(&what),
        // A file that its own manifest names is not there.
        ErrorKind::IOError | ErrorKind::NotFound if text.contains("No such file") && doing != Doing::Write => {
            corrupt(&what)
        }
        ErrorKind::Busy | ErrorKind::TryAgain | ErrorKind::TimedOut | ErrorKind::Incomplete => StateError::Retry(what),
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => StateError::Misuse(what),
        _ => StateError::Fatal(what),
    }
}

fn corrupt(what: &str) -> StateError {
    StateError::Corrupt(format!(
        "{what}; delete the directory and rebuild it from the changelog"
    ))
}
