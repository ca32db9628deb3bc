//! Our own connections to Kafka's brokers, under the native data path.
//!
//! A [`Cluster`] owns one connection to each broker it talks to. It has no thread: the caller's thread drives every
//! socket from [`Cluster::poll`], and what comes back are [`Reply`]s whose bodies point into the buffer that was read.
//!
//! From the caller to the socket:
//! - [`cluster`]: which broker is asked what, by which connection; it keeps the [`catalog`] of leaders fresh (`refresh`,
//!   `metadata`) and a `peer` for each broker;
//! - [`call`]: what can be asked; a request's versions, how it is written and how its answer is read ([`reader`]);
//! - `connection`: one connection's life, from its `handshake` (versions, `sasl`) to its last answer;
//! - `stream` and `frames`: bytes in the clear or through `tls`, cut into answers;
//! - `transport`: sockets, clock and chance; `sockets` is the real one.
//!
//! Requests are written by `kafka-protocol`. Answers are read by [`reader::Reader`] instead, because what a broker (or
//! whoever sits on its port) sends must not decide how much memory is taken: a count is held against the bytes at hand.

pub mod settings;

pub mod cluster;

pub mod catalog;
mod metadata;
mod peer;
mod refresh;

pub mod call;
pub mod leader_epoch;
pub mod list_offsets;
pub mod reader;

mod connection;
mod handshake;
mod sasl;

mod frames;
mod stream;
mod tls;

mod sockets;
mod transport;

#[cfg(test)]
pub(super) mod fake;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod tests;

pub use call::{Api, Call, Node, Reply, Ticket};
pub use catalog::{BrokerId, Leader, Topic, TopicState};
pub use cluster::Cluster;
pub use reader::{Malformed, Reader};
pub use settings::{Pause, Settings, Unsupported};
