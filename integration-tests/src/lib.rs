//! What the whole-system tests in `tests/` share: a real Apache Kafka to run against ([`kafka`]), and the
//! source tree of this repository to hold its own rules ([`sources`]).
//!
//! Nothing else in the workspace may depend on this crate (`tests/layering.rs`).

#![deny(missing_docs)]

pub mod kafka;
pub mod sources;
