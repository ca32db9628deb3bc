//! What happens to a record, the same with or without Kafka: typed DSL, graph, plan, operators, test driver.
//!
//! This room is pure and synchronous: no I/O, no clock, no randomness that is not passed in.
//!
//! # The way of a record
//!
//! A [`Chunk`] of fetched records is picked by event time ([`picker`]) and fed to a [`Task`]; a source or parser
//! ([`operators`]) turns bytes into typed rows, or shows them one of the doors for bad data ([`policy`]); batches of rows
//! move along typed edges ([`wiring`]) from [`Node`] to node in topological order; sinks encode into the [`Outbox`].
//!
//! What the nodes are is written with the DSL ([`StreamBuilder`], [`Stream`]) into a logical graph ([`graph`]), which
//! [`plan`] checks and splits into sub-topologies. [`TestDriver`] runs a plan in memory.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod aggregate;
pub mod builder;
pub mod codecs;
pub mod driver;
pub mod error;
pub mod graph;
pub mod grouped;
pub mod headers;
pub mod node;
pub mod operators;
pub mod options;
pub mod outbox;
pub mod picker;
pub mod plan;
pub mod policy;
pub mod record;
pub mod stream;
pub mod table;
pub mod task;
pub mod windowed;
pub mod windows;
pub mod wiring;

pub use aggregate::{Aggregate, Merge};
pub use builder::StreamBuilder;
pub use driver::TestDriver;
pub use error::TaskError;
pub use grouped::GroupedStream;
pub use node::{Clock, Ctx, Flushed, Node, Timer};
pub use outbox::{OutRecord, Outbox, TopicRef};
pub use plan::{Plan, Subtopology, TopologyErrors};
pub use policy::{Doors, FutureAction, FutureGuard, Policy, Reason};
pub use record::{Batch, Chunk, Data, Origin, RawRecord, Row, Span};
pub use stream::{RawStream, Stream};
pub use table::Table;
pub use task::{SealedTask, SourceRef, Task, TaskConfig, TaskId};
pub use windowed::{EmitStrategy, WindowedKey, WindowedStream, WindowedTable};
pub use windows::{TimeWindows, Window, Windowed};
pub use wiring::{Edge, Wiring};
