//! Single steps of a record's way, so that a count says which of them became dearer.

use crate::data::{self, BATCH, KEYS, START, Seeded};
use crate::replay::Result;
use millstream_processor::broker::record_batch::{BatchBuilder, reader};
use millstream_state::codec::{Codec, I64, Raw};
use millstream_state::engine::{Family, MemoryEngine};
use millstream_state::overlay::Overlay;
use millstream_state::schema::{KeyValue, Slices, Stamped};
use millstream_topology::record::Chunk;
use millstream_topology::{TimeWindows, Window, Windowed, WindowedKey};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// A step, ready to be done again and again.
pub type Step = Box<dyn FnMut() -> Result<()>>;

/// Values, rows or records that one call of a step takes.
pub const ROWS: usize = 10_240;

/// The steps.
pub const PARTS: &[&str] = &[
    "key layout: write windowed keys",
    "key layout: read windowed keys",
    "overlay: add to known keys",
    "changelog: encode dirty rows of windows",
    "record batch: build",
    "record batch: open",
];

/// The step of this name.
pub fn step(name: &str) -> Option<Step> {
    Some(match name {
        "key layout: write windowed keys" => write_keys(),
        "key layout: read windowed keys" => read_keys(),
        "overlay: add to known keys" => add(),
        "changelog: encode dirty rows of windows" => changelog(),
        "record batch: build" => build(),
        "record batch: open" => open(),
        _ => return None,
    })
}

fn windowed() -> (WindowedKey<I64>, Vec<Windowed<i64>>) {
    let minute = TimeWindows::of_size(Duration::from_secs(60));
    let mut seeded = Seeded::new(21);
    let key = |n| Windowed {
        key: seeded.below(KEYS) as i64,
        window: Window {
            start: START + n * 60_000,
            end: START + (n + 1) * 60_000,
        },
    };
    (WindowedKey::new(I64, &minute), (0..ROWS as i64).map(key).collect())
}

fn write_keys() -> Step {
    let (codec, keys) = windowed();
    let mut out = Vec::with_capacity(16 * ROWS);
    Box::new(move || {
        out.clear();
        keys.iter().for_each(|key| codec.encode(black_box(key), &mut out));
        black_box(&out);
        Ok(())
    })
}

fn read_keys() -> Step {
    let (codec, keys) = windowed();
    let mut bytes = Vec::new();
    keys.iter().for_each(|key| codec.encode(key, &mut bytes));
    Box::new(move || {
        for key in bytes.chunks_exact(16) {
            black_box(codec.decode(Raw::plain(black_box(key)))?);
        }
        Ok(())
    })
}

fn add() -> Step {
    let mut overlay = Overlay::new(KeyValue::<i64, i64>::new(Arc::new(I64), Arc::new(I64)), "s", Family(1));
    let (mut seeded, mut slots) = (Seeded::new(22), Vec::new());
    Box::new(move || {
        for _ in 0..ROWS / BATCH {
            slots.clear();
            slots.extend((0..BATCH).map(|_| overlay.slot_of(&(seeded.below(KEYS) as i64))));
            overlay.load_missing(&MemoryEngine::new())?;
            for &slot in &slots {
                overlay.upsert(slot, (), |row, ()| match row {
                    Some(count) => count.value += 1,
                    None => *row = Some(Stamped::new(START, 1)),
                });
            }
        }
        Ok(())
    })
}

fn changelog() -> Step {
    let mut overlay = Overlay::new(Slices::<i64, i64>::new(Arc::new(I64), Arc::new(I64)), "s", Family(1));
    Box::new(move || {
        for key in 0..ROWS as i64 {
            let slot = overlay.slot_of(&key.wrapping_mul(0x9E37_79B9));
            overlay.upsert(slot, START, |row, ()| *row = Some(Stamped::new(START, key)));
        }
        let sealed = overlay.seal();
        sealed.try_each_log_row(|row| {
            black_box(row);
            Ok::<_, Box<dyn std::error::Error>>(())
        })?;
        overlay.acked(&sealed);
        Ok(())
    })
}

fn batches() -> Vec<Arc<Chunk>> {
    data::bids("bids", ROWS)
}

fn fill(builder: &mut BatchBuilder, chunk: &Chunk) -> Option<Vec<u8>> {
    for record in chunk.records() {
        builder.append(record.timestamp, chunk.key(record), chunk.value(record), &[]);
    }
    builder.seal()
}

fn build() -> Step {
    let (chunks, mut builder) = (batches(), BatchBuilder::default());
    Box::new(move || {
        for chunk in &chunks {
            black_box(fill(&mut builder, chunk));
        }
        Ok(())
    })
}

fn open() -> Step {
    let mut builder = BatchBuilder::default();
    let built: Vec<Vec<u8>> = batches().iter().filter_map(|chunk| fill(&mut builder, chunk)).collect();
    let mut records = Vec::new();
    Box::new(move || {
        for batch in &built {
            records.clear();
            black_box(reader::decode(batch, 0, &mut records)?);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_can_be_done_twice() -> Result<()> {
        for name in PARTS {
            let mut step = step(name).ok_or_else(|| format!("no step '{name}'"))?;
            step()?;
            step()?;
        }
        Ok(())
    }
}
