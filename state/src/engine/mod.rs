//! The contract of an engine: ordered bytes in families, one atomic write, bulk load.

#[cfg(any(test, feature = "testing"))]
pub mod faulty;
pub mod memory;
#[cfg(feature = "rocksdb")]
pub mod rocks;

pub use memory::MemoryEngine;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksEngine;

use crate::error::Result;
use std::path::PathBuf;

/// One ordered key space of an engine (a column family). The families are fixed when the engine is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family(pub u16);

/// A row to write: `None` deletes the key.
pub type RowRef<'a> = (&'a [u8], Option<&'a [u8]>);

/// Takes the rows of a load, one by one: a key, and its value unless the key is deleted.
pub type RowSink<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<()> + 'a;

/// Gives the rows of a load to a [`RowSink`], and stops when that fails. Called once.
pub type SortedRows<'a> = dyn FnMut(&mut RowSink<'_>) -> Result<()> + 'a;

/// Ordered bytes that survive a restart. One writer (the owning task's thread); all writes of a commit in one atomic step.
pub trait Engine: Send {
    /// Looks up keys that are sorted ascending; calls `found` once per key, in order, with its index.
    fn get_many(&self, family: Family, sorted: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()>;

    /// Visits rows with `from <= key < to` (no upper end when `None`) in key order until `visit` returns false.
    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()>;

    /// As [`Engine::scan`], in descending key order.
    fn scan_back(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()>;

    /// Applies a whole write set or none of it, also across a crash.
    fn write(&mut self, set: &WriteSet<'_>) -> Result<()>;

    /// Loads rows whose keys are strictly ascending, faster than `write`: restore. The `meta` rows become visible not before
    /// the data; an interrupted load may leave a prefix of the data without them, so the position must be among `meta`.
    fn ingest(&mut self, family: Family, rows: &mut SortedRows<'_>, meta: &[(Family, RowRef<'_>)]) -> Result<()>;

    /// The name of a new file in which something may be put aside while a load is prepared; one that is left there is
    /// removed when the engine is next opened. `None`: there is no disk.
    fn scratch_file(&self) -> Option<PathBuf> {
        None
    }

    /// Makes what was written so far survive a crash by itself (memtables to disk). Returns when it is done.
    fn flush(&mut self) -> Result<()>;

    /// Bytes written and not yet made durable by `flush`: what a crash would make us replay.
    fn unflushed_bytes(&self) -> u64;
}

/// The rows of one commit. Later entries win over earlier ones with the same key.
#[derive(Default)]
pub struct WriteSet<'a> {
    /// Rows by family. Runs that are sorted by key are cheapest.
    pub rows: Vec<(Family, RowRef<'a>)>,
    /// Ranges `[from, to)` to delete before the rows are applied (expired windows).
    pub delete_ranges: Vec<(Family, &'a [u8], &'a [u8])>,
}
