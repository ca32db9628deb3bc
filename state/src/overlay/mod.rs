//! The write-back overlay: one hash table of typed rows in front of the engine, for every kind of store.
//!
//! RocksDB is not on the path of a record. A batch asks for the [`Slot`] of each row's key, loads what is missing with one
//! sorted look-up, then reads and changes rows in memory. A commit *seals* the dirty rows: they are encoded once, for the
//! changelog and for the engine, while work goes on. When the commit succeeded they are written and *acknowledged*; when it
//! failed the overlay *rolls back* by forgetting them, for the engine never holds what is not committed (CO-2).
//!
//! ```text
//! absent --slot--> placeholder --load_missing--> clean --upsert--> dirty --seal--> sealed --acked--> clean --evict--> absent
//!                                                                   ^--- upsert ---'
//! ```
//!
//! What memory knows about the engine, so that new keys cost no look-up when they need none:
//! - a *loaded* key has all its live rows in memory;
//! - every row with `sub >= complete_since` is in memory, whatever its key;
//! - `stored` holds every sub that has a row in the engine (and perhaps some that have none any more).
//!
//! So a new key is looked up under the stored subs below `complete_since` only (`cold`), and on a store that was never
//! evicted not at all.

mod evict;
mod group;
mod load;
mod range;
mod seal;
#[cfg(test)]
mod tests;

pub use group::Cell;
pub use range::Visit;
pub(crate) use seal::sort_head;
pub use seal::{LogRow, Sealed};

use crate::data::{HeapBytes, Key};
use crate::engine::Family;
use crate::schema::{Schema, Stamped, Sub};
use foldhash::fast::FixedState;
use group::{Group, Held};
use hashbrown::{Equivalent, HashTable};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};

/// The place of a key in the overlay. Valid until the next [`Overlay::evict`], [`Overlay::expire`],
/// [`Overlay::acked`] or [`Overlay::rollback`]: a batch asks anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    #[inline]
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Counts since the overlay was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys asked for.
    pub gets: u64,
    /// Of these, new to memory.
    pub misses: u64,
    /// Rows changed.
    pub puts: u64,
    /// Rows looked up in the engine.
    pub lookups: u64,
    /// Rows sealed.
    pub sealed: u64,
    /// Keys evicted.
    pub evicted: u64,
}

/// Typed rows of one store in memory; see the module's page.
pub struct Overlay<S: Schema> {
    schema: S,
    name: String,
    family: Family,
    index: HashTable<u32>,
    hasher: FixedState,
    groups: Vec<Group<S>>,
    free: Vec<u32>,
    dirty: Vec<Slot>,
    missing: Vec<Slot>,
    complete_since: Option<S::Sub>,
    stored: BTreeSet<S::Sub>,
    /// `stored` below `complete_since` and not expired: where a new key must be looked up.
    cold: Vec<S::Sub>,
    /// Rows below are expired; what the engine knows of that.
    floor: Option<S::Sub>,
    floor_acked: Option<S::Sub>,
    epoch: u32,
    held: Held<S::Sub>,
    hand: usize,
    stats: Stats,
}

impl<S: Schema> Overlay<S> {
    /// An overlay over an empty family. Call [`Overlay::open`] when the family may hold rows. The name is for errors.
    pub fn new(schema: S, name: &str, family: Family) -> Self {
        Overlay {
            schema,
            name: name.to_owned(),
            family,
            index: HashTable::new(),
            // Not random: nothing ever iterates in hash order, and a run must be repeatable.
            hasher: FixedState::with_seed(7),
            groups: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            missing: Vec::new(),
            complete_since: Some(S::Sub::LOWEST),
            stored: BTreeSet::new(),
            cold: Vec::new(),
            floor: None,
            floor_acked: None,
            epoch: 0,
            held: Held {
                heap: 0,
                dirty: 0,
                oldest: S::Sub::LOWEST,
            },
            hand: 0,
            stats: Stats::default(),
        }
    }

    /// How its keys and values become bytes.
    pub fn schema(&self) -> &S {
        &self.schema
    }

    /// The place of a key; a key that is new to memory becomes a placeholder until [`Overlay::load_missing`].
    ///
    /// `own` makes the key that is kept; it must not hold on to a fetch buffer ([`Key::detach`]).
    #[inline]
    pub fn slot<Q>(&mut self, key: &Q, own: impl FnOnce(&Q) -> S::Key) -> Slot
    where
        Q: Hash + Equivalent<S::Key> + ?Sized,
    {
        self.stats.gets += 1;
        let hash = self.hasher.hash_one(key);
        let groups = &self.groups;
        match self.index.find(hash, |&at| key.equivalent(&groups[at as usize].key)) {
            Some(&at) => {
                if !self.groups[at as usize].loaded {
                    self.queue(Slot(at));
                }
                Slot(at)
            }
            None => self.insert(hash, own(key)),
        }
    }

    /// The place of an owned key: [`Overlay::slot`] with [`Key::detach`].
    #[inline]
    pub fn slot_of(&mut self, key: &S::Key) -> Slot {
        self.slot(key, Key::detach)
    }

    fn insert(&mut self, hash: u64, key: S::Key) -> Slot {
        self.stats.misses += 1;
        self.held.heap += key.heap_bytes();
        let loaded = self.cold.is_empty();
        let group = Group {
            key,
            cells: SmallVec::new(),
            busy: 0,
            live: true,
            loaded,
            queued: false,
            listed: false,
            used: true,
        };
        let at = match self.free.pop() {
            Some(at) => {
                self.groups[at as usize] = group;
                at
            }
            None => {
                self.groups.push(group);
                (self.groups.len() - 1) as u32
            }
        };
        let (hasher, groups) = (&self.hasher, &self.groups);
        self.index
            .insert_unique(hash, at, |&other| hasher.hash_one(&groups[other as usize].key));
        if !loaded {
            self.queue(Slot(at));
        }
        Slot(at)
    }

    fn queue(&mut self, slot: Slot) {
        let group = &mut self.groups[slot.index()];
        if !group.queued {
            group.queued = true;
            self.missing.push(slot);
        }
    }

    /// The key at a place.
    pub fn key(&self, slot: Slot) -> &S::Key {
        &self.groups[slot.index()].key
    }

    /// The rows in memory at a place, ordered by sub: all live rows of the key once it is loaded.
    pub fn cells(&self, slot: Slot) -> &[Cell<S>] {
        &self.groups[slot.index()].cells
    }

    /// The value of a row.
    #[inline]
    pub fn get(&self, slot: Slot, sub: &S::Sub) -> Option<&Stamped<S::Value>> {
        let group = &self.groups[slot.index()];
        debug_assert!(!group.queued, "load_missing comes before get");
        let at = group.cells.binary_search_by(|cell| cell.sub.cmp(sub)).ok()?;
        group.cells[at].value.as_ref()
    }

    /// Changes one row and marks it dirty. `change` sees `None` when there is no such row; leaving `None` deletes it (and
    /// does nothing when there was none).
    #[inline]
    pub fn upsert<R>(
        &mut self,
        slot: Slot,
        sub: S::Sub,
        change: impl FnOnce(&mut Option<Stamped<S::Value>>, &mut S::Mark) -> R,
    ) -> R {
        self.stats.puts += 1;
        let group = &mut self.groups[slot.index()];
        debug_assert!(!group.queued, "load_missing comes before upsert");
        debug_assert!(
            self.floor.is_none_or(|floor| sub >= floor),
            "an expired row is not written"
        );
        group.used = true;
        let at = group.place(sub, &mut self.held);
        let cell = &mut group.cells[at];
        let absent = cell.value.is_none();
        let result = change(&mut cell.value, &mut cell.mark);
        if !cell.state.is_dirty() {
            if absent && cell.value.is_none() && cell.state.is_clean() {
                group.cells.remove(at);
                return result;
            }
            group.busy += u32::from(cell.state.is_clean());
            cell.state = cell.state.dirtied();
            self.held.dirty += cell.dirty_bytes(&group.key);
            if !group.listed {
                group.listed = true;
                self.dirty.push(slot);
            }
        }
        result
    }

    /// Deletes a row.
    pub fn remove(&mut self, slot: Slot, sub: S::Sub) {
        self.upsert(slot, sub, |value, _| *value = None);
    }

    /// Marks a row dirty as it is, so that it is written again, as a deletion when there is none (CO-4).
    pub fn touch(&mut self, slot: Slot, sub: S::Sub) {
        let group = &mut self.groups[slot.index()];
        let at = group.place(sub, &mut self.held);
        let cell = &mut group.cells[at];
        group.busy += u32::from(cell.state.is_clean());
        if !cell.state.is_dirty() {
            cell.state = cell.state.dirtied();
            self.held.dirty += cell.dirty_bytes(&group.key);
        }
        if !group.listed {
            group.listed = true;
            self.dirty.push(slot);
        }
    }

    /// The notes of a place's rows, to be changed without making the rows dirty.
    pub fn marks(&mut self, slot: Slot) -> impl Iterator<Item = (S::Sub, &mut S::Mark)> {
        self.groups[slot.index()]
            .cells
            .iter_mut()
            .map(|cell| (cell.sub, &mut cell.mark))
    }

    /// The keys with rows that changed since the last seal, in the order of their first change.
    pub fn dirty(&self) -> &[Slot] {
        &self.dirty
    }

    /// All keys in memory, in no particular but repeatable order.
    pub fn groups(&self) -> impl Iterator<Item = Slot> {
        self.groups
            .iter()
            .enumerate()
            .filter(|(_, group)| group.live)
            .map(|(at, _)| Slot(at as u32))
    }

    /// Whether every live row with a sub not below this is in memory, whatever its key.
    pub fn is_complete_since(&self, sub: &S::Sub) -> bool {
        self.complete_since.is_some_and(|since| since <= *sub)
    }

    /// Keys in memory.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no key is in memory.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn refresh_cold(&mut self) {
        let floor = self.floor.unwrap_or(S::Sub::LOWEST);
        self.cold.clear();
        let below = |sub: &&S::Sub| self.complete_since.is_none_or(|since| **sub < since);
        self.cold.extend(self.stored.range(floor..).take_while(below));
    }
}
