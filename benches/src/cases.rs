//! The jobs that are measured, as a user would write them, and their input.

use crate::data::{self, BATCH, KEYS, LEAST_PRICE, RATE};
use crate::replay::Result;
use crate::workloads::{self, Topics, Workload};
use millstream_state::codec::{Codec, I64, Json, Utf8};
use millstream_state::text::Str;
use millstream_topology::operators::parse::Parsed;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};
use millstream_topology::record::Chunk;
use millstream_topology::windows::TimeWindows;
use millstream_topology::{Plan, Stream, StreamBuilder};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A topology of one sub-topology, and the input of its sources.
pub struct Case {
    /// What reports call it.
    pub name: &'static str,
    /// The topology.
    pub plan: Plan,
    /// The input; each chunk names its topic.
    pub chunks: Vec<Arc<Chunk>>,
    /// Commits come after so many chunks.
    pub commit_every: usize,
}

impl Case {
    /// Records in the input.
    pub fn records(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.records().len()).sum()
    }
}

/// Chunks in a second of event time, which is how often windowed cases commit: a record and its commit then stand in the
/// proportion they have at [`RATE`] records a second.
const SECOND: usize = RATE as usize / BATCH;

/// Decode and write again: what every other case pays as well.
pub fn forward(records: usize) -> Result<Case> {
    let builder = StreamBuilder::new();
    numbers(&builder).to("copies", Produced::with(I64, I64));
    Ok(Case {
        name: "forward",
        plan: builder.build("bench")?,
        chunks: data::numbers("numbers", records, KEYS),
        commit_every: usize::MAX,
    })
}

/// Counts by key; keys uniform below `keys`, one commit at the end.
pub fn count(name: &'static str, records: usize, keys: u64) -> Result<Case> {
    let builder = StreamBuilder::new();
    numbers(&builder)
        .group_by_key(Grouped::with(I64, I64))
        .count(Materialized::with(I64, I64).named("counts"))
        .to("counts", Produced::with(I64, I64));
    Ok(Case {
        name,
        plan: builder.build("bench")?,
        chunks: data::numbers("numbers", records, keys),
        commit_every: usize::MAX,
    })
}

/// What a job wants to know of a bid; serde skips the other fields.
#[derive(Serialize, Deserialize)]
struct Bid {
    bidder: Str,
    price: i64,
    #[serde(rename = "dateTime")]
    time: i64,
}

/// Parses JSON, filters by price, counts by bidder: a text key.
pub fn json_count(records: usize) -> Result<Case> {
    let builder = StreamBuilder::new();
    let bids = builder
        .raw_stream("bids", "bids")
        .parse(Parsed::named("parse-bid"), |message, emit| {
            let bid = Json::<Bid>::new().decode(message.raw(message.value().unwrap_or_default()))?;
            emit.event(bid.bidder, bid.price, bid.time);
            Ok(())
        });
    // The topic is partitioned by bidder already, so the parsed key needs no repartition topic.
    Stream::from_edge(builder.clone(), bids.edge(), bids.node(), false)
        .filter(|_bidder, price| *price >= LEAST_PRICE)
        .group_by_key(Grouped::with(Utf8, I64))
        .count(Materialized::with(Utf8, I64).named("counts"))
        .to("counts", Produced::with(Utf8, I64));
    Ok(Case {
        name: "JSON count",
        plan: builder.build("bench")?,
        chunks: data::bids("bids", records),
        commit_every: usize::MAX,
    })
}

/// Keys of a windowed case.
#[derive(Debug, Clone, Copy)]
pub enum Skew {
    /// Half of the records for the hottest auction, the others over a hundred: [`data::auctions`].
    Auctions,
    /// Uniform over [`KEYS`], so that a key has few records in a slice, or one.
    Uniform,
}

/// Counts by key in windows of `size` seconds, a new one each `advance` seconds; emits on update, commits each second.
pub fn hop(name: &'static str, size: u64, advance: u64, skew: Skew, records: usize) -> Result<Case> {
    let builder = StreamBuilder::new();
    let windows = TimeWindows::of_size(Duration::from_secs(size)).advance_by(Duration::from_secs(advance));
    numbers(&builder)
        .group_by_key(Grouped::with(I64, I64))
        .windowed_by(windows)
        .count(Materialized::with(I64, I64).named("windows"))
        .to("windows", Produced::with(I64, I64));
    let chunks = match skew {
        Skew::Auctions => data::auctions("numbers", records),
        Skew::Uniform => data::numbers("numbers", records, KEYS),
    };
    Ok(Case {
        name,
        plan: builder.build("bench")?,
        chunks,
        commit_every: SECOND,
    })
}

/// A workload of the comparison with Kafka Streams, on input like that of its topics; commits each five seconds of event
/// time. W8 has its table first.
pub fn workload(name: &str, records: usize) -> Result<Case> {
    let topics = Topics {
        input: "in",
        table: "table",
        output: "out",
    };
    let (events, keys) = (topics.input, workloads::data::KEYS);
    let chunks = match name {
        "W2" => workloads::data::large_bids(events, records),
        "W4" => workloads::data::readings(events, records, keys),
        "W5a" | "W5b" => workloads::data::auctions(events, records),
        "W8" => {
            let mut chunks = workloads::data::campaigns(topics.table);
            chunks.extend(workloads::data::uniform(events, records, keys));
            chunks
        }
        _ => workloads::data::uniform(events, records, keys),
    };
    let workload = Workload::find(name).ok_or_else(|| format!("there is no workload '{name}'"))?;
    Ok(Case {
        name: workload.name,
        plan: workload.plan("bench", &topics)?,
        chunks,
        commit_every: 5 * SECOND,
    })
}

fn numbers(builder: &StreamBuilder) -> Stream<i64, i64> {
    builder.stream("numbers", Consumed::with(I64, I64))
}
