//! W1: every record to another topic, as it is. S1 is the same, measured to its first output.

use bytes::Bytes;
use millstream_state::codec::BytesCodec;
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Consumed, Produced};

use super::Topics;

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    builder
        .stream::<Bytes, Bytes>(topics.input, Consumed::with(BytesCodec, BytesCodec))
        .to(topics.output, Produced::with(BytesCodec, BytesCodec));
}
