//! W5a, W5b, W5i: how many records each key has in windows that overlap.

use std::time::Duration;

use millstream_state::codec::{Codec, I32, I64, Ignored};
use millstream_state::data::Key;
use millstream_topology::StreamBuilder;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};
use millstream_topology::windows::TimeWindows;

use super::Topics;

pub(super) fn ten_seconds(builder: &StreamBuilder, topics: &Topics<'_>) {
    count::<i64, _>(builder, topics, I64, hopping(10, 2));
}

pub(super) fn one_minute(builder: &StreamBuilder, topics: &Topics<'_>) {
    count::<i64, _>(builder, topics, I64, hopping(60, 1));
}

pub(super) fn ten_seconds_i32(builder: &StreamBuilder, topics: &Topics<'_>) {
    count::<i32, _>(builder, topics, I32, hopping(10, 2));
}

fn hopping(size: u64, advance: u64) -> TimeWindows {
    TimeWindows::of_size(Duration::from_secs(size)).advance_by(Duration::from_secs(advance))
}

fn count<K: Key, C: Codec<K> + Copy>(builder: &StreamBuilder, topics: &Topics<'_>, key: C, windows: TimeWindows) {
    builder
        .stream::<K, ()>(topics.input, Consumed::with(key, Ignored))
        .group_by_key(Grouped::with(key, Ignored))
        .windowed_by(windows)
        .count(Materialized::with(key, I64).named("windows"))
        .to(topics.output, Produced::with(key, I64));
}
