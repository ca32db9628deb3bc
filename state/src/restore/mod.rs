//! A store rebuilt from its changelog, in bulk.
//!
//! Records are collected in bounded memory. A store that fits is sorted there and handed to the engine as one load. Of a
//! larger one the older half is sorted and put aside on disk whenever memory is full, and at the end all that was put aside
//! is merged with what is in memory, the newest first among equals, into one load. So the engine is given every key once, in order, and its newest row only: its files do not
//! overlap and are never compacted. Rows of slices that have expired by the time seen so far are skipped. The position is
//! written last, so a restore that is cut short starts again where it was and comes to the same end.
//!
//! A commit can leave records in the changelog whose input was never committed (at-least-once). Restore stops at the
//! committed position; the keys found beyond it are handed to [`Restorer::beyond`] and written again, with their restored
//! value, at the next commit (CO-4).

mod memory;
mod merge;
mod run;
mod spill;
#[cfg(test)]
mod tests;

use crate::Timestamp;
use crate::engine::{Engine, Family, RowSink, WriteSet};
use crate::error::{Result, StateError};
use crate::stores::{Layout, MetaRows, StoreSet};
pub use memory::Memory;
use merge::{merge, reduce};
use run::{Frame, Run};
use spill::{Spill, Writer};

/// Memory of a restore that is given none.
const MEMORY_BYTES: usize = 16 << 20;
/// Below this many rows a plain write is cheaper than a file.
const BULK_ROWS: usize = 10_000;

/// One restore of one store: [`StoreSet::restore`], then [`Restorer::push`] for each record, then [`Restorer::finish`].
#[derive(Debug)]
pub struct Restorer {
    store: usize,
    name: String,
    family: Family,
    layout: Layout,
    retention_ms: Option<i64>,
    run: Run,
    /// Of the record at hand.
    row_key: Vec<u8>,
    /// What was put aside, oldest first.
    spills: Vec<Spill>,
    bulk_rows: usize,
    /// Greatest record timestamp so far.
    observed: Timestamp,
    /// Offset of the last record.
    last: Option<i64>,
    /// Nothing is below this restore, so deletions need not be written.
    from_empty: bool,
    beyond: Vec<Vec<u8>>,
    summary: Restored,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Changelog records given.
    pub records: u64,
    /// Rows given to the engine: the newest of each key.
    pub rows: u64,
    /// Records skipped at once because their slice has expired.
    pub expired: u64,
    /// Keys found beyond the position, which the next commit writes again (CO-4).
    pub beyond: u64,
}

impl Restorer {
    pub(crate) fn new(
        engine: &dyn Engine,
        store: usize,
        name: &str,
        family: Family,
        layout: Layout,
        retention_ms: Option<i64>,
    ) -> Result<Self> {
        let mut from_empty = true;
        engine.scan(family, &[], None, &mut |_, _| {
            from_empty = false;
            false
        })?;
        Ok(Restorer {
            store,
            name: name.to_owned(),
            family,
            layout,
            retention_ms,
            run: Run::new(&Memory::new(MEMORY_BYTES)),
            row_key: Vec::new(),
            spills: Vec::new(),
            bulk_rows: BULK_ROWS,
            observed: Timestamp::MIN,
            last: None,
            from_empty,
            beyond: Vec::new(),
            summary: Restored::default(),
        })
    }

    /// Keeps records in this memory, before the first of them comes. Merging takes at most 4 MiB besides, and what one
    /// record takes.
    pub fn with_memory(mut self, memory: &Memory) -> Self {
        self.run = Run::new(memory);
        self
    }

    /// Loads this many rows in bulk, for tests that need not be large.
    #[cfg(test)]
    pub(crate) fn with_bulk_rows(mut self, rows: usize) -> Self {
        self.bulk_rows = rows;
        self
    }

    /// Takes one changelog record. Offsets ascend.
    pub fn push(
        &mut self,
        stores: &mut StoreSet,
        offset: i64,
        timestamp: Timestamp,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        if let Some(last) = self.last.filter(|last| offset <= *last) {
            return Err(StateError::Misuse(format!(
                "store '{}': changelog record {offset} comes after record {last}; restore in offset order",
                self.name
            )));
        }
        self.last = Some(offset);
        self.summary.records += 1;
        self.observed = self.observed.max(timestamp);
        if self.is_expired((self.layout.start)(key)) {
            self.summary.expired += 1;
            return Ok(());
        }
        self.row_key.clear();
        (self.layout.row_key)(key, &mut self.row_key).ok_or_else(|| self.bad_key(offset, key))?;
        let time = timestamp.to_be_bytes();
        let value = value.map(|value| [&time[..], value]);
        while !self.run.push(&self.row_key, value) {
            self.put_aside(stores)?;
        }
        Ok(())
    }

    /// A key that the changelog holds beyond the committed position: its row is written again at the next commit.
    pub fn beyond(&mut self, offset: i64, key: &[u8]) -> Result<()> {
        let mut row_key = Vec::new();
        (self.layout.row_key)(key, &mut row_key).ok_or_else(|| self.bad_key(offset, key))?;
        self.beyond.push(row_key);
        Ok(())
    }

    /// Loads what was put aside and writes the position: everything before `position` is applied now.
    pub fn finish(mut self, stores: &mut StoreSet, position: i64) -> Result<Restored> {
        if let Some(end) = self.expired_below().filter(|_| !self.from_empty) {
            // Rows from before the restore.
            let delete_ranges = vec![(self.family, &[][..], end.as_slice())];
            stores.engine_mut().write(&WriteSet {
                delete_ranges,
                ..WriteSet::default()
            })?;
        }
        let positions = [(self.name.clone(), position)];
        if self.spills.is_empty() {
            self.load_run(stores, &positions)?;
        } else {
            self.load_spills(stores, &positions)?;
        }
        self.beyond.sort_unstable();
        self.beyond.dedup();
        self.summary.beyond = self.beyond.len() as u64;
        stores.restored(self.store, self.summary.rows, &self.beyond)?;
        Ok(self.summary)
    }

    fn is_expired(&self, start: Option<Timestamp>) -> bool {
        matches!((start, self.retention_ms), (Some(start), Some(keep)) if start.saturating_add(keep) <= self.observed)
    }

    /// Rows below this key have expired.
    fn expired_below(&self) -> Option<Vec<u8>> {
        let since = self.observed.checked_sub(self.retention_ms?)?;
        let mut end = Vec::new();
        (self.layout.floor)(since.saturating_add(1), &mut end);
        Some(end)
    }

    /// Sorts the older half of the run and keeps it on disk; an engine without a disk is given all of it at once.
    fn put_aside(&mut self, stores: &mut StoreSet) -> Result<()> {
        let scratch = || stores.engine().scratch_file();
        let Some(path) = scratch() else {
            self.load_run(stores, &[])?;
            self.from_empty = false;
            return Ok(());
        };
        let half = self.run.pieces().div_ceil(2);
        let floor = self.expired_below().unwrap_or_default();
        let mut writer = Writer::create(path, 0)?;
        let rows = self.run.sort(half).rows();
        rows.filter(|row| row.key >= floor.as_slice())
            .try_for_each(|row| writer.add(&row))?;
        self.spills.push(writer.finish()?);
        self.run.forget(half);
        while reduce(&mut self.spills, scratch)? {}
        Ok(())
    }

    /// Gives the run to the engine, with `positions` last.
    fn load_run(&mut self, stores: &mut StoreSet, positions: &[(String, i64)]) -> Result<()> {
        let (keeps, mut given) = (self.keeps(), 0);
        let pieces = self.run.pieces();
        let sorted = self.run.sort(pieces);
        let rows = sorted.rows().filter(keeps).inspect(|_| given += 1);
        let meta = MetaRows::new(positions, &[]);
        if sorted.len() < self.bulk_rows {
            let mut set = WriteSet::default();
            set.rows.extend(rows.map(|row| (self.family, (row.key, row.value))));
            set.rows.extend(meta.rows());
            if !set.rows.is_empty() {
                stores.engine_mut().write(&set)?;
            }
        } else {
            let (mut rows, meta) = (rows, meta.rows().collect::<Vec<_>>());
            let mut rows = |sink: &mut RowSink<'_>| rows.try_for_each(|row| sink(row.key, row.value));
            stores.engine_mut().ingest(self.family, &mut rows, &meta)?;
        }
        self.summary.rows += given;
        self.run.forget(pieces);
        Ok(())
    }

    /// Merges what was put aside and what is in memory into one load.
    fn load_spills(&mut self, stores: &mut StoreSet, positions: &[(String, i64)]) -> Result<()> {
        let (keeps, mut rows) = (self.keeps(), 0);
        let newest = self.run.sort(self.run.pieces());
        let mut merged = |sink: &mut RowSink<'_>| {
            merge(&self.spills, Some(newest), &mut |row| {
                if !keeps(&row) {
                    return Ok(());
                }
                rows += 1;
                sink(row.key, row.value)
            })
        };
        let meta = MetaRows::new(positions, &[]);
        let meta: Vec<_> = meta.rows().collect();
        stores.engine_mut().ingest(self.family, &mut merged, &meta)?;
        self.summary.rows += rows;
        self.spills.clear();
        Ok(())
    }

    /// Which rows the engine is given, now that all times are known.
    fn keeps(&self) -> impl Fn(&Frame<'_>) -> bool + use<> {
        let (floor, from_empty) = (self.expired_below().unwrap_or_default(), self.from_empty);
        move |row| row.key >= floor.as_slice() && !(from_empty && row.value.is_none())
    }

    fn bad_key(&self, offset: i64, key: &[u8]) -> StateError {
        StateError::Misuse(format!(
            "store '{}': the changelog record at offset {offset} has a key of {} bytes, too short for a store of its kind; was \
             the store's kind changed without a new name?",
            self.name,
            key.len()
        ))
    }
}
