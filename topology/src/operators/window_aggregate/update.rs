//! Emit on update: at a commit, every window that changed since the last one, once.

use millstream_state::{
    Timestamp,
    data::Key,
    overlay::{Overlay, Slot},
    schema::{Slices, Stamped},
};

use super::{ChangedFrom, Results, WindowAggregate};
use crate::{
    node::Flushed,
    record::{Data, Row},
    windows::Windowed,
};

impl<K: Key, V: Data, A: Data> WindowAggregate<K, V, A> {
    /// Composes and stages the windows of a key that start before `from` (they are closed) and are not emitted yet: the
    /// record at hand is late for them, but is about to go into a slice they share.
    #[cold]
    pub(super) fn freeze(&mut self, slot: Slot, from: Timestamp, store: &mut Overlay<Slices<K, A, ChangedFrom>>) {
        if !self.layout.is_sliced() {
            return;
        }
        let cells = store.cells(slot);
        let changed = cells
            .iter()
            .map(|cell| cell.mark().0)
            .min()
            .unwrap_or(ChangedFrom::NOTHING);
        if changed >= from {
            return;
        }
        let mut spans = Vec::new();
        self.changed_spans(store, slot, &mut spans);
        let last = from - self.parts.windows.advance_ms();
        for (first, end) in spans.into_iter().filter(|span| span.0 < from) {
            let span = (first, end.min(last));
            let (cells, folding) = (store.cells(slot), &*self.parts.folding);
            self.layout
                .compose_all(cells, span, folding, &mut self.scratch, |window, result| {
                    self.staged.insert((slot, window), result);
                });
        }
        for (_, mark) in store.marks(slot) {
            if mark.0 < from {
                mark.0 = from;
            }
        }
    }

    /// Emits a portion of what changed: keys in the order of their first change, windows of a key by start.
    pub(super) fn emit_changed(
        &mut self,
        portion: usize,
        store: &mut Overlay<Slices<K, A, ChangedFrom>>,
        rows: &mut Results<K, A>,
    ) -> Flushed {
        let mut staged = std::mem::take(&mut self.staged);
        let mut spans = Vec::new();
        while let Some(&slot) = store.dirty().get(self.emitted) {
            if rows.len() >= portion {
                self.staged = staged;
                return Flushed::Part;
            }
            self.emitted += 1;
            let key = store.key(slot);
            let mut push = |window: Timestamp, result: Stamped<A>| {
                let key = Windowed {
                    key: key.clone(),
                    window: self.parts.windows.window(window),
                };
                rows.push(Row::from_state(key, result.value, result.timestamp));
            };
            if !staged.is_empty() {
                // Frozen windows are closed, so they start before all others.
                let mut rest = staged.split_off(&(slot, Timestamp::MIN));
                let mut after = rest.split_off(&(slot, Timestamp::MAX));
                rest.into_iter().for_each(|((_, window), result)| push(window, result));
                staged.append(&mut after);
            }
            self.changed_spans(store, slot, &mut spans);
            for &span in &spans {
                let (cells, folding) = (store.cells(slot), &*self.parts.folding);
                self.layout
                    .compose_all(cells, span, folding, &mut self.scratch, &mut push);
            }
            if !spans.is_empty() {
                store.marks(slot).for_each(|(_, mark)| *mark = ChangedFrom::default());
            }
        }
        self.emitted = 0;
        Flushed::All
    }

    /// The windows of a key that changed, as few spans of starts `[first, last]`, ascending and apart.
    fn changed_spans(
        &self,
        store: &Overlay<Slices<K, A, ChangedFrom>>,
        slot: Slot,
        spans: &mut Vec<(Timestamp, Timestamp)>,
    ) {
        spans.clear();
        for cell in store.cells(slot) {
            let first = cell.mark().0;
            // A mark may have been moved past the last window of its slice.
            if first != ChangedFrom::NOTHING && first <= self.layout.last_window(cell.sub) {
                spans.push((first, self.layout.last_window(cell.sub)));
            }
        }
        spans.sort_unstable();
        let advance = self.parts.windows.advance_ms();
        spans.dedup_by(|next, span| {
            let joined = next.0 <= span.1 + advance;
            if joined {
                span.1 = span.1.max(next.1);
            }
            joined
        });
    }
}
