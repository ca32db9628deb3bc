//! The engine without a disk: for tests, the test driver and small state; also the model the others are held to.

use super::{Engine, Family, RowRef, SortedRows, WriteSet};
use crate::error::Result;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

type Rows = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Rows in ordered maps. A clone is another handle on the same rows, so it can stand for a disk that outlives a task.
/// Families need not be declared.
#[derive(Debug, Clone, Default)]
pub struct MemoryEngine {
    families: Arc<RwLock<Vec<Rows>>>,
}

impl MemoryEngine {
    /// An engine without rows.
    pub fn new() -> Self {
        MemoryEngine::default()
    }

    /// A copy of the rows that later writes do not touch.
    pub fn snapshot(&self) -> MemoryEngine {
        MemoryEngine {
            families: Arc::new(RwLock::new(self.read().clone())),
        }
    }

    /// Goes back to the rows of a snapshot; all handles see it. With [`MemoryEngine::snapshot`] this plays a crash.
    pub fn reset_to(&self, snapshot: &MemoryEngine) {
        let rows = snapshot.read().clone();
        *self.writer() = rows;
    }

    // A panic elsewhere while the lock was held leaves whole rows: maps are changed row by row.
    fn read(&self) -> RwLockReadGuard<'_, Vec<Rows>> {
        self.families.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> RwLockWriteGuard<'_, Vec<Rows>> {
        self.families.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rows_of(families: &mut Vec<Rows>, family: Family) -> &mut Rows {
    let index = usize::from(family.0);
    if families.len() <= index {
        families.resize_with(index + 1, Rows::new);
    }
    &mut families[index]
}

/// What `BTreeMap::range` takes; `None` where it would panic, on a range that ends before it starts.
type Between<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

fn between<'a>(from: &'a [u8], to: Option<&'a [u8]>) -> Option<Between<'a>> {
    let end = to.map_or(Bound::Unbounded, Bound::Excluded);
    to.is_none_or(|to| from < to).then_some((Bound::Included(from), end))
}

fn apply(families: &mut Vec<Rows>, family: Family, (key, value): RowRef<'_>) {
    let rows = rows_of(families, family);
    match value {
        Some(value) => drop(rows.insert(key.into(), value.into())),
        None => drop(rows.remove(key)),
    }
}

impl Engine for MemoryEngine {
    fn get_many(&self, family: Family, sorted: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        let families = self.read();
        let rows = families.get(usize::from(family.0));
        for (index, key) in sorted.iter().enumerate() {
            found(index, rows.and_then(|rows| rows.get(*key)).map(|value| &**value));
        }
        Ok(())
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let families = self.read();
        if let (Some(rows), Some(range)) = (families.get(usize::from(family.0)), between(from, to)) {
            rows.range::<[u8], _>(range).all(|(key, value)| visit(key, value));
        }
        Ok(())
    }

    fn scan_back(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let families = self.read();
        if let (Some(rows), Some(range)) = (families.get(usize::from(family.0)), between(from, to)) {
            rows.range::<[u8], _>(range).rev().all(|(key, value)| visit(key, value));
        }
        Ok(())
    }

    fn write(&mut self, set: &WriteSet<'_>) -> Result<()> {
        let mut families = self.writer();
        for (family, from, to) in &set.delete_ranges {
            let rows = rows_of(&mut families, *family);
            if let Some(range) = between(from, Some(to)) {
                let dead: Vec<_> = rows.range::<[u8], _>(range).map(|(key, _)| key.clone()).collect();
                dead.iter().for_each(|key| drop(rows.remove(key)));
            }
        }
        for (family, row) in &set.rows {
            apply(&mut families, *family, *row);
        }
        Ok(())
    }

    fn ingest(&mut self, family: Family, rows: &mut SortedRows<'_>, meta: &[(Family, RowRef<'_>)]) -> Result<()> {
        let mut families = self.writer();
        rows(&mut |key, value| {
            apply(&mut families, family, (key, value));
            Ok(())
        })?;
        for (family, row) in meta {
            apply(&mut families, *family, *row);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn unflushed_bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Subject, check_engine, check_stores};
    use crate::engine::faulty::{Faults, FaultyEngine, VolatileEngine};

    /// Engines by a maker; memory needs no reopening.
    struct Made<F>(F);

    impl<F: Fn() -> Box<dyn Engine>> Subject for Made<F> {
        fn fresh(&mut self) -> Box<dyn Engine> {
            (self.0)()
        }

        fn reopen(&mut self, engine: Box<dyn Engine>) -> Box<dyn Engine> {
            engine
        }
    }

    #[test]
    fn conforms() {
        let mut memory = Made(|| Box::new(MemoryEngine::new()) as _);
        check_engine(&mut memory, 3);
        check_stores(&mut memory, 3);
    }

    #[test]
    fn its_wrappers_for_tests_conform() {
        let mut faulty = Made(|| Box::new(FaultyEngine::new(Box::new(VolatileEngine::new()), &Faults::none())) as _);
        check_engine(&mut faulty, 4);
        check_stores(&mut faulty, 4);
    }
}
