//! A store rebuilt from its changelog, in bulk.
//!
//! Records are collected into a bounded run; a run is sorted by row key, only the newest record of each key is kept, and the
//! engine takes it as one sorted load. Rows of slices that have expired by the time seen so far are skipped. The position is
//! written last, so a restore that is cut short starts again where it was and comes to the same end.
//!
//! A commit can leave records in the changelog whose input was never committed (at-least-once). Restore stops at the
//! committed position; the keys found beyond it are handed to [`Restorer::beyond`] and written again, with their restored
//! value, at the next commit (CO-4).

use crate::Timestamp;
use crate::engine::{Engine, Family, WriteSet};
use crate::error::{Result, StateError};
use crate::overlay::sort_head;
use crate::stores::{Layout, MetaRows, StoreSet};

/// A run is loaded when it holds this much: large enough for long sorted files, small beside the memory budget.
const RUN_BYTES: usize = 32 << 20;
/// Rows lie in the order they came in but leave in the order of their keys, so each would wait for memory. So many are
/// looked at together first, for then they wait at the same time.
const AHEAD: usize = 16;
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
    arena: Vec<u8>,
    rows: Vec<Row>,
    run_bytes: usize,
    bulk_rows: usize,
    /// Greatest record timestamp so far.
    observed: Timestamp,
    /// Greatest offset in the runs that were loaded already.
    loaded_to: Option<i64>,
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
    /// Rows written, after only the newest of each key in a run was kept.
    pub rows: u64,
    /// Records skipped at once because their slice has expired.
    pub expired: u64,
    /// Keys found beyond the position, which the next commit writes again (CO-4).
    pub beyond: u64,
}

#[derive(Debug)]
struct Row {
    head: u128,
    key: usize,
    value: usize,
    end: usize,
    offset: i64,
    deleted: bool,
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
            arena: Vec::new(),
            rows: Vec::new(),
            run_bytes: RUN_BYTES,
            bulk_rows: BULK_ROWS,
            observed: Timestamp::MIN,
            loaded_to: None,
            from_empty,
            beyond: Vec::new(),
            summary: Restored::default(),
        })
    }

    /// Bounds a run to about this many bytes.
    pub fn with_run_bytes(mut self, bytes: usize) -> Self {
        self.run_bytes = bytes;
        self
    }

    /// Loads runs of this many rows in bulk, for tests that need not be large.
    #[cfg(test)]
    pub(crate) fn with_bulk_rows(mut self, rows: usize) -> Self {
        self.bulk_rows = rows;
        self
    }

    /// Takes one changelog record. Offsets ascend from one run to the next; within a run any order will do.
    pub fn push(
        &mut self,
        stores: &mut StoreSet,
        offset: i64,
        timestamp: Timestamp,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        if self.loaded_to.is_some_and(|loaded| offset <= loaded) {
            return Err(StateError::Misuse(format!(
                "store '{}': changelog record {offset} comes after later ones were loaded; restore in offset order",
                self.name
            )));
        }
        self.summary.records += 1;
        self.observed = self.observed.max(timestamp);
        if self.is_expired((self.layout.start)(key)) {
            self.summary.expired += 1;
            return Ok(());
        }
        let from = self.arena.len();
        (self.layout.row_key)(key, &mut self.arena).ok_or_else(|| self.bad_key(offset, key))?;
        let middle = self.arena.len();
        if let Some(value) = value {
            self.arena.extend_from_slice(&timestamp.to_be_bytes());
            self.arena.extend_from_slice(value);
        }
        self.rows.push(Row {
            head: sort_head(self.arena.get(from..middle).unwrap_or_default()),
            key: from,
            value: middle,
            end: self.arena.len(),
            offset,
            deleted: value.is_none(),
        });
        if self.arena.len() + self.rows.len() * size_of::<Row>() >= self.run_bytes {
            self.load_run(stores, &[])?;
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

    /// Loads what is left and writes the position: everything before `position` is applied now.
    pub fn finish(mut self, stores: &mut StoreSet, position: i64) -> Result<Restored> {
        if let Some(end) = self.expired_below().filter(|_| !self.from_empty) {
            // Rows of earlier runs, or from before the restore.
            let delete_ranges = vec![(self.family, &[][..], end.as_slice())];
            stores.engine_mut().write(&WriteSet {
                delete_ranges,
                ..WriteSet::default()
            })?;
        }
        self.load_run(stores, &[(self.name.clone(), position)])?;
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

    /// Sorts the run, keeps the newest record of each key, and gives it to the engine with `positions` last.
    fn load_run(&mut self, stores: &mut StoreSet, positions: &[(String, i64)]) -> Result<()> {
        let arena = std::mem::take(&mut self.arena);
        let mut rows = std::mem::take(&mut self.rows);
        let key = |row: &Row| arena.get(row.key..row.value).unwrap_or_default();
        let value = |row: &Row| arena.get(row.value..row.end).unwrap_or_default();
        self.loaded_to = rows.iter().map(|row| row.offset).max().max(self.loaded_to);
        rows.sort_unstable_by(|a, b| {
            a.head
                .cmp(&b.head)
                .then_with(|| key(a).cmp(key(b)))
                .then_with(|| b.offset.cmp(&a.offset))
        });
        rows.dedup_by(|older, newest| older.head == newest.head && key(older) == key(newest));
        let (from_empty, floor) = (self.from_empty, self.expired_below().unwrap_or_default());
        rows.retain(|row| key(row) >= floor.as_slice() && !(from_empty && row.deleted));
        self.summary.rows += rows.len() as u64;
        self.from_empty &= rows.is_empty();

        let meta = MetaRows::new(positions, &[]);
        let engine = stores.engine_mut();
        if rows.len() < self.bulk_rows {
            let mut set = WriteSet::default();
            set.rows.extend(
                rows.iter()
                    .map(|row| (self.family, (key(row), (!row.deleted).then(|| value(row))))),
            );
            set.rows.extend(meta.rows());
            return if set.rows.is_empty() {
                Ok(())
            } else {
                engine.write(&set)
            };
        }
        let deletions: Vec<_> = rows
            .iter()
            .filter(|row| row.deleted)
            .map(|row| (self.family, (key(row), None)))
            .collect();
        if !deletions.is_empty() {
            engine.write(&WriteSet {
                rows: deletions,
                ..WriteSet::default()
            })?;
        }
        let meta: Vec<_> = meta.rows().collect();
        let touched = rows.chunks(AHEAD).inspect(|some| touch(&arena, some));
        let puts = touched.flatten().filter(|row| !row.deleted);
        let mut puts = puts.map(|row| (key(row), value(row)));
        engine.ingest(self.family, &mut puts, &meta)
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

/// Brings rows near the processor.
fn touch(arena: &[u8], rows: &[Row]) {
    for row in rows {
        let byte = |at: usize| arena.get(at).copied();
        std::hint::black_box((byte(row.key), byte(row.end.saturating_sub(1))));
    }
}
