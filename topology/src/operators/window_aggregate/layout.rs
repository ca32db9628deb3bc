//! How windows lie in the store: by slices or one by one, where a record goes, and how a window is composed.

use millstream_state::{
    Timestamp,
    data::Key,
    overlay::Cell,
    schema::{Slices, Stamped},
};

use super::ChangedFrom;
use crate::{aggregate::Folding, record::Data, windows::TimeWindows};

/// Rows of one key, ordered by slice.
pub(super) type Cells<'a, K, A> = &'a [Cell<Slices<K, A, ChangedFrom>>];

/// Where a row's `sub` stands for: a slice, or a window when the aggregate cannot merge.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    windows: TimeWindows,
    slice: i64,
    /// A window is made of the rows in `[start, start + reach)`.
    reach: i64,
    sliced: bool,
    latest: Place,
}

/// Where records of one slice go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Start of the slice.
    pub slice: Timestamp,
    /// Start of the first window.
    pub first: Timestamp,
    /// Start of the last window.
    pub last: Timestamp,
}

impl Layout {
    pub fn new(windows: &TimeWindows, sliced: bool) -> Self {
        let slice = windows.slice_ms();
        let reach = if sliced { windows.size_ms() } else { 1 };
        // No timestamp lies in this one.
        let latest = Place {
            slice: Timestamp::MIN,
            first: 0,
            last: 0,
        };
        Layout {
            windows: *windows,
            slice,
            reach,
            sliced,
            latest,
        }
    }

    #[inline]
    pub fn is_sliced(&self) -> bool {
        self.sliced
    }

    pub fn reach(&self) -> i64 {
        self.reach
    }

    /// Where a record goes. No window border lies inside a slice, so records of the slice before cost no division.
    #[inline]
    pub fn place(&mut self, timestamp: Timestamp) -> Place {
        if !(self.latest.slice..self.latest.slice.saturating_add(self.slice)).contains(&timestamp) {
            self.latest = Place {
                slice: timestamp / self.slice * self.slice,
                first: self.windows.first_start(timestamp),
                last: self.windows.last_start(timestamp),
            };
        }
        self.latest
    }

    /// Start of the first window that a row of the store is part of.
    #[inline]
    pub fn first_window(&self, sub: Timestamp) -> Timestamp {
        if !self.sliced {
            return sub;
        }
        let advance = self.windows.advance_ms();
        let earliest = (sub + self.slice - self.windows.size_ms()).max(0);
        (earliest + advance - 1) / advance * advance
    }

    /// Start of the last window that a row of the store is part of.
    #[inline]
    pub fn last_window(&self, sub: Timestamp) -> Timestamp {
        self.windows.last_start(sub)
    }

    /// The first window not before `from` that has any rows.
    pub fn next_window<K: Key, A: Data>(&self, cells: Cells<'_, K, A>, from: Timestamp) -> Option<Timestamp> {
        let cell = cells.get(cells.partition_point(|cell| cell.sub < from))?;
        Some(self.first_window(cell.sub).max(from))
    }

    /// The result of one window; `None` when it has no rows.
    pub fn compose<K: Key, V, A: Data>(
        &self,
        cells: Cells<'_, K, A>,
        window: Timestamp,
        folding: &dyn Folding<K, V, A>,
    ) -> Option<Stamped<A>> {
        let cells = cells.get(cells.partition_point(|cell| cell.sub < window)..)?;
        let end = window.saturating_add(self.reach);
        merged(cells.get(..cells.partition_point(|cell| cell.sub < end))?, folding)
    }

    /// The results of all windows with `first <= start <= last`, ascending.
    ///
    /// A key with few rows is composed anew only where the next window has other rows than the one before. Many rows are
    /// cut into blocks of one window's length: each window is the tail of one block and the head of the next, so that three
    /// merges make it, however many slices it has.
    pub fn compose_all<K: Key, V, A: Data>(
        &self,
        cells: Cells<'_, K, A>,
        (first, last): (Timestamp, Timestamp),
        folding: &dyn Folding<K, V, A>,
        scratch: &mut Scratch<A>,
        mut visit: impl FnMut(Timestamp, Stamped<A>),
    ) {
        let advance = self.windows.advance_ms();
        let starts = (first..=last).step_by(advance as usize);
        let end = last.saturating_add(self.reach);
        let from = cells.partition_point(|cell| cell.sub < first);
        let cells = cells.get(from..).unwrap_or_default();
        let cells = cells
            .get(..cells.partition_point(|cell| cell.sub < end))
            .unwrap_or_default();
        let slices = if self.sliced {
            (self.windows.size_ms() / self.slice) as usize
        } else {
            1
        };
        if cells.len() <= FEW_ROWS || slices < MANY_SLICES || last == first {
            self.compose_runs(cells, starts, folding, visit);
            return;
        }
        scratch.fill(self, cells, first, last, slices);
        scratch.run_heads_and_tails(slices, folding);
        let step = (advance / self.slice) as usize;
        for (start, at) in starts.zip((0..).step_by(step)) {
            if let Some(result) = scratch.window(at, slices, folding) {
                visit(start, result);
            }
        }
    }
}

impl Layout {
    /// The windows of these rows, merged one by one; windows of the same rows share one merge.
    fn compose_runs<K: Key, V, A: Data>(
        &self,
        cells: Cells<'_, K, A>,
        starts: impl Iterator<Item = Timestamp>,
        folding: &dyn Folding<K, V, A>,
        mut visit: impl FnMut(Timestamp, Stamped<A>),
    ) {
        // Rows before `from` are behind the window at hand, rows before `to` are not ahead of it.
        let (mut from, mut to) = (0, 0);
        let mut result = None;
        for start in starts {
            let end = start.saturating_add(self.reach);
            let before = (from, to);
            while cells.get(from).is_some_and(|cell| cell.sub < start) {
                from += 1;
            }
            while cells.get(to).is_some_and(|cell| cell.sub < end) {
                to += 1;
            }
            if (from, to) != before {
                result = merged(cells.get(from..to).unwrap_or_default(), folding);
            }
            if let Some(result) = &result {
                visit(start, Stamped::clone(result));
            }
        }
    }
}

/// All rows as one result; `None` when none has a value.
fn merged<K: Key, V, A: Data>(cells: Cells<'_, K, A>, folding: &dyn Folding<K, V, A>) -> Option<Stamped<A>> {
    let mut values = cells.iter().filter_map(|cell| cell.value());
    let mut result = values.next()?.clone();
    for value in values {
        merge(&mut result, value, folding);
    }
    Some(result)
}

/// From how many slices on a window is made of blocks; below, merging one by one is cheaper.
const MANY_SLICES: usize = 8;
/// Up to how many rows of a key merging one by one is cheaper, however many slices there are.
const FEW_ROWS: usize = 6;

/// Blocks of slices, kept between calls for their memory.
pub(super) struct Scratch<A> {
    slices: Vec<Option<Stamped<A>>>,
    /// From the start of the block up to and with this slice.
    heads: Vec<Option<Stamped<A>>>,
    /// From this slice to the end of the block.
    tails: Vec<Option<Stamped<A>>>,
}

impl<A> Default for Scratch<A> {
    fn default() -> Self {
        Scratch {
            slices: Vec::new(),
            heads: Vec::new(),
            tails: Vec::new(),
        }
    }
}

impl<A: Data> Scratch<A> {
    fn fill<K: Key>(&mut self, layout: &Layout, cells: Cells<'_, K, A>, first: Timestamp, last: Timestamp, n: usize) {
        let end = last + layout.reach;
        let total = ((end - first) / layout.slice) as usize;
        self.slices.clear();
        self.slices.resize(total.next_multiple_of(n), None);
        let from = cells.partition_point(|cell| cell.sub < first);
        for cell in cells.iter().skip(from).take_while(|cell| cell.sub < end) {
            if let Some(place) = self.slices.get_mut(((cell.sub - first) / layout.slice) as usize) {
                *place = cell.value().cloned();
            }
        }
    }

    fn run_heads_and_tails<K, V>(&mut self, n: usize, folding: &dyn Folding<K, V, A>) {
        self.heads.clear();
        for (at, slice) in self.slices.iter().enumerate() {
            let head = match self.heads.last() {
                Some(before) if at % n != 0 => both(before.as_ref(), slice.as_ref(), folding),
                _ => slice.clone(),
            };
            self.heads.push(head);
        }
        // Built backwards, then turned round.
        self.tails.clear();
        for (at, slice) in self.slices.iter().enumerate().rev() {
            let tail = match self.tails.last() {
                Some(after) if at % n != n - 1 => both(slice.as_ref(), after.as_ref(), folding),
                _ => slice.clone(),
            };
            self.tails.push(tail);
        }
        self.tails.reverse();
    }

    /// The window whose first slice is at `at`.
    fn window<K, V>(&self, at: usize, n: usize, folding: &dyn Folding<K, V, A>) -> Option<Stamped<A>> {
        let tail = self.tails.get(at)?.as_ref();
        if at.is_multiple_of(n) {
            return tail.cloned();
        }
        both(tail, self.heads.get(at + n - 1)?.as_ref(), folding)
    }
}

fn both<K, V, A: Clone>(
    a: Option<&Stamped<A>>,
    b: Option<&Stamped<A>>,
    folding: &dyn Folding<K, V, A>,
) -> Option<Stamped<A>> {
    match (a, b) {
        (None, only) | (only, None) => only.cloned(),
        (Some(a), Some(b)) => {
            let mut result = a.clone();
            merge(&mut result, b, folding);
            Some(result)
        }
    }
}

fn merge<K, V, A>(into: &mut Stamped<A>, other: &Stamped<A>, folding: &dyn Folding<K, V, A>) {
    folding.merge(&mut into.value, &other.value);
    into.timestamp = into.timestamp.max(other.timestamp);
}
