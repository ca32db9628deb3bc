//! Counting a known key allocates nothing per record, with and without windows: what a batch allocates does not grow with
//! its records.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)] // a test may stop at the first surprise
#![allow(
    unsafe_code,
    reason = "counts allocations; the only way is GlobalAlloc, which forwards to the system's allocator"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_state::{
    codec::{I64, Utf8},
    engine::memory::MemoryEngine,
    text::Str,
};
use millstream_topology::{
    Chunk, RawRecord, SourceRef, Span, StreamBuilder, TaskConfig, TaskId, TimeWindows,
    options::{Consumed, Grouped, Materialized},
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is forwarded to the system's allocator with the same arguments; counting touches a thread-local
// without destructor or allocation of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, that is, from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: as for `alloc` and `dealloc`.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// `n` readings of ten devices with keys of 14 bytes, within a second.
fn chunk(first: i64, n: usize) -> Arc<Chunk> {
    let mut buffer = Vec::new();
    let record = |i: usize| {
        let start = buffer.len() as u32;
        buffer.extend_from_slice(format!("device-{:07}", i % 10).as_bytes());
        buffer.extend_from_slice(&1i64.to_be_bytes());
        RawRecord {
            offset: first + i as i64,
            timestamp: 100_000 + (i as i64 * 7) % 1000,
            key: Span { start, len: 14 },
            value: Span {
                start: start + 14,
                len: 8,
            },
            headers: Span::EMPTY,
        }
    };
    let records = (0..n).map(record).collect();
    Arc::new(Chunk::new("readings".into(), 0, Bytes::from(buffer), records))
}

/// Allocations of a round with so many records, in a task that has seen all keys.
fn allocations(builder: &StreamBuilder, n: usize) -> u64 {
    let plan = builder.build("count").unwrap();
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let mut task = plan
        .task(id, Box::new(MemoryEngine::new()), &TaskConfig::default())
        .unwrap();
    let seqs: Vec<u32> = (0..n as u32).collect();
    let mut spent = 0;
    for round in 0..4 {
        let chunk = chunk(round * n as i64, n);
        let before = ALLOCATIONS.with(Cell::get);
        task.feed(SourceRef::new(0), &chunk, 0..n, &seqs);
        task.run(0).unwrap();
        spent = ALLOCATIONS.with(Cell::get) - before;
    }
    spent
}

fn readings(builder: &StreamBuilder) -> millstream_topology::GroupedStream<Str, i64> {
    let stream = builder.stream::<Str, i64>("readings", Consumed::with(Utf8, I64));
    stream.group_by_key(Grouped::with(Utf8, I64))
}

#[test]
fn counting_a_known_key_allocates_nothing_per_record() {
    let plain = StreamBuilder::new();
    readings(&plain).count(Materialized::with(Utf8, I64));
    let hopping = StreamBuilder::new();
    let windows = TimeWindows::of_size(Duration::from_secs(60)).advance_by(Duration::from_secs(1));
    readings(&hopping)
        .windowed_by(windows)
        .count(Materialized::with(Utf8, I64));
    for builder in [plain, hopping] {
        let (few, many) = (allocations(&builder, 64), allocations(&builder, 4096));
        assert_eq!(many, few, "allocations of a round with 4096 records, and with 64");
        assert!(few < 16, "{few} allocations in a round");
    }
}
