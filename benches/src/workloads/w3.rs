//! W3, W3b: how many records each key has.

use bytes::Bytes;
use millstream_state::codec::{BytesCodec, I32, I64};
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};

use super::Topics;

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    builder
        .stream::<i32, Bytes>(topics.input, Consumed::with(I32, BytesCodec))
        .group_by_key(Grouped::with(I32, BytesCodec))
        .count(Materialized::with(I32, I64).named("counts"))
        .to(topics.output, Produced::with(I32, I64));
}
