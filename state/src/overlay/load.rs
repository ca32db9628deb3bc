//! From the engine into memory: missing keys of a batch, and ranges of subs.

use super::group::CellState;
use super::{Overlay, Slot};
use crate::codec::DecodeError;
use crate::engine::Engine;
use crate::error::{Result, StateError};
use crate::schema::{Schema, Sub};

/// One row to look up: where its key lies in the arena, and whose it is.
struct Lookup<U> {
    from: usize,
    to: usize,
    slot: Slot,
    sub: U,
}

impl<S: Schema> Overlay<S> {
    /// Starts afresh over what the engine holds: forgets all rows in memory and learns which subs are stored.
    pub fn open(&mut self, engine: &dyn Engine) -> Result<()> {
        self.clear();
        let mut from = Some(S::Sub::LOWEST);
        let mut start = Vec::new();
        // One seek per sub: subs stand first in row keys.
        while let Some(low) = from {
            start.clear();
            low.put(&mut start);
            let mut first = None;
            engine.scan(self.family, &start, None, &mut |key, _| {
                first = Some(S::Sub::split(key).map(|(sub, _)| sub).ok_or_else(|| short_key(key)));
                false
            })?;
            from = match first.transpose().map_err(|error| self.corrupt(&error))? {
                Some(sub) => {
                    self.stored.insert(sub);
                    sub.next()
                }
                None => None,
            };
        }
        self.complete_since = match self.stored.last() {
            Some(last) => last.next(),
            None => Some(S::Sub::LOWEST),
        };
        self.refresh_cold();
        Ok(())
    }

    /// Loads all placeholders: one sorted look-up for the whole batch. Cheap when nothing is missing.
    pub fn load_missing(&mut self, engine: &dyn Engine) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let (arena, lookups) = self.lookups();
        let keys: Vec<&[u8]> = lookups.iter().map(|lookup| &arena[lookup.from..lookup.to]).collect();
        self.stats.lookups += keys.len() as u64;
        let (schema, groups, held) = (&self.schema, &mut self.groups, &mut self.held);
        let mut failed = None;
        engine.get_many(self.family, &keys, &mut |n, found| {
            let Some(bytes) = found else { return };
            let Lookup { slot, sub, .. } = lookups[n];
            let group = &mut groups[slot.index()];
            let at = group.place(sub, held);
            let cell = &mut group.cells[at];
            // A row that is already in memory is newer.
            if cell.value.is_none() && cell.state == CellState::CLEAN {
                match schema.decode_value(bytes) {
                    Ok(value) => cell.value = Some(value),
                    Err(error) => failed = Some(error),
                }
                cell.measure(bytes.len(), &mut held.heap);
            }
        })?;
        if let Some(error) = failed {
            return Err(self.corrupt(&error));
        }
        for slot in self.missing.drain(..) {
            let group = &mut self.groups[slot.index()];
            group.loaded = true;
            group.queued = false;
        }
        Ok(())
    }

    /// The row keys of all placeholders, sorted.
    fn lookups(&self) -> (Vec<u8>, Vec<Lookup<S::Sub>>) {
        let mut arena = Vec::new();
        let mut lookups = Vec::with_capacity(self.missing.len() * self.cold.len());
        let mut key = Vec::new();
        for &slot in &self.missing {
            key.clear();
            self.schema.key_codec().encode(&self.groups[slot.index()].key, &mut key);
            for &sub in &self.cold {
                let from = arena.len();
                sub.put(&mut arena);
                arena.extend_from_slice(&key);
                lookups.push(Lookup {
                    from,
                    to: arena.len(),
                    slot,
                    sub,
                });
            }
        }
        lookups.sort_unstable_by(|a, b| arena[a.from..a.to].cmp(&arena[b.from..b.to]));
        (arena, lookups)
    }

    /// Brings every live row with `from <= sub < to` (no upper end when `None`) into memory, whatever its key: before a
    /// window is closed, or to warm up. Scans the engine only where memory is not complete already.
    pub fn load_range(&mut self, engine: &dyn Engine, from: S::Sub, to: Option<S::Sub>) -> Result<()> {
        self.load_within(engine, from, to, usize::MAX)
    }

    /// As [`Overlay::load_range`], but stops when memory holds `limit` bytes.
    fn load_within(&mut self, engine: &dyn Engine, from: S::Sub, to: Option<S::Sub>, limit: usize) -> Result<()> {
        let from = self.floor.map_or(from, |floor| from.max(floor));
        let reaches_up = match (to, self.complete_since) {
            (None, _) => true,
            (Some(to), Some(since)) => to >= since,
            (Some(_), None) => false,
        };
        let end = if reaches_up { self.complete_since } else { to };
        if end.is_some_and(|end| end <= from) {
            return Ok(());
        }
        let any = self
            .stored
            .range(from..)
            .next()
            .is_some_and(|sub| end.is_none_or(|end| *sub < end));
        let all = !any || self.scan_in(engine, from, end, limit)?;
        if reaches_up && all {
            self.complete_since = Some(from);
            self.refresh_cold();
            if self.cold.is_empty() {
                self.groups.iter_mut().for_each(|group| group.loaded = group.live);
            }
        }
        Ok(())
    }

    /// Says whether it came to the end.
    fn scan_in(&mut self, engine: &dyn Engine, from: S::Sub, end: Option<S::Sub>, limit: usize) -> Result<bool> {
        let (mut low, mut high) = (Vec::new(), Vec::new());
        from.put(&mut low);
        if let Some(end) = end {
            end.put(&mut high);
        }
        let (mut failed, mut full) = (None, false);
        let family = self.family;
        engine.scan(family, &low, end.is_some().then_some(&high[..]), &mut |key, value| {
            full = self.mem() >= limit;
            let result = if full { Ok(()) } else { self.take_in(key, value) };
            let go_on = result.is_ok() && !full;
            failed = result.err();
            go_on
        })?;
        match failed {
            Some(error) => Err(self.corrupt(&error)),
            None => Ok(!full),
        }
    }

    /// Takes one scanned row into memory, unless memory knows better.
    fn take_in(&mut self, row_key: &[u8], row_value: &[u8]) -> Result<(), DecodeError> {
        use std::hash::BuildHasher;
        let (sub, key) = self.schema.decode_row_key(row_key)?;
        let hash = self.hasher.hash_one(&key);
        let groups = &self.groups;
        let known = self.index.find(hash, |&at| groups[at as usize].key == key).copied();
        let at = match known {
            Some(at) if self.groups[at as usize].loaded => return Ok(()),
            Some(at) => at,
            None => {
                let Slot(at) = self.insert_unqueued(hash, key);
                at
            }
        };
        let group = &mut self.groups[at as usize];
        let place = group.place(sub, &mut self.held);
        let cell = &mut group.cells[place];
        if cell.value.is_none() && cell.state == CellState::CLEAN {
            cell.value = Some(self.schema.decode_value(row_value)?);
            cell.measure(row_value.len(), &mut self.held.heap);
        }
        // Where a key has one row only, that row is all there is to load.
        group.loaded |= S::Sub::LOWEST.next().is_none() && !group.queued;
        Ok(())
    }

    /// A placeholder that is looked up only when it is asked for.
    fn insert_unqueued(&mut self, hash: u64, key: S::Key) -> Slot {
        let slot = self.insert(hash, key);
        if let Some(last) = self.missing.pop_if(|last| *last == slot) {
            self.groups[last.index()].queued = false;
        }
        slot
    }

    pub(super) fn corrupt(&self, error: &DecodeError) -> StateError {
        StateError::Corrupt(format!(
            "store '{}': a stored row cannot be read: it {error}; rebuild the store from its changelog, and check that its \
             codecs are those it was written with",
            self.name
        ))
    }
}

fn short_key(key: &[u8]) -> DecodeError {
    DecodeError::Malformed(format!(
        "has a key of {} bytes, too short for its kind of store",
        key.len()
    ))
}

impl<S: Schema> Overlay<S> {
    /// Loads the newest rows until about `bytes` are in use: after a restart, so that the first records need no look-ups.
    pub fn warm(&mut self, engine: &dyn Engine, bytes: usize) -> Result<()> {
        while self.mem() < bytes
            && let Some(&sub) = self.cold.last()
        {
            self.load_within(engine, sub, None, bytes)?;
        }
        Ok(())
    }

    /// Marks rows to be written again as they are, as deletions where there are none: keys found in the changelog beyond
    /// the committed position (CO-4).
    pub fn rewrite(&mut self, engine: &dyn Engine, row_keys: &[Vec<u8>]) -> Result<()> {
        let mut touched = Vec::with_capacity(row_keys.len());
        for row_key in row_keys {
            let (sub, key) = self
                .schema
                .decode_row_key(row_key)
                .map_err(|error| self.corrupt(&error))?;
            touched.push((self.slot_of(&key), sub));
        }
        self.load_missing(engine)?;
        for (slot, sub) in touched {
            self.touch(slot, sub);
        }
        Ok(())
    }
}
