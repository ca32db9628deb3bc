//! Emit on window close: each window once, final, by the row that moves stream time past its close.
//!
//! Windows are emitted by start, within a window by key bytes. Which keys have a result in a window is known without a
//! look at the others: each key waits under the first window it has records for, and moves on when that one is emitted.

use std::collections::BTreeMap;

use millstream_state::{
    Timestamp,
    data::Key,
    overlay::{Cell, Overlay, Slot},
    schema::{Schema, Slices, Stamped},
};

use super::layout::Layout;
use super::{ChangedFrom, Results, WindowAggregate};
use crate::{
    error::Result,
    node::Ctx,
    record::{Data, Row},
    windows::Windowed,
};

/// Keys by the first window they have a result for.
///
/// A key may stand under more windows than that one (after a record out of order): it is then looked at once more, and
/// found without a result or a second time in the same list. That a key with records is missing is what must not be.
pub(super) struct Due {
    keys: BTreeMap<Timestamp, Vec<Slot>>,
    /// No window before this one has a result.
    first: Timestamp,
    /// Whether `keys` tells of all rows in the store: not after a restart, nor after keys were evicted, until memory holds
    /// all rows that matter again.
    known: bool,
    /// All rows of slices up to here were loaded, as long as no more keys are evicted.
    loaded: Timestamp,
    evicted: u64,
}

impl Due {
    /// Nothing is known: after a restart.
    pub fn unknown() -> Self {
        Due {
            keys: BTreeMap::new(),
            first: Timestamp::MAX,
            known: false,
            loaded: Timestamp::MIN,
            evicted: 0,
        }
    }

    /// A start before which no window has a result.
    #[inline]
    pub fn next(&self, closed: Timestamp) -> Timestamp {
        if self.known { self.first } else { closed }
    }

    /// A key got its first record in a slice, one that counts for `window` first. A key that has records of an open window
    /// already waits, or is about to be moved there by the close at hand.
    pub fn added<S: Schema<Sub = Timestamp>>(
        &mut self,
        cells: &[Cell<S>],
        slot: Slot,
        sub: Timestamp,
        window: Timestamp,
        open: Timestamp,
    ) {
        let first_live = cells.get(cells.partition_point(|cell| cell.sub < open));
        if first_live.is_some_and(|cell| cell.sub == sub) {
            self.put(window, slot);
        }
    }

    fn put(&mut self, window: Timestamp, slot: Slot) {
        self.keys.entry(window).or_default().push(slot);
        self.first = self.first.min(window);
    }

    /// The next window before `end`, with its keys, each once.
    fn take(&mut self, end: Timestamp) -> Option<(Timestamp, Vec<Slot>)> {
        let entry = self.keys.first_entry().filter(|entry| *entry.key() < end)?;
        let (window, mut slots) = entry.remove_entry();
        slots.sort_unstable();
        slots.dedup();
        Some((window, slots))
    }

    /// Learns from all keys in memory.
    fn rebuild<K: Key, A: Data>(
        &mut self,
        store: &Overlay<Slices<K, A, ChangedFrom>>,
        layout: &Layout,
        closed: Timestamp,
    ) {
        self.keys.clear();
        for slot in store.groups() {
            if let Some(window) = layout.next_window(store.cells(slot), closed) {
                self.keys.entry(window).or_default().push(slot);
            }
        }
    }
}

impl<K: Key, V: Data, A: Data> WindowAggregate<K, V, A> {
    /// Emits every window that starts before `end` and was not emitted yet.
    pub(super) fn close(
        &mut self,
        end: Timestamp,
        seq: u32,
        store: &mut Overlay<Slices<K, A, ChangedFrom>>,
        rows: &mut Results<K, A>,
        cx: &mut Ctx<'_>,
    ) -> Result<()> {
        if self.due.next(self.time.closed) >= end {
            self.time.closed = end;
            return Ok(());
        }
        let last = end - self.parts.windows.advance_ms();
        self.learn(Some(last.saturating_add(self.layout.reach())), store, cx)?;
        while let Some((window, slots)) = self.due.take(end) {
            self.emit_window(window, &slots, seq, store, rows);
        }
        self.time.closed = end;
        self.due.first = self
            .due
            .keys
            .first_key_value()
            .map_or(Timestamp::MAX, |(window, _)| *window);
        Ok(())
    }

    /// Emits every window that has records.
    pub(super) fn close_all(
        &mut self,
        store: &mut Overlay<Slices<K, A, ChangedFrom>>,
        rows: &mut Results<K, A>,
        cx: &mut Ctx<'_>,
    ) -> Result<()> {
        self.learn(None, store, cx)?;
        while let Some((window, slots)) = self.due.take(Timestamp::MAX) {
            self.emit_window(window, &slots, Row::<K, V>::AFTER_ALL, store, rows);
            self.time.closed = self
                .time
                .closed
                .max(window.saturating_add(self.parts.windows.advance_ms()));
        }
        self.time.open = self.time.open.max(self.time.closed);
        self.due.first = Timestamp::MAX;
        Ok(())
    }

    /// Makes `due` right for all rows from the first window not closed up to `end`, if it is not already. Only where memory
    /// does not hold all of them (after a restart, after keys were evicted) this scans the engine.
    fn learn(
        &mut self,
        end: Option<Timestamp>,
        store: &mut Overlay<Slices<K, A, ChangedFrom>>,
        cx: &mut Ctx<'_>,
    ) -> Result<()> {
        let (due, closed, evicted) = (&mut self.due, self.time.closed, store.stats().evicted);
        if due.evicted != evicted {
            *due = Due {
                evicted,
                ..Due::unknown()
            };
        }
        if due.known {
            return Ok(());
        }
        let from = due.loaded.max(closed);
        if end.is_none_or(|end| from < end) {
            store
                .load_range(cx.engine(), from, end)
                .map_err(|e| cx.state_error(e))?;
            due.loaded = end.unwrap_or(Timestamp::MAX);
        }
        due.rebuild(store, &self.layout, closed);
        due.known = store.is_complete_since(&due.loaded);
        Ok(())
    }

    fn emit_window(
        &mut self,
        window: Timestamp,
        slots: &[Slot],
        seq: u32,
        store: &Overlay<Slices<K, A, ChangedFrom>>,
        rows: &mut Results<K, A>,
    ) {
        let mut bytes = Vec::new();
        let mut results: Vec<(usize, usize, Slot, Stamped<A>)> = Vec::with_capacity(slots.len());
        for &slot in slots {
            let cells = store.cells(slot);
            if let Some(next) = self
                .layout
                .next_window(cells, window.saturating_add(self.parts.windows.advance_ms()))
            {
                self.due.put(next, slot);
            }
            if let Some(result) = self.layout.compose(cells, window, &*self.parts.folding) {
                let from = bytes.len();
                store.schema().key_codec().encode(store.key(slot), &mut bytes);
                results.push((from, bytes.len(), slot, result));
            }
        }
        results.sort_unstable_by(|a, b| bytes.get(a.0..a.1).cmp(&bytes.get(b.0..b.1)));
        for (_, _, slot, result) in results {
            let key = Windowed {
                key: store.key(slot).clone(),
                window: self.parts.windows.window(window),
            };
            // Made by the row at hand, and as late in the round as that row.
            rows.push(Row {
                key,
                value: result.value,
                timestamp: result.timestamp,
                offset: -1,
                seq,
            });
        }
    }
}
