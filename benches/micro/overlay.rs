//! The hash table records work on.

use crate::cpu_time::CpuTime;
use criterion::{BatchSize, Criterion, Throughput};
use millstream_benches::data::{BATCH, Seeded};
use millstream_state::codec::I64;
use millstream_state::engine::{Family, MemoryEngine};
use millstream_state::overlay::{Overlay, Slot};
use millstream_state::schema::{KeyValue, Slices, Stamped};
use std::sync::Arc;

pub fn bench(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("overlay");
    group.throughput(Throughput::Elements(BATCH as u64));
    for keys in [10_000, 1_000_000] {
        group.bench_function(format!("add to one of {keys} keys"), |b| {
            let mut overlay = Overlay::new(KeyValue::<i64, i64>::new(Arc::new(I64), Arc::new(I64)), "s", Family(1));
            let (mut seeded, mut slots) = (Seeded::new(1), Vec::new());
            b.iter(|| {
                add(&mut overlay, (0..BATCH).map(|_| seeded.below(keys) as i64), &mut slots);
            });
        });
    }
    group.bench_function("add to the newest of 60 slices of 1000 keys", |b| {
        let mut overlay = Overlay::new(Slices::<i64, i64>::new(Arc::new(I64), Arc::new(I64)), "s", Family(1));
        for slice in 0..60 {
            for key in 0..1000 {
                let slot = overlay.slot_of(&key);
                overlay.upsert(slot, slice, |row, ()| *row = Some(Stamped::new(slice, 1)));
            }
        }
        let mut seeded = Seeded::new(1);
        b.iter(|| {
            for _ in 0..BATCH {
                let slot = overlay.slot_of(&(seeded.below(1000) as i64));
                overlay.upsert(slot, 59, |row, ()| row.as_mut().map(|row| row.value += 1));
            }
        });
    });
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("seal 10000 dirty rows", |b| {
        let mut overlay = Overlay::new(KeyValue::<i64, i64>::new(Arc::new(I64), Arc::new(I64)), "s", Family(1));
        let mut slots = Vec::new();
        b.iter_batched(
            || (),
            |()| {
                add(&mut overlay, 0..10_000, &mut slots);
                let sealed = overlay.seal();
                overlay.acked(&sealed);
            },
            BatchSize::PerIteration,
        );
    });
}

/// One batch, as an aggregating operator does it.
fn add(overlay: &mut Overlay<KeyValue<i64, i64>>, keys: impl Iterator<Item = i64>, slots: &mut Vec<Slot>) {
    slots.clear();
    slots.extend(keys.map(|key| overlay.slot_of(&key)));
    // Nothing is missing: the engine is never asked.
    let loaded = overlay.load_missing(&MemoryEngine::new());
    debug_assert!(loaded.is_ok());
    for &slot in slots.iter() {
        overlay.upsert(slot, (), |row, ()| match row {
            Some(count) => count.value += 1,
            None => *row = Some(Stamped::new(0, 1)),
        });
    }
}
