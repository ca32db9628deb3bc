//! Where tasks keep their state: RocksDB in the state directory, or memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use millstream_state::engine::Engine;
use millstream_state::engine::memory::MemoryEngine;
use millstream_topology::TaskId;

use crate::error::Result;

/// Opens and deletes the state of tasks. One task's engine is open at most once at a time.
pub trait Engines: Send + Sync {
    /// Opens a task's engine with these families, the meta family first.
    ///
    /// # Errors
    /// `Corrupt` when what is there cannot be trusted: [`Engines::wipe`] it and restore. `Misuse` when it belongs to
    /// another application or is in use by another process.
    fn open(&self, task: TaskId, families: &[String]) -> Result<Box<dyn Engine>>;

    /// Deletes a task's state, which is not open.
    fn wipe(&self, task: TaskId) -> Result<()>;
}

/// State in memory. It lives as long as this value, so one value handed to two runs stands for a disk between them.
#[derive(Debug, Default)]
pub struct MemoryEngines(Mutex<BTreeMap<TaskId, MemoryEngine>>);

impl Engines for MemoryEngines {
    fn open(&self, task: TaskId, _families: &[String]) -> Result<Box<dyn Engine>> {
        let mut engines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(engines.entry(task).or_default().clone()))
    }

    fn wipe(&self, task: TaskId) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&task);
        Ok(())
    }
}
