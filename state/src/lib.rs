//! What outlives a crash: codecs, key layouts, stores, engines, the write-back overlay, changelog encoding and restore.
//!
//! This room knows bytes, keys and time. It knows no topics, no records, no Kafka, no threads and no clock.

pub mod codec;
pub mod engine;
pub mod error;

pub use error::StateError;

/// Milliseconds since the Unix epoch, UTC. Negative before 1970; Kafka's "no timestamp" is -1.
pub type Timestamp = i64;
