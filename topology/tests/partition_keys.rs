//! What the partitioner hashes: the key's bytes, for windowed keys without the window, as in Kafka Streams.
#![allow(clippy::unwrap_used)] // a test may stop at the first surprise

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use millstream_state::{
    codec::{I64, Nullable},
    engine::MemoryEngine,
};
use millstream_topology::{
    Chunk, Flushed, RawRecord, SourceRef, Span, StreamBuilder, TaskConfig, TaskId,
    options::{Consumed, Grouped, Materialized, Produced},
    windows::TimeWindows,
};

#[test]
fn the_window_of_a_key_does_not_choose_its_partition() {
    let builder = StreamBuilder::new();
    let stream = builder.stream::<i64, Option<i64>>("in", Consumed::with(I64, Nullable(I64)));
    stream.to("plain", Produced::with(I64, Nullable(I64)));
    stream
        .map(|_, v| (v, 0))
        .to("null-keys", Produced::with(Nullable(I64), I64));
    stream
        .group_by_key(Grouped::with(I64, Nullable(I64)))
        .windowed_by(TimeWindows::of_size(Duration::from_millis(10)).grace(Duration::ZERO))
        .count(Materialized::with(I64, I64))
        .to("windowed", Produced::with(I64, I64));
    let plan = builder.build("app").unwrap();
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let mut task = plan
        .task(id, Box::new(MemoryEngine::new()), &TaskConfig::default())
        .unwrap();
    let key = 7i64.to_be_bytes();
    let record = RawRecord {
        offset: 0,
        timestamp: 25,
        key: Span { start: 0, len: 8 },
        value: Span::NULL,
        headers: Span::EMPTY,
    };
    let chunk = Arc::new(Chunk::new("in".into(), 0, Bytes::copy_from_slice(&key), vec![record]));
    task.feed(SourceRef::new(0), &chunk, 0..1, &[0]);
    task.run(0).unwrap();
    assert_eq!(task.flush(0, usize::MAX).unwrap(), Flushed::All);
    let sent: Vec<_> = task
        .outbox()
        .records()
        .map(|r| (r.topic.to_string(), r.key, r.partition_key))
        .collect();
    let windowed = [key, 20i64.to_be_bytes()].concat();
    let expected = [
        ("plain".to_owned(), Some(&key[..]), Some(&key[..])),
        ("null-keys".to_owned(), None, None),
        ("windowed".to_owned(), Some(&windowed[..]), Some(&key[..])),
    ];
    assert_eq!(sent, expected);
}
