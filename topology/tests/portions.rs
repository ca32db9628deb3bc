//! A flush in portions: the outbox never holds much more than a portion, and together the portions are what one flush of
//! everything emits, in the same order.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)] // a test may stop at the first surprise

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_state::{codec::I64, engine::memory::MemoryEngine};
use millstream_topology::{
    Chunk, Flushed, RawRecord, SourceRef, Span, StreamBuilder, Task, TaskConfig, TaskId, TimeWindows,
    options::{Consumed, Grouped, Materialized, Produced},
};

const KEYS: i64 = 1000;
/// Each second of the minute is in five windows.
const SIZE: Duration = Duration::from_secs(10);
const ADVANCE: Duration = Duration::from_secs(2);

type Sent = (String, Option<Vec<u8>>, Option<Vec<u8>>, i64);

fn task() -> Task {
    let builder = StreamBuilder::new();
    let stream = builder.stream::<i64, i64>("in", Consumed::with(I64, I64));
    let grouped = stream.group_by_key(Grouped::with(I64, I64));
    let counts = grouped.count(Materialized::with(I64, I64));
    counts.to("counts", Produced::with(I64, I64));
    let windows = TimeWindows::of_size(SIZE).advance_by(ADVANCE);
    let windowed_counts = grouped.windowed_by(windows).count(Materialized::with(I64, I64));
    windowed_counts.to("windows", Produced::with(I64, I64));
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let plan = builder.build("portions").unwrap();
    let engine = Box::new(MemoryEngine::new());
    plan.task(id, engine, &TaskConfig::default()).unwrap()
}

/// A record of each key; a late one for some of the windows of each tenth key, so that results are staged.
fn feed(task: &mut Task) {
    let mut buffer = Vec::new();
    let mut records = Vec::new();
    let late = (0..KEYS).step_by(10).map(|key| (key, 95_000));
    for (key, timestamp) in (0..KEYS).map(|key| (key, 90_000)).chain([(KEYS, 101_000)]).chain(late) {
        let start = buffer.len() as u32;
        buffer.extend_from_slice(&key.to_be_bytes());
        records.push(RawRecord {
            offset: records.len() as i64,
            timestamp,
            key: Span { start, len: 8 },
            value: Span { start, len: 8 },
            headers: Span::EMPTY,
        });
    }
    let seqs: Vec<u32> = (0..records.len() as u32).collect();
    let chunk = Arc::new(Chunk::new("in".into(), 0, Bytes::from(buffer), records));
    task.feed(SourceRef::new(0), &chunk, 0..seqs.len(), &seqs);
    task.run(0).unwrap();
    assert!(task.outbox().is_empty(), "results wait for the commit");
}

/// What a flush in portions emits, by topic, and the most that lay in the outbox.
fn flush(task: &mut Task, portion: usize) -> (Vec<Sent>, usize) {
    let (mut sent, mut most) = (Vec::new(), 0);
    loop {
        let flushed = task.flush(0, portion).unwrap();
        let outbox = task.outbox();
        most = most.max(outbox.len());
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let records = outbox.records();
        sent.extend(records.map(|r| (r.topic.to_string(), owned(r.key), owned(r.value), r.timestamp)));
        outbox.clear();
        if flushed == Flushed::All {
            sent.sort_by(|a, b| a.0.cmp(&b.0));
            return (sent, most);
        }
    }
}

#[test]
fn portions_are_bounded_and_together_everything() {
    let mut whole = task();
    feed(&mut whole);
    let (all, most) = flush(&mut whole, usize::MAX);
    let windows = all.iter().filter(|sent| sent.0 == "windows").count();
    assert!(windows > 4 * KEYS as usize, "{windows} windows");
    assert_eq!(most, all.len());
    for portion in [1, 7, 256, KEYS as usize, 10 * KEYS as usize] {
        let mut task = task();
        feed(&mut task);
        let (sent, most) = flush(&mut task, portion);
        assert_eq!(sent, all, "portion {portion}");
        // The windows of a key go together: five, and those of the late record.
        assert!(most <= 2 * portion + 10, "{most} rows at once, portion {portion}");
        let sealed = task.seal();
        task.apply(sealed, &[]).unwrap();
        assert_eq!(flush(&mut task, portion), (Vec::new(), 0), "nothing is told twice");
    }
}
