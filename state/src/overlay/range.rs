//! Ordered reads: the engine merged with the rows it does not hold yet.

use super::Overlay;
use crate::codec::DecodeError;
use crate::engine::Engine;
use crate::error::Result;
use crate::schema::{Schema, Stamped, Sub};
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// Sees a row; says whether to go on.
pub type Visit<'a, S> = dyn FnMut(&<S as Schema>::Key, <S as Schema>::Sub, &Stamped<<S as Schema>::Value>) -> bool + 'a;

impl<S: Schema> Overlay<S> {
    /// Visits live rows with `from <= row key < to` (byte order of row keys; no upper end when `None`) until `visit`
    /// returns false. Sees uncommitted changes. Costs a pass over the keys in memory and an engine scan: not for every
    /// record.
    pub fn range(&self, engine: &dyn Engine, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_, S>) -> Result<()> {
        let mut start = Vec::new();
        if let Some(floor) = self.floor {
            floor.put(&mut start);
        }
        let from = if start.as_slice() > from { &start } else { from };
        let mut busy = self.busy_rows(from, to).into_iter().peekable();
        let mut go_on = true;
        let mut failed = None;
        engine.scan(self.family, from, to, &mut |row_key, row_value| {
            while go_on && let Some((_, row)) = busy.next_if(|(key, _)| key.as_slice() < row_key) {
                go_on = row.show(visit);
            }
            if let Some((_, row)) = go_on.then(|| busy.next_if(|(key, _)| key == row_key)).flatten() {
                go_on = row.show(visit);
            } else if go_on {
                match self.decode_row(row_key, row_value) {
                    Ok((sub, key, value)) => go_on = visit(&key, sub, &value),
                    Err(error) => {
                        failed = Some(error);
                        go_on = false;
                    }
                }
            }
            go_on
        })?;
        if let Some(error) = failed {
            return Err(self.corrupt(&error));
        }
        for (_, row) in busy {
            go_on = go_on && row.show(visit);
        }
        Ok(())
    }

    /// Visits all live rows, in row key order.
    pub fn all(&self, engine: &dyn Engine, visit: &mut Visit<'_, S>) -> Result<()> {
        self.range(engine, &[], None, visit)
    }

    /// One row by key, without taking it into memory: for look-ups from outside (queries, tests), not for records.
    pub fn fetch(&self, engine: &dyn Engine, key: &S::Key, sub: S::Sub) -> Result<Option<Stamped<S::Value>>> {
        if self.floor.is_some_and(|floor| sub < floor) {
            return Ok(None);
        }
        let hash = self.hasher.hash_one(key);
        if let Some(&at) = self.index.find(hash, |&at| self.groups[at as usize].key == *key) {
            let group = &self.groups[at as usize];
            if let Some(cell) = group.cells.iter().find(|cell| cell.sub == sub) {
                return Ok(cell.value.clone());
            }
            if group.loaded {
                return Ok(None);
            }
        }
        let mut result = Ok(None);
        engine.get_many(self.family, &[&self.row_key(key, sub)], &mut |_, found| {
            result = found.map(|bytes| self.schema.decode_value(bytes)).transpose();
        })?;
        result.map_err(|error| self.corrupt(&error))
    }

    /// The row key of a key and sub, for the bounds of [`Overlay::range`].
    pub fn row_key(&self, key: &S::Key, sub: S::Sub) -> Vec<u8> {
        let mut out = Vec::new();
        sub.put(&mut out);
        self.schema.key_codec().encode(key, &mut out);
        out
    }

    /// Rows that memory knows better than the engine. Clean rows are in the engine already.
    fn busy_rows(&self, from: &[u8], to: Option<&[u8]>) -> BTreeMap<Vec<u8>, BusyRow<'_, S>> {
        let mut rows = BTreeMap::new();
        for group in self.groups.iter().filter(|group| group.live && group.busy > 0) {
            for cell in group.cells.iter().filter(|cell| !cell.state.is_clean()) {
                let row_key = self.row_key(&group.key, cell.sub);
                if row_key.as_slice() >= from && to.is_none_or(|to| row_key.as_slice() < to) {
                    rows.insert(
                        row_key,
                        BusyRow {
                            key: &group.key,
                            sub: cell.sub,
                            value: cell.value.as_ref(),
                        },
                    );
                }
            }
        }
        rows
    }

    #[expect(clippy::type_complexity, reason = "three parts of a row, used once")]
    fn decode_row(&self, key: &[u8], value: &[u8]) -> Result<(S::Sub, S::Key, Stamped<S::Value>), DecodeError> {
        let (sub, key) = self.schema.decode_row_key(key)?;
        Ok((sub, key, self.schema.decode_value(value)?))
    }
}

struct BusyRow<'a, S: Schema> {
    key: &'a S::Key,
    sub: S::Sub,
    value: Option<&'a Stamped<S::Value>>,
}

impl<S: Schema> BusyRow<'_, S> {
    /// Shows the row unless it is deleted; says whether to go on.
    fn show(&self, visit: &mut Visit<'_, S>) -> bool {
        self.value.is_none_or(|value| visit(self.key, self.sub, value))
    }
}
