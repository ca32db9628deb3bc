//! R1: the latest value of each key. What is measured is how its store comes back from its changelog, `A-st-changelog`.

use bytes::Bytes;
use millstream_state::codec::BytesCodec;
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};

use super::Topics;

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    builder
        // Values as `Vec`: they are kept, and `Bytes` would keep the whole fetched batch with them.
        .stream::<Bytes, Vec<u8>>(topics.input, Consumed::with(BytesCodec, BytesCodec))
        .group_by_key(Grouped::with(BytesCodec, BytesCodec))
        .reduce(
            |_before, latest| latest,
            Materialized::with(BytesCodec, BytesCodec).named("st"),
        )
        .to(topics.output, Produced::with(BytesCodec, BytesCodec));
}
