//! What can go wrong while a task runs. The kind says what the caller does next; the text says what, where and the mend.

use millstream_state::StateError;

use crate::policy::Reason;

/// Why a task stopped. The task must be rebuilt from its last commit (see [`crate::Task`]).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A record is bad and the policy of that door is `fail`. It would fail again: fix the data or the policy.
    #[error(
        "bad record at {topic}-{partition} offset {offset}: node {node}: {reason}: {detail} \
         (set this node's policy to skip or dead-letter to go on without it)"
    )]
    BadRecord {
        /// Topic the record was fetched from; empty when it comes from state.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// The node that refused it.
        node: String,
        /// Why, as it is counted.
        reason: Reason,
        /// Why, in words.
        detail: String,
    },
    /// A store or its engine failed.
    #[error("node {node}: {source}")]
    State {
        /// The node that used the store.
        node: String,
        /// What the store said.
        source: StateError,
    },
    /// User code of a custom operator gave up.
    #[error("node {node}: {detail}")]
    Operator {
        /// The node.
        node: String,
        /// What it said.
        detail: String,
    },
    /// The topology or the configuration cannot work.
    #[error("{0}")]
    Misuse(String),
}

/// Result of everything that runs in a task.
pub type Result<T, E = TaskError> = std::result::Result<T, E>;
