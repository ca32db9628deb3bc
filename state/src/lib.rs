//! What outlives a crash.
//!
//! This room knows bytes, keys and time. It knows no topics, no records, no Kafka, no threads and no clock. In reading
//! order:
//!
//! - [`codec`] and [`text`]: typed values as bytes, in Kafka's own formats; [`data`]: what may be a key or a value;
//!   [`keys`]: layouts of keys that carry time.
//! - [`spec`] and [`schema`]: what a store is, and how one kind of store lays its rows out.
//! - [`overlay`]: the hash table of typed rows that records work on; it alone talks to the engine, batch by batch.
//! - [`stores`]: all stores of a task, sealed, written and rolled back together: one atomic write per commit, with the
//!   changelog positions in it (CO-2).
//! - [`restore`]: a store rebuilt from its changelog.
//! - [`engine`]: ordered bytes, in RocksDB or in memory; [`directory`]: the folder of a task, with one owner.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod codec;
pub mod text;

pub mod data;
pub mod keys;

pub mod schema;
pub mod spec;

pub mod overlay;

pub mod stores;

#[cfg(test)]
mod crash_tests;
pub mod restore;

pub mod engine;

pub mod directory;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;

pub mod error;

pub use error::StateError;

/// Milliseconds since the Unix epoch, UTC. Negative before 1970; Kafka's "no timestamp" is -1.
pub type Timestamp = i64;
