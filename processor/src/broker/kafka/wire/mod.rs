//! Our own connections to Kafka's brokers, under the native data path.
//!
//! A [`Cluster`] owns one connection to each broker it talks to. It has no thread: the caller's thread drives every
//! socket from [`Cluster::poll`], and what comes back are [`Reply`]s whose bodies point into the buffer that was read.
//!
//! - [`call`]: what can be asked; a request's versions, how it is written and how its answer is read ([`reader`]);
//! - [`cluster`]: brokers, leaders, and which connection carries what.
//!
//! Requests are written by `kafka-protocol`. Answers are read by [`reader::Reader`] instead, because what a broker (or
//! whoever sits on its port) sends must not decide how much memory is taken: a count is held against the bytes at hand.

// Being filled.
#![allow(dead_code)]

pub mod call;
pub mod catalog;
pub mod cluster;
pub mod leader_epoch;
pub mod list_offsets;
mod metadata;
pub mod reader;
pub mod settings;

pub use call::{Api, Call, Reply, Ticket};
pub use catalog::{BrokerId, Leader, Topic, TopicState};
pub use cluster::Cluster;
pub use reader::{Malformed, Reader};
pub use settings::{Settings, Unsupported};
