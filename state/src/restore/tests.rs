use crate::codec::{BytesCodec, I64};
use crate::conformance::Dice;
use crate::engine::faulty::{Fault, Faults, FaultyEngine};
use crate::engine::{Engine, Family, MemoryEngine, RowRef, WriteSet};
use crate::error::{Result, StateError};
use crate::restore::{Memory, Restored, Restorer};
use crate::schema::{KeyValue, Schema, Slices, Sub};
use crate::spec::{StoreKind, StoreSpec};
use crate::stores::{META_NAME, StoreSet};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The family of the only store.
const ROWS: Family = Family(1);
const KEEP_MS: i64 = 500;

/// Rows by row key, as the engine holds them.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Offset, timestamp, changelog key, value.
type Record = (i64, i64, Vec<u8>, Option<Vec<u8>>);

/// A changelog and what was in the store before it.
struct History {
    window: bool,
    before: Rows,
    records: Vec<Record>,
    position: i64,
}

fn row_key<U: Sub>(log_key: &[u8]) -> Vec<u8> {
    let (key, sub) = U::split_log(log_key).unwrap();
    let mut row = Vec::new();
    sub.put(&mut row);
    row.extend_from_slice(key);
    row
}

impl History {
    /// Keys come again and again; many begin alike, some are a beginning of others, some end in zeros.
    fn random(dice: &mut Dice, records: u64, before: bool) -> Self {
        let window = dice.roll(2) == 0;
        let (keys, deletions) = (1 + dice.roll(records.min(400)), 2 + dice.roll(6));
        let mut offset = dice.roll(1000) as i64;
        let mut history = History {
            window,
            before: Rows::new(),
            records: Vec::new(),
            position: 0,
        };
        for n in 0..records as i64 {
            // Transaction markers and compaction leave gaps.
            offset += 1 + i64::from(dice.roll(5) == 0) * dice.roll(9) as i64;
            let timestamp = n * 3 + dice.roll(300) as i64;
            let value = (dice.roll(deletions) > 0).then(|| vec![dice.byte(255); dice.roll(40) as usize]);
            let key = history.key(dice, keys, timestamp);
            history.records.push((offset, timestamp, key, value));
        }
        history.position = offset + 1 + dice.roll(3) as i64;
        if before {
            let times = dice.roll(60);
            for _ in 0..times {
                let log_key = history.key(dice, keys, 0);
                let key = history.row_key(&log_key);
                history.before.insert(key, b"\0\0\0\0\0\0\0\0old".to_vec());
            }
        }
        history
    }

    fn key(&self, dice: &mut Dice, keys: u64, timestamp: i64) -> Vec<u8> {
        let which = dice.roll(keys);
        if self.window {
            let mut key = (which as i64 - 3).to_be_bytes().to_vec();
            i64::at(timestamp / 100 * 100 - dice.roll(4) as i64 * 100).put_log(&mut key);
            return key;
        }
        let mut key = b"a common beginning of keys"[..which as usize % 27].to_vec();
        key.extend_from_slice(&(which / 27).to_be_bytes()[6 - which as usize % 3..]);
        key
    }

    fn row_key(&self, log_key: &[u8]) -> Vec<u8> {
        if self.window {
            row_key::<i64>(log_key)
        } else {
            row_key::<()>(log_key)
        }
    }

    fn spec(&self) -> StoreSpec {
        StoreSpec {
            name: "s".into(),
            kind: if self.window {
                StoreKind::Window
            } else {
                StoreKind::KeyValue
            },
            logged: true,
            retention_ms: self.window.then_some(KEEP_MS),
        }
    }

    /// What a map of all records would hold.
    fn expected(&self) -> Rows {
        let mut rows = self.before.clone();
        for (_, timestamp, key, value) in &self.records {
            let key = self.row_key(key);
            match value {
                Some(value) => drop(rows.insert(key, [&timestamp.to_be_bytes()[..], value].concat())),
                None => drop(rows.remove(&key)),
            }
        }
        let observed = self.records.iter().map(|record| record.1).max();
        if let (true, Some(observed)) = (self.window, observed) {
            let live = |key: &[u8]| <i64 as Sub>::split(key).unwrap().0 + KEEP_MS > observed;
            rows.retain(|key, _| live(key));
        }
        rows
    }

    fn fill(&self, engine: &mut dyn Engine) {
        let rows = self
            .before
            .iter()
            .map(|(key, value)| (ROWS, (&key[..], Some(&value[..]))));
        let rows: Vec<(Family, RowRef<'_>)> = rows.collect();
        let set = WriteSet {
            rows,
            ..WriteSet::default()
        };
        engine.write(&set).unwrap();
    }

    fn restore(&self, engine: Box<dyn Engine>, run_bytes: usize, bulk_rows: usize) -> Result<(StoreSet, Restored)> {
        let mut stores = StoreSet::new(engine, &[META_NAME.to_owned(), "s".to_owned()])?;
        if self.window {
            self.replay(
                &mut stores,
                Slices::<i64, Bytes>::new(Arc::new(I64), Arc::new(BytesCodec)),
                run_bytes,
                bulk_rows,
            )
        } else {
            let schema = KeyValue::<Bytes, Bytes>::new(Arc::new(BytesCodec), Arc::new(BytesCodec));
            self.replay(&mut stores, schema, run_bytes, bulk_rows)
        }
        .map(|restored| (stores, restored))
    }

    fn replay<S: Schema>(
        &self,
        stores: &mut StoreSet,
        schema: S,
        run_bytes: usize,
        bulk_rows: usize,
    ) -> Result<Restored> {
        stores.register(self.spec(), schema)?;
        let mut restorer = stores
            .restore(0)?
            .with_memory(&Memory::new(run_bytes))
            .with_bulk_rows(bulk_rows);
        for (offset, timestamp, key, value) in &self.records {
            restorer.push(stores, *offset, *timestamp, key, value.as_deref())?;
        }
        restorer.finish(stores, self.position)
    }
}

fn rows_of(engine: &dyn Engine) -> Rows {
    let mut rows = Rows::new();
    let mut visit = |key: &[u8], value: &[u8]| rows.insert(key.to_vec(), value.to_vec()).is_none();
    engine.scan(ROWS, &[], None, &mut visit).unwrap();
    rows
}

fn with_scratch(disk: &MemoryEngine, scratch: &Path, faults: &Faults) -> Box<dyn Engine> {
    Box::new(FaultyEngine::new(Box::new(disk.clone()), faults).with_scratch(scratch))
}

fn files_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// One history, restored in runs of every size, over engines with and without a disk.
#[test]
fn what_is_restored_is_what_a_map_would_hold() {
    let scratch = tempfile::tempdir().unwrap();
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let (records, before) = (1 + dice.roll(600), seed % 2 == 1);
        let history = History::random(&mut dice, records, before);
        let expected = history.expected();
        for run_bytes in [400, 3000, 1 << 20] {
            for bulk_rows in [0, 1 << 20] {
                for disk in [true, false] {
                    let memory = MemoryEngine::new();
                    history.fill(&mut memory.clone());
                    let engine = if disk {
                        with_scratch(&memory, scratch.path(), &Faults::none())
                    } else {
                        Box::new(memory.clone())
                    };
                    let (stores, restored) = history.restore(engine, run_bytes, bulk_rows).unwrap();
                    let case = format!("seed {seed}, runs of {run_bytes}, bulk from {bulk_rows}, disk {disk}");
                    assert_eq!(rows_of(&memory), expected, "{case}");
                    assert_eq!(stores.position("s").unwrap(), Some(history.position), "{case}");
                    assert_eq!(restored.records, records, "{case}");
                    if disk && history.before.is_empty() {
                        assert_eq!(restored.rows, expected.len() as u64, "each key is loaded once: {case}");
                    }
                    assert_eq!(files_in(scratch.path()), 0, "{case}");
                }
            }
        }
    }
}

/// A key-value store over an engine with a disk.
fn on_disk(memory: &MemoryEngine, scratch: &Path) -> StoreSet {
    let engine = with_scratch(memory, scratch, &Faults::none());
    let mut stores = StoreSet::new(engine, &[META_NAME.to_owned(), "s".to_owned()]).unwrap();
    let schema = KeyValue::<Bytes, Bytes>::new(Arc::new(BytesCodec), Arc::new(BytesCodec));
    let spec = StoreSpec {
        name: "s".into(),
        kind: StoreKind::KeyValue,
        logged: true,
        retention_ms: None,
    };
    stores.register(spec, schema).unwrap();
    stores
}

/// With key, value, lengths, time and place each of these takes 64 bytes of memory.
fn push_64_bytes(restorer: &mut Restorer, stores: &mut StoreSet, n: i64) {
    let key = (n * 7919 % 1000).to_be_bytes();
    restorer.push(stores, n, n, &key, Some(&[n as u8; 24])).unwrap();
}

/// Up to the last byte all is in memory; the next row makes room by putting the older half aside.
#[test]
fn what_fits_is_not_put_aside() {
    const FIT: i64 = 80;
    for rows in [FIT - 1, FIT, FIT + 1, 2 * FIT, 5 * FIT] {
        let scratch = tempfile::tempdir().unwrap();
        let disk = MemoryEngine::new();
        let mut stores = on_disk(&disk, scratch.path());
        let memory = Memory::new(FIT as usize * 64);
        let mut restorer = stores.restore(0).unwrap().with_memory(&memory);
        (0..rows).for_each(|n| push_64_bytes(&mut restorer, &mut stores, n));
        let halves = (rows - FIT + FIT / 2 - 1).max(0) / (FIT / 2);
        assert_eq!(files_in(scratch.path()), halves as usize, "{rows} rows");
        assert_eq!(restorer.finish(&mut stores, rows).unwrap().rows, rows as u64);
        assert_eq!(rows_of(&disk).len(), rows as usize);
        assert!(rows_of(&disk).iter().all(|(key, row)| {
            let n = i64::from_be_bytes(row[..8].try_into().unwrap());
            key[..] == (n * 7919 % 1000).to_be_bytes() && row[8..] == [n as u8; 24]
        }));
    }
}

/// What one restore holds another has to do without; what one is done with is the next one's.
#[test]
fn restores_share_their_memory() {
    let scratch = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let disk = [MemoryEngine::new(), MemoryEngine::new()];
    let mut first = on_disk(&disk[0], scratch[0].path());
    let mut second = on_disk(&disk[1], scratch[1].path());
    let memory = Memory::new(80 * 64);
    let mut greedy = first.restore(0).unwrap().with_memory(&memory);
    let mut late = second.restore(0).unwrap().with_memory(&memory);
    (0..80).for_each(|n| push_64_bytes(&mut greedy, &mut first, n));
    (0..10).for_each(|n| push_64_bytes(&mut late, &mut second, n));
    assert_eq!(files_in(scratch[1].path()), 0, "each has one piece");
    (10..11).for_each(|n| push_64_bytes(&mut late, &mut second, n));
    assert_eq!(files_in(scratch[1].path()), 1, "and no other is left");
    assert_eq!(greedy.finish(&mut first, 80).unwrap().rows, 80);
    (11..81).for_each(|n| push_64_bytes(&mut late, &mut second, n));
    assert_eq!(
        files_in(scratch[1].path()),
        1,
        "what the first is done with is there for it"
    );
    assert_eq!(late.finish(&mut second, 81).unwrap().rows, 81);
    assert_eq!(rows_of(&disk[0]).len(), 80);
    assert_eq!(rows_of(&disk[1]).len(), 81);
}

/// Whatever call of the engine fails, and however often: the restore that gets through comes to the same end.
#[test]
fn a_restore_that_is_cut_short_starts_again() {
    let scratch = tempfile::tempdir().unwrap();
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let history = History::random(&mut dice, 400, seed % 2 == 1);
        let disk = MemoryEngine::new();
        history.fill(&mut disk.clone());
        for death in 0..6 {
            let faults = Faults::none();
            let fault = [
                Fault::DieBefore,
                Fault::DieAfter,
                Fault::DieWithin(dice.roll(30) as usize),
            ];
            faults.plan(
                death % 3 + 1 - u64::from(death > 0),
                fault[dice.roll(3) as usize].clone(),
            );
            let engine = with_scratch(&disk, scratch.path(), &faults);
            let result = history.restore(engine, 2000, dice.roll(2) as usize * 5000);
            assert_eq!(result.is_err(), faults.is_dead());
        }
        history
            .restore(with_scratch(&disk, scratch.path(), &Faults::none()), 2000, 0)
            .unwrap();
        assert_eq!(rows_of(&disk), history.expected(), "seed {seed}");
    }
}

/// More runs than are merged at once, and more of those than are merged at once.
#[test]
fn a_long_changelog_is_merged_in_steps() {
    let scratch = tempfile::tempdir().unwrap();
    let history = History::random(&mut Dice::new(8), 5000, false);
    let disk = MemoryEngine::new();
    let engine = with_scratch(&disk, scratch.path(), &Faults::none());
    history.restore(engine, 1, 0).unwrap();
    assert_eq!(rows_of(&disk), history.expected());
}

#[test]
fn a_file_that_changed_on_disk_is_corrupt() {
    let history = History::random(&mut Dice::new(3), 500, false);
    for damage in [
        |bytes: &mut Vec<u8>| bytes[700] ^= 4,
        |bytes: &mut Vec<u8>| bytes.truncate(700),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let engine = with_scratch(&MemoryEngine::new(), scratch.path(), &Faults::none());
        let mut stores = StoreSet::new(engine, &[META_NAME.to_owned(), "s".to_owned()]).unwrap();
        let schema = KeyValue::<Bytes, Bytes>::new(Arc::new(BytesCodec), Arc::new(BytesCodec));
        let spec = StoreSpec {
            retention_ms: None,
            ..history.spec()
        };
        stores.register(spec, schema).unwrap();
        let mut restorer = stores.restore(0).unwrap().with_memory(&Memory::new(4000));
        for (offset, timestamp, key, value) in &history.records {
            restorer
                .push(&mut stores, *offset, *timestamp, key, value.as_deref())
                .unwrap();
        }
        let file = std::fs::read_dir(scratch.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut bytes = std::fs::read(&file).unwrap();
        damage(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
        match restorer.finish(&mut stores, history.position) {
            Err(StateError::Corrupt(text)) => assert!(text.contains(".run"), "{text}"),
            other => panic!("expected Corrupt, got {other:?}"),
        }
        assert_eq!(files_in(scratch.path()), 0);
    }
}

#[test]
fn records_out_of_order_are_refused() {
    let mut history = History::random(&mut Dice::new(4), 10, false);
    history.records.swap(3, 4);
    match history.restore(Box::new(MemoryEngine::new()), 1 << 20, 0).err() {
        Some(StateError::Misuse(text)) => assert!(text.contains("restore in offset order"), "{text}"),
        other => panic!("expected Misuse, got {other:?}"),
    }
}
