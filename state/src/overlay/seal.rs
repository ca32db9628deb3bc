//! The end of an epoch: dirty rows are encoded once, then acknowledged or forgotten.

use super::group::CellState;
use super::{Overlay, Slot};
use crate::Timestamp;
use crate::engine::Family;
use crate::schema::{Schema, Sub, split_stamp};

/// The dirty rows of one store at a commit, encoded once and sorted by row key: the same bytes go to the changelog and,
/// after the commit, to the engine.
#[derive(Debug)]
pub struct Sealed {
    epoch: u32,
    family: Family,
    arena: Vec<u8>,
    rows: Vec<Row>,
    slots: Vec<Slot>,
    /// Rows below this key have expired, and whether the engine holds any.
    floor: Option<Vec<u8>>,
    expires: bool,
    log_key: fn(&[u8], &mut Vec<u8>),
}

/// Where a row lies in the arena: `[key][value]`.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// The first bytes of the key, so that most comparisons need no look into the arena.
    head: u128,
    key: usize,
    value: usize,
    end: usize,
    deleted: bool,
}

/// A row as it stands in the changelog topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRow<'a> {
    /// Key in Kafka Streams' layout.
    pub key: &'a [u8],
    /// Plain value; `None` is a deletion.
    pub value: Option<&'a [u8]>,
    /// Record timestamp. A deletion has none: the writer stamps it with the task's stream time.
    pub timestamp: Option<Timestamp>,
}

impl Sealed {
    /// The rows for the engine, ascending; `None` deletes.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.rows
            .iter()
            .map(|row| (self.slice(row.key, row.value), self.value(row)))
    }

    /// Visits the rows for the changelog.
    pub fn try_each_log_row<E>(&self, mut visit: impl FnMut(LogRow<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut key = Vec::new();
        for (row_key, row_value) in self.rows() {
            key.clear();
            (self.log_key)(row_key, &mut key);
            let stamped = row_value.and_then(split_stamp);
            visit(LogRow {
                key: &key,
                value: stamped.map(|(_, value)| value),
                timestamp: stamped.map(|(timestamp, _)| timestamp),
            })?;
        }
        Ok(())
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.expires
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The family the rows belong to.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Everything below this row key is to be deleted.
    pub fn expired_below(&self) -> Option<&[u8]> {
        self.floor.as_deref().filter(|_| self.expires)
    }

    fn value(&self, row: &Row) -> Option<&[u8]> {
        (!row.deleted).then(|| self.slice(row.value, row.end))
    }

    fn slice(&self, from: usize, to: usize) -> &[u8] {
        &self.arena[from..to]
    }
}

/// The first sixteen bytes, padded with zeros: orders as the bytes do, but for ties.
#[inline]
pub(crate) fn sort_head(key: &[u8]) -> u128 {
    if let Some(whole) = key.first_chunk() {
        return u128::from_be_bytes(*whole);
    }
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(key) {
        *to = *from;
    }
    u128::from_be_bytes(head)
}

fn log_key_of<U: Sub>(row_key: &[u8], out: &mut Vec<u8>) {
    // Row keys are made by `seal` below, so they always split.
    if let Some((sub, key)) = U::split(row_key) {
        out.extend_from_slice(key);
        sub.put_log(out);
    }
}

impl<S: Schema> Overlay<S> {
    /// Ends the epoch: encodes every dirty row. Work goes on meanwhile; several epochs may be sealed and not yet
    /// acknowledged, and are acknowledged in order.
    pub fn seal(&mut self) -> Sealed {
        self.epoch = self.epoch % (CellState::DIRTY - 1) + 1;
        let slots = std::mem::take(&mut self.dirty);
        self.held.dirty = 0;
        let mut sealed = Sealed {
            epoch: self.epoch,
            family: self.family,
            arena: Vec::new(),
            rows: Vec::with_capacity(slots.len()),
            slots,
            floor: self.floor.map(|floor| {
                let mut key = Vec::new();
                floor.put(&mut key);
                key
            }),
            expires: self
                .stored
                .first()
                .is_some_and(|lowest| self.floor.is_some_and(|floor| *lowest < floor)),
            log_key: log_key_of::<S::Sub>,
        };
        let mut key = Vec::new();
        for n in 0..sealed.slots.len() {
            let slot = sealed.slots[n];
            self.seal_group(slot, &mut key, &mut sealed);
        }
        let arena = &sealed.arena;
        let rest = |row: &Row| &arena[row.key..row.value];
        sealed
            .rows
            .sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| rest(a).cmp(rest(b))));
        self.stats.sealed += sealed.rows.len() as u64;
        self.note_stored(&sealed);
        sealed
    }

    fn seal_group(&mut self, slot: Slot, key: &mut Vec<u8>, sealed: &mut Sealed) {
        let group = &mut self.groups[slot.index()];
        group.listed = false;
        key.clear();
        self.schema.key_codec().encode(&group.key, key);
        for cell in group.cells.iter_mut().filter(|cell| cell.state.is_dirty()) {
            cell.state = CellState::sealed(sealed.epoch);
            cell.mark = S::Mark::default();
            let arena = &mut sealed.arena;
            let from = arena.len();
            cell.sub.put(arena);
            arena.extend_from_slice(key);
            let value = arena.len();
            let written = cell
                .value
                .as_ref()
                .is_some_and(|row| self.schema.encode_value(row, arena));
            cell.measure(arena.len() - value, &mut self.held.heap);
            sealed.rows.push(Row {
                head: sort_head(&arena[from..value]),
                key: from,
                value,
                end: arena.len(),
                deleted: !written,
            });
        }
    }

    /// The sealed rows are committed and in the engine: they become clean.
    pub fn acked(&mut self, sealed: &Sealed) {
        self.note_expired(sealed);
        for &slot in &sealed.slots {
            // A key whose rows have all expired since is gone, and its place may be too.
            let Some(group) = self.groups.get_mut(slot.index()) else {
                continue;
            };
            let mut busy = 0;
            group.cells.retain(|cell| {
                cell.state = cell.state.acked(sealed.epoch);
                busy += u32::from(!cell.state.is_clean());
                !cell.state.is_clean() || cell.value.is_some()
            });
            group.busy = busy;
            self.drop_if_empty(slot);
        }
    }

    /// Rows of these subs will be in the engine, or their commit fails and nothing is lost by looking there.
    fn note_stored(&mut self, sealed: &Sealed) {
        let mut last = None;
        for (key, _) in sealed.rows() {
            let sub = S::Sub::split(key).map(|(sub, _)| sub);
            if sub != last {
                last = sub;
                self.stored.extend(sub);
            }
        }
        self.refresh_cold();
    }

    /// The engine holds nothing below the floor any more.
    fn note_expired(&mut self, sealed: &Sealed) {
        if let Some((floor, _)) = sealed.floor.as_deref().and_then(S::Sub::split) {
            self.floor_acked = Some(floor);
            if sealed.expires {
                self.stored = self.stored.split_off(&floor);
                self.refresh_cold();
            }
        }
    }

    /// The commit failed: forgets every row of the open epoch and of all sealed ones. The engine holds the committed truth.
    pub fn rollback(&mut self) {
        self.dirty.clear();
        self.held.dirty = 0;
        self.missing.clear();
        let expired = self.floor != self.floor_acked;
        if expired {
            // Committed rows below the floor live again, and memory has dropped them.
            self.complete_since = self
                .complete_since
                .zip(self.floor)
                .map(|(since, floor)| since.max(floor));
            self.floor = self.floor_acked;
        }
        let mut highest = None;
        for at in 0..self.groups.len() {
            let group = &mut self.groups[at];
            if !group.live {
                continue;
            }
            group.loaded &= !expired;
            if group.busy > 0 || group.listed || group.queued {
                highest = highest.max(group.cells.last().map(|cell| cell.sub));
                self.drop_group(Slot(at as u32));
            }
        }
        self.forget_up_to(highest);
        self.refresh_cold();
    }
}
