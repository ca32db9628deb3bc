//! Memory given back: expired rows, evicted keys, and the count of bytes.

use super::group::{CellState, Group, Held};
use super::{Overlay, Slot};
use crate::schema::{Schema, Sub};
use smallvec::SmallVec;
use std::hash::BuildHasher;

/// A key's place and its entry in the hash table.
const fn place_bytes<S: Schema>() -> usize {
    size_of::<Group<S>>() + 5
}

impl<S: Schema> Overlay<S> {
    /// Rows below `before` are dead from now on: they leave memory at once and the engine at the next acknowledged commit,
    /// without a deletion per row. The changelog is told nothing; its retention does the same there.
    pub fn expire(&mut self, before: S::Sub) {
        if self.floor.is_some_and(|floor| before <= floor) {
            return;
        }
        self.floor = Some(before);
        if self.held.oldest < before {
            self.drop_below(before);
        }
        self.refresh_cold();
    }

    fn drop_below(&mut self, before: S::Sub) {
        let mut oldest: Option<S::Sub> = None;
        for at in 0..self.groups.len() {
            let group = &mut self.groups[at];
            if !group.live {
                continue;
            }
            if let Some(first) = group.cells.iter().map(|cell| cell.sub).find(|sub| *sub >= before) {
                oldest = Some(oldest.map_or(first, |oldest| oldest.min(first)));
            }
            if group.cells.first().is_none_or(|cell| cell.sub >= before) {
                continue;
            }
            let (mut dead, mut busy) = (0, 0);
            group.cells.retain(|cell| {
                let keep = cell.sub >= before;
                if !keep {
                    dead += cell.heap as usize;
                    busy += u32::from(cell.state != CellState::CLEAN);
                }
                keep
            });
            group.busy -= busy;
            self.held.heap -= dead;
            self.drop_if_empty(Slot(at as u32));
        }
        self.held.oldest = oldest.unwrap_or(before);
    }

    /// Bytes of memory in use: keys and rows, and an estimate for what values keep on the heap. Places that evicted keys
    /// left behind do not count: the next keys take them.
    pub fn mem(&self) -> usize {
        self.held.heap + self.index.len() * place_bytes::<S>()
    }

    /// Bytes of rows that changed since the last seal: what only a commit can make clean. An estimate, as [`Overlay::mem`].
    pub fn dirty_bytes(&self) -> usize {
        self.held.dirty
    }

    /// Gives back about `target` bytes: clean keys that were not touched lately leave memory, oldest first as far as a
    /// clock with one hand can tell. Returns what it found.
    pub fn evict(&mut self, target: usize) -> usize {
        let mut released = 0;
        let mut steps = 2 * self.groups.len();
        let mut highest: Option<S::Sub> = None;
        while released < target && steps > 0 {
            steps -= 1;
            let at = self.hand;
            self.hand = (at + 1) % self.groups.len();
            let group = &mut self.groups[at];
            if !group.live || group.busy > 0 || group.listed || group.queued {
                continue;
            }
            if std::mem::take(&mut group.used) {
                continue;
            }
            released += group.heap_bytes() + place_bytes::<S>();
            highest = highest.max(group.cells.last().map(|cell| cell.sub));
            self.stats.evicted += 1;
            self.drop_group(Slot(at as u32));
        }
        self.forget_up_to(highest);
        self.shrink();
        released
    }

    /// A row at `sub` left memory while the engine holds it.
    pub(super) fn forget_up_to(&mut self, sub: Option<S::Sub>) {
        if let Some(sub) = sub {
            self.complete_since = self.complete_since.and_then(|since| Some(since.max(sub.next()?)));
            self.refresh_cold();
        }
    }

    /// Places at the end that hold no key go back to the allocator.
    fn shrink(&mut self) {
        while self.groups.last().is_some_and(|group| !group.live) {
            self.groups.pop();
        }
        let len = self.groups.len();
        self.free.retain(|&at| (at as usize) < len);
        if self.groups.capacity() > 4 * len.max(16) {
            self.groups.shrink_to(2 * len);
        }
        self.hand = if len == 0 { 0 } else { self.hand % len };
    }

    pub(super) fn drop_if_empty(&mut self, slot: Slot) {
        let group = &self.groups[slot.index()];
        if group.live && group.cells.is_empty() && group.busy == 0 && !group.listed && !group.queued {
            self.drop_group(slot);
        }
    }

    /// Back to an overlay over an empty family.
    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.groups.clear();
        self.free.clear();
        self.dirty.clear();
        self.missing.clear();
        self.stored.clear();
        self.cold.clear();
        (self.floor, self.floor_acked) = (None, None);
        self.held = Held {
            heap: 0,
            dirty: 0,
            oldest: S::Sub::LOWEST,
        };
        self.hand = 0;
    }

    /// Takes a key out of memory, whatever its state.
    pub(super) fn drop_group(&mut self, slot: Slot) {
        let hash = self.hasher.hash_one(&self.groups[slot.index()].key);
        if let Ok(entry) = self.index.find_entry(hash, |&at| at == slot.0) {
            entry.remove();
        }
        let group = &mut self.groups[slot.index()];
        self.held.heap -= group.heap_bytes();
        group.cells = SmallVec::new();
        group.busy = 0;
        group.live = false;
        group.loaded = false;
        group.listed = false;
        group.queued = false;
        self.free.push(slot.0);
    }
}

#[cfg(any(test, feature = "testing"))]
impl<S: Schema> Overlay<S> {
    /// Holds the running counts against a recount.
    pub(crate) fn check_accounts(&self) {
        let live = self.groups.iter().filter(|group| group.live);
        assert_eq!(self.held.heap, live.clone().map(Group::heap_bytes).sum::<usize>());
        assert_eq!(self.index.len(), live.clone().count());
        let dirty = |group: &Group<S>| group.cells.iter().filter(|cell| cell.is_dirty()).count();
        let least = live.clone().map(dirty).sum::<usize>() * (size_of::<S::Key>() + size_of::<super::Cell<S>>());
        assert!(self.held.dirty >= least, "every dirty row counts");
        assert!(
            self.held.dirty == 0 || !self.dirty.is_empty(),
            "nothing counts when nothing has changed since the seal"
        );
        for group in live {
            let busy = group.cells.iter().filter(|cell| cell.state != CellState::CLEAN).count();
            assert_eq!(group.busy as usize, busy);
            assert!(group.cells.is_sorted_by(|a, b| a.sub < b.sub));
            assert!(group.cells.first().is_none_or(|cell| cell.sub >= self.held.oldest));
        }
    }
}
