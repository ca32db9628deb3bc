//! What the whole-system tests in `tests/` share: a real Apache Kafka to run against ([`kafka`]), what the
//! fleet job must write ([`fleet_oracle`]), and the source tree of this repository to hold its own rules ([`sources`]).
//!
//! Nothing else in the workspace may depend on this crate (`tests/layering.rs`).

#![deny(missing_docs)]

pub mod fleet_check;
pub mod fleet_oracle;
pub mod fleet_run;
pub mod kafka;
pub mod readers;
pub mod sources;

/// The README's Rust code, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
