//! One key in memory: its rows in order, and what state they are in.

use crate::data::HeapBytes;
use crate::schema::{Schema, Stamped};
use smallvec::SmallVec;

/// One row in memory.
pub struct Cell<S: Schema> {
    /// Which row of its key.
    pub sub: S::Sub,
    pub(super) value: Option<Stamped<S::Value>>,
    pub(super) state: CellState,
    /// Bytes the value keeps on the heap, estimated by its encoded length when it was last loaded or sealed.
    pub(super) heap: u32,
    pub(super) mark: S::Mark,
}

impl<S: Schema> Cell<S> {
    /// The value; `None` when the row is deleted and the deletion is not yet acknowledged.
    pub fn value(&self) -> Option<&Stamped<S::Value>> {
        self.value.as_ref()
    }

    /// The operator's note.
    pub fn mark(&self) -> S::Mark {
        self.mark
    }

    /// Whether the row changed since the last seal.
    pub fn is_dirty(&self) -> bool {
        self.state.is_dirty()
    }
}

/// Dirty since the last seal, and the epoch of the last seal that is not acknowledged (0: none), in one word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CellState(u32);

impl CellState {
    pub(super) const CLEAN: CellState = CellState(0);
    pub(super) const DIRTY: u32 = 1 << 31;

    #[inline]
    pub(super) fn is_dirty(self) -> bool {
        self.0 & Self::DIRTY != 0
    }

    #[inline]
    pub(super) fn is_clean(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn dirtied(self) -> CellState {
        CellState(self.0 | Self::DIRTY)
    }

    #[inline]
    pub(super) fn sealed(epoch: u32) -> CellState {
        CellState(epoch)
    }

    #[inline]
    pub(super) fn acked(self, epoch: u32) -> CellState {
        if self.0 & !Self::DIRTY == epoch {
            CellState(self.0 & Self::DIRTY)
        } else {
            self
        }
    }
}

/// A key and its rows, ordered by sub.
pub(super) struct Group<S: Schema> {
    pub(super) key: S::Key,
    pub(super) cells: SmallVec<[Cell<S>; 1]>,
    /// Rows that are dirty or sealed.
    pub(super) busy: u32,
    /// Has a key; otherwise the place is on the free list.
    pub(super) live: bool,
    /// All live rows of the key are in `cells`.
    pub(super) loaded: bool,
    /// Waits in `missing`.
    pub(super) queued: bool,
    /// Stands in `dirty`.
    pub(super) listed: bool,
    /// Touched since the eviction hand passed.
    pub(super) used: bool,
}

/// What is in memory, over all keys.
pub(super) struct Held<U> {
    /// Bytes on the heap: of keys, of runs, and the estimate for values.
    pub(super) heap: usize,
    /// Bytes of rows that changed since the last seal, by the same estimate; rows that expired meanwhile still count.
    pub(super) dirty: usize,
    /// No row has a lower sub: so that expiry looks at rows only when there are some to expire.
    pub(super) oldest: U,
}

impl<S: Schema> Group<S> {
    /// The index of a row, which is made when it is not there. Most records belong to the newest row of their key.
    #[inline(always)]
    pub(super) fn place(&mut self, sub: S::Sub, held: &mut Held<S::Sub>) -> usize {
        match self.cells.last() {
            Some(last) if last.sub == sub => self.cells.len() - 1,
            _ => self.place_another(sub, held),
        }
    }

    /// Rows that are new mostly come at the end.
    fn place_another(&mut self, sub: S::Sub, held: &mut Held<S::Sub>) -> usize {
        let at = match self.cells.last() {
            Some(last) if last.sub < sub => self.cells.len(),
            _ => self.cells.partition_point(|cell| cell.sub < sub),
        };
        if self.cells.get(at).is_none_or(|cell| cell.sub != sub) {
            let before = self.run_bytes();
            let cell = Cell {
                sub,
                value: None,
                state: CellState::CLEAN,
                heap: 0,
                mark: S::Mark::default(),
            };
            self.cells.insert(at, cell);
            held.heap = held.heap + self.run_bytes() - before;
            held.oldest = held.oldest.min(sub);
        }
        at
    }

    /// Heap bytes of the run itself.
    fn run_bytes(&self) -> usize {
        if self.cells.spilled() {
            self.cells.capacity() * size_of::<Cell<S>>()
        } else {
            0
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.run_bytes() + self.cells.iter().map(|cell| cell.heap as usize).sum::<usize>()
    }
}

impl<S: Schema> Cell<S> {
    /// What the row keeps in memory until a commit, with its key.
    pub(super) fn dirty_bytes(&self, key: &S::Key) -> usize {
        size_of::<S::Key>() + key.heap_bytes() + size_of::<Self>() + self.heap as usize
    }

    /// Remembers the encoded length as the estimate of what the value keeps on the heap.
    pub(super) fn measure(&mut self, encoded: usize, heap: &mut usize) {
        let owns_heap = std::mem::needs_drop::<S::Value>() && self.value.is_some();
        let now = if owns_heap {
            u32::try_from(encoded).unwrap_or(u32::MAX)
        } else {
            0
        };
        *heap = *heap + now as usize - self.heap as usize;
        self.heap = now;
    }
}
