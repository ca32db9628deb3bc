//! The jobs that are measured, as a user would write them, and their input.

use crate::data;
use crate::replay::Result;
use millstream_state::codec::I64;
use millstream_topology::options::{Consumed, Produced};
use millstream_topology::record::Chunk;
use millstream_topology::{Plan, StreamBuilder};
use std::sync::Arc;

/// A topology of one sub-topology, and the input of its one source.
pub struct Case {
    /// What reports call it.
    pub name: &'static str,
    /// The topology.
    pub plan: Plan,
    /// The topic the input belongs to.
    pub topic: &'static str,
    /// The input.
    pub chunks: Vec<Arc<Chunk>>,
}

impl Case {
    /// Records in the input.
    pub fn records(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.records().len()).sum()
    }
}

/// Decode, write again: what every other case pays as well.
pub fn forward(records: usize) -> Result<Case> {
    let builder = StreamBuilder::new();
    let numbers = builder.stream::<i64, i64>("numbers", Consumed::with(I64, I64));
    numbers.to("copies", Produced::with(I64, I64));
    let chunks = data::numbers("numbers", records, data::KEYS);
    Ok(Case {
        name: "forward",
        plan: builder.build("bench")?,
        topic: "numbers",
        chunks,
    })
}
