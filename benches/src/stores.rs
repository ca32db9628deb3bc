//! The parts of a commit and of a restore that reach the engine, without a topology around them.

use crate::data::Seeded;
use crate::replay::Result;
use bytes::Bytes;
use millstream_state::codec::{BytesCodec, I64};
use millstream_state::engine::Engine;
use millstream_state::engine::rocks::{RocksEngine, RocksOptions, RocksShared};
use millstream_state::restore::{Memory, Restored};
use millstream_state::schema::{KeyValue, Stamped};
use millstream_state::spec::{StoreKind, StoreSpec};
use millstream_state::stores::{META_NAME, Shared, StoreSet};
use std::sync::Arc;
use tempfile::TempDir;

const STORE: &str = "rows";

/// Families of the engine [`Rows`] works on.
pub fn families() -> Vec<String> {
    vec![META_NAME.to_owned(), STORE.to_owned()]
}

/// RocksDB as tasks use it, in a directory that goes away with it.
pub struct Disk {
    /// The engine.
    pub engine: RocksEngine,
    /// Dropped last.
    _dir: TempDir,
}

impl Disk {
    /// An empty database for these families.
    pub fn new(families: &[String]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let shared = RocksShared::new(64 << 20, 64 << 20);
        let engine = RocksEngine::open(dir.path(), families, RocksOptions::task_state(), &shared)?;
        Ok(Disk { engine, _dir: dir })
    }
}

type Schema = KeyValue<i64, Bytes>;

/// A key-value store with keys of 8 bytes and values of any length.
pub struct Rows {
    stores: StoreSet,
    rows: Shared<Schema>,
    values: Vec<Bytes>,
}

impl Rows {
    /// Over this engine, with values of `value_bytes` bytes.
    pub fn new(engine: Box<dyn Engine>, value_bytes: usize) -> Result<Self> {
        let mut stores = StoreSet::new(engine, &families())?;
        let spec = StoreSpec {
            name: STORE.to_owned(),
            kind: StoreKind::KeyValue,
            logged: true,
            retention_ms: None,
        };
        let rows = stores.register(spec, Schema::new(Arc::new(I64), Arc::new(BytesCodec)))?;
        let mut seeded = Seeded::new(4);
        let values = (0..1024).map(|_| text(&mut seeded, value_bytes)).collect();
        Ok(Rows { stores, rows, values })
    }

    /// Gives `count` keys a new value. Keys lie apart, as hashed or random ones do.
    pub fn dirty(&mut self, count: u64, round: u64) {
        let mut overlay = self.rows.borrow_mut();
        for n in 0..count {
            let key = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) as i64;
            let value = self.values[((n + round) % 1024) as usize].clone();
            let slot = overlay.slot_of(&key);
            overlay.upsert(slot, (), |row, ()| *row = Some(Stamped::new(round as i64, value)));
        }
    }

    /// Seals the dirty rows and writes them, with a changelog position, as a commit does. Says how many.
    pub fn commit(&mut self, position: i64) -> Result<usize> {
        let sealed = self.stores.seal_all();
        let rows = sealed.len();
        self.stores.apply(sealed, &[(STORE.to_owned(), position)], &[])?;
        Ok(rows)
    }

    /// Rebuilds the store from its changelog, down to the disk.
    pub fn restore(&mut self, changelog: &Changelog) -> Result<Restored> {
        let records = changelog.0.chunks_exact(KEY + VALUE);
        self.restore_from(records.map(|record| record.split_at(KEY)), &Memory::new(16 << 20))
    }

    /// Rebuilds the store from these records in this memory.
    pub fn restore_from<'a>(
        &mut self,
        records: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        memory: &Memory,
    ) -> Result<Restored> {
        let mut restorer = self.stores.restore(0)?.with_memory(memory);
        let mut end = 0;
        for (key, value) in records {
            restorer.push(&mut self.stores, end, 1, key, Some(value))?;
            end += 1;
        }
        let restored = restorer.finish(&mut self.stores, end)?;
        self.stores.engine_mut().flush()?;
        Ok(restored)
    }
}

const KEY: usize = 8;
const VALUE: usize = 100;

/// Changelog records with distinct keys in random order and values of 100 bytes, back to back as in a fetch buffer.
pub struct Changelog(Vec<u8>);

impl Changelog {
    /// So many records.
    pub fn new(records: u64) -> Self {
        let mut seeded = Seeded::new(5);
        let mut bytes = Vec::with_capacity(records as usize * (KEY + VALUE));
        for _ in 0..records {
            bytes.extend_from_slice(&seeded.next_u64().to_be_bytes());
            bytes.extend_from_slice(&text(&mut seeded, VALUE));
        }
        Changelog(bytes)
    }

    /// Records.
    pub fn len(&self) -> usize {
        self.0.len() / (KEY + VALUE)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Letters, which compress a little, as real values do.
fn text(seeded: &mut Seeded, bytes: usize) -> Bytes {
    (0..bytes).map(|_| b'a' + seeded.below(16) as u8).collect()
}
