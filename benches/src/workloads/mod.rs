//! The workloads that are measured against Kafka Streams, as a user would write them: the public DSL and nothing else.
//!
//! `benches/peer` has each of them a second time, for Kafka Streams, and compares what both wrote byte by byte. So the bytes
//! are part of the contract:
//!
//! | what | bytes |
//! |---|---|
//! | integer keys and values | big-endian, 4 or 8 bytes |
//! | keys of windows | key, then the start of the window in 8 bytes |
//! | W2 | `{"auction":1,"bidder":2,"price":3,"dateTime":4}`: these four fields in this order, without spaces |
//! | W4 | 32 bytes: count `i64`, sum, min, max `f64`, big-endian |
//! | repartition topic of W8r | key and value: the campaign, `i32` |

pub mod data;

mod bid;
mod r1;
mod w1;
mod w2;
mod w3;
mod w4;
mod w5;
mod w8;
mod w8r;

pub use bid::Bid;
pub use w4::{Statistics, StatisticsCodec};
pub use w8::{Campaign, CampaignCodec};

use std::fmt;

use millstream_topology::{Plan, StreamBuilder, TopologyErrors};

/// A workload, by the name it has in reports.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// How many input topics it reads.
    pub inputs: usize,
    add: fn(&StreamBuilder, &Topics<'_>),
}

/// Where a workload reads and writes.
#[derive(Debug, Clone, Copy)]
pub struct Topics<'a> {
    /// The topic of events.
    pub input: &'a str,
    /// The topic that is read as a table; empty where there is none.
    pub table: &'a str,
    /// The topic of results.
    pub output: &'a str,
}

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    workload("W1", "pass records through", 1, w1::add),
    workload("W2", "filter JSON by price, keep four fields", 1, w2::add),
    workload("W3", "count by key, 10,000 keys", 1, w3::add),
    workload("W3b", "count by key, 4 million keys", 1, w3::add),
    workload("W4", "statistics of each minute", 1, w4::add),
    workload("W5a", "count in windows of 10 s, one each 2 s", 1, w5::ten_seconds),
    workload("W5b", "count in windows of 60 s, one each second", 1, w5::one_minute),
    workload("W5i", "as W5a, keys uniform", 1, w5::ten_seconds_i32),
    workload("W8", "join with a table, count in windows of 10 s", 2, w8::add),
    workload(
        "W8r",
        "as W8, by another key, so through a repartition topic",
        2,
        w8r::add,
    ),
    workload("R1", "latest value of each key; its store is restored", 1, r1::add),
    workload("S1", "W1, until the first record is out", 1, w1::add),
    workload("L1", "W2, each record as soon as it is there", 1, w2::add),
];

const fn workload(
    name: &'static str,
    about: &'static str,
    inputs: usize,
    add: fn(&StreamBuilder, &Topics<'_>),
) -> Workload {
    Workload {
        name,
        about,
        inputs,
        add,
    }
}

impl Workload {
    /// The workload of this name.
    pub fn find(name: &str) -> Option<&'static Workload> {
        WORKLOADS.iter().find(|workload| workload.name == name)
    }

    /// Its topology.
    ///
    /// # Errors
    /// When the topics cannot be what the workload needs (one read twice, say).
    pub fn plan(&self, application: &str, topics: &Topics<'_>) -> Result<Plan, TopologyErrors> {
        let builder = StreamBuilder::new();
        (self.add)(&builder, topics);
        builder.build(application)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:4} {}", self.name, self.about)
    }
}
