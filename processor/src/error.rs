//! The error of this room: one type whose kind says what the caller does next.

use millstream_topology::TaskError;

pub use crate::broker::fault::{Fault as Error, FaultKind as ErrorKind};

/// Result of every fallible call of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::State { node, source } => Error::from(source).at(format_args!("node {node}")),
            // The record would fail again: somebody has to mend the data, the policy or the code.
            error => Error::misuse(error.to_string()).caused_by(error),
        }
    }
}
