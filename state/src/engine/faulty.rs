//! Engines that fail on purpose, for crash tests here and in other rooms.
//!
//! [`FaultyEngine`] wraps any engine and fails chosen writes: refused as on a full disk, or the process dies before or after
//! the write took effect, or in the middle of a bulk load. [`VolatileEngine`] is a disk that forgets what was not flushed, as
//! RocksDB without a write-ahead log does.

use super::{Engine, Family, MemoryEngine, RowRef, RowSink, SortedRows, WriteSet};
use crate::error::{Result, StateError};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written and the caller gets this error; later calls go on.
    Refuse(StateError),
    /// The process dies before anything is written: every later call fails.
    DieBefore,
    /// The process dies after everything is written, before the caller hears of it.
    DieAfter,
    /// A bulk load dies when it has taken in this many rows. A write is atomic: it dies before.
    DieWithin(usize),
}

/// Which writes fail how. A clone is another handle on the same list, for the test to hold.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    list: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    /// Writes, loads and flushes so far.
    calls: u64,
    planned: BTreeMap<u64, Fault>,
    full: bool,
    dead: bool,
}

impl Faults {
    /// Nothing fails.
    pub fn none() -> Self {
        Faults::default()
    }

    /// Lets a write, load or flush fail; the first is number 0.
    pub fn plan(&self, call: u64, fault: Fault) {
        self.lock().planned.insert(call, fault);
    }

    /// Fills or clears the disk: while it is full every write is refused with [`StateError::Retry`].
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Writes, loads and flushes so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_alive(&self) -> Result<()> {
        if self.is_dead() { Err(died()) } else { Ok(()) }
    }

    /// What is planned for the next write.
    fn next(&self) -> Result<Option<Fault>> {
        self.check_alive()?;
        let mut list = self.lock();
        let call = list.calls;
        list.calls += 1;
        if list.full {
            return Err(StateError::full("writing to the disk under test failed"));
        }
        match list.planned.remove(&call) {
            Some(Fault::Refuse(error)) => Err(error),
            planned => Ok(planned),
        }
    }

    fn die(&self) -> StateError {
        self.lock().dead = true;
        died()
    }
}

fn died() -> StateError {
    StateError::Fatal("the process under test is dead".into())
}

/// An engine whose writes fail as planned.
pub struct FaultyEngine {
    inner: Box<dyn Engine>,
    faults: Faults,
    scratch: Option<PathBuf>,
    scratch_files: Cell<u64>,
}

impl FaultyEngine {
    /// Wraps an engine.
    pub fn new(inner: Box<dyn Engine>, faults: &Faults) -> Self {
        FaultyEngine {
            inner,
            faults: faults.clone(),
            scratch: None,
            scratch_files: Cell::new(0),
        }
    }

    /// Lets files be put aside in this directory, so that a restore does it.
    pub fn with_scratch(mut self, directory: &Path) -> Self {
        self.scratch = Some(directory.to_owned());
        self
    }

    fn run(&mut self, call: impl FnOnce(&mut dyn Engine) -> Result<()>) -> Result<()> {
        match self.faults.next()? {
            None => call(&mut *self.inner),
            Some(Fault::DieAfter) => {
                call(&mut *self.inner)?;
                Err(self.faults.die())
            }
            Some(_) => Err(self.faults.die()),
        }
    }
}

impl Engine for FaultyEngine {
    fn get_many(&self, family: Family, sorted: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        self.faults.check_alive()?;
        self.inner.get_many(family, sorted, found)
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        self.faults.check_alive()?;
        self.inner.scan(family, from, to, visit)
    }

    fn scan_back(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        self.faults.check_alive()?;
        self.inner.scan_back(family, from, to, visit)
    }

    fn write(&mut self, set: &WriteSet<'_>) -> Result<()> {
        self.run(|engine| engine.write(set))
    }

    fn ingest(&mut self, family: Family, rows: &mut SortedRows<'_>, meta: &[(Family, RowRef<'_>)]) -> Result<()> {
        match self.faults.next()? {
            None => self.inner.ingest(family, rows, meta),
            Some(Fault::DieAfter) => {
                self.inner.ingest(family, rows, meta)?;
                Err(self.faults.die())
            }
            Some(Fault::DieWithin(n)) => {
                let mut left = n;
                let mut some = |sink: &mut RowSink<'_>| {
                    rows(&mut |key, value| match left.checked_sub(1) {
                        Some(fewer) => {
                            left = fewer;
                            sink(key, value)
                        }
                        None => Ok(()),
                    })
                };
                self.inner.ingest(family, &mut some, &[])?;
                Err(self.faults.die())
            }
            Some(_) => Err(self.faults.die()),
        }
    }

    fn scratch_file(&self) -> Option<PathBuf> {
        let (scratch, n) = (self.scratch.as_ref()?, self.scratch_files.get());
        self.scratch_files.set(n + 1);
        Some(scratch.join(format!("{n}.run")))
    }

    fn flush(&mut self) -> Result<()> {
        self.run(|engine| engine.flush())
    }

    fn unflushed_bytes(&self) -> u64 {
        self.inner.unflushed_bytes()
    }
}

/// A memory engine that forgets what was not flushed when it crashes. A clone is another handle.
#[derive(Debug, Clone, Default)]
pub struct VolatileEngine {
    now: MemoryEngine,
    durable: MemoryEngine,
}

impl VolatileEngine {
    /// An engine without rows.
    pub fn new() -> Self {
        VolatileEngine::default()
    }

    /// The power is cut: what was not flushed is gone.
    pub fn crash(&self) {
        self.now.reset_to(&self.durable);
    }
}

impl Engine for VolatileEngine {
    fn get_many(&self, family: Family, sorted: &[&[u8]], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        self.now.get_many(family, sorted, found)
    }

    fn scan(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        self.now.scan(family, from, to, visit)
    }

    fn scan_back(
        &self,
        family: Family,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        self.now.scan_back(family, from, to, visit)
    }

    fn write(&mut self, set: &WriteSet<'_>) -> Result<()> {
        self.now.write(set)
    }

    fn ingest(&mut self, family: Family, rows: &mut SortedRows<'_>, meta: &[(Family, RowRef<'_>)]) -> Result<()> {
        // A loaded file is durable at once; the meta rows are a write like others.
        let (durable, now) = (&mut self.durable, &mut self.now);
        let mut both = |sink: &mut RowSink<'_>| {
            rows(&mut |key, value| {
                durable.write(&WriteSet {
                    rows: vec![(family, (key, value))],
                    ..WriteSet::default()
                })?;
                sink(key, value)
            })
        };
        now.ingest(family, &mut both, meta)
    }

    fn flush(&mut self) -> Result<()> {
        self.durable.reset_to(&self.now);
        Ok(())
    }

    fn unflushed_bytes(&self) -> u64 {
        0
    }
}
