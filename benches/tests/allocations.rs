//! The count path asks the allocator for nothing per record, once a key is known: only per batch.

use millstream_benches::allocations::{Counting, allocations_of};
use millstream_benches::cases::{self, Case};
use millstream_benches::data::{BATCH, KEYS};
use millstream_benches::replay::{Replay, Result};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Buffers of a batch: its rows, its picks, places in queues. Far below one for each of its 512 records.
const PER_BATCH: u64 = 8;

/// The input once, so that its keys are known and buffers have grown; then again, counted.
fn per_batch(case: &Case) -> Result<f64> {
    let mut replay = Replay::new(case)?;
    case.chunks.iter().try_for_each(|chunk| replay.feed(chunk))?;
    replay.commit()?;
    let (allocations, result) = allocations_of(|| case.chunks.iter().try_for_each(|chunk| replay.feed(chunk)));
    result?;
    assert_eq!(replay.dropped(), 0, "{}", case.name);
    Ok(allocations as f64 / case.chunks.len() as f64)
}

#[test]
fn the_allocator_counts() {
    let (allocations, boxed) = allocations_of(|| Box::new(1));
    assert_eq!((allocations, *boxed), (1, 1));
}

#[test]
fn counting_a_known_key_allocates_nothing_per_record() -> Result<()> {
    let found = per_batch(&cases::count("count", 200 * BATCH, KEYS)?)?;
    assert!(found <= PER_BATCH as f64, "{found} allocations in a batch of {BATCH}");
    Ok(())
}

#[test]
fn counting_a_known_key_parsed_from_json_allocates_nothing_per_record() -> Result<()> {
    let found = per_batch(&cases::json_count(200 * BATCH)?)?;
    assert!(found <= PER_BATCH as f64, "{found} allocations in a batch of {BATCH}");
    Ok(())
}
