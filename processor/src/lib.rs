//! Makes it happen: poll, order, run, send, commit, restore.
#![deny(missing_docs)]

pub mod broker;
pub mod config;
pub mod partitioner;
