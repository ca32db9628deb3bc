//! W3, W3b: how many records each key has.

use millstream_state::codec::{I32, I64, Ignored};
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};

use super::Topics;

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    builder
        .stream::<i32, ()>(topics.input, Consumed::with(I32, Ignored))
        .group_by_key(Grouped::with(I32, Ignored))
        .count(Materialized::with(I32, I64).named("counts"))
        .to(topics.output, Produced::with(I32, I64));
}
