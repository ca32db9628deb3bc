//! Where tasks keep their state: RocksDB in the state directory, or memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use millstream_state::directory::TaskDirectory;

use millstream_state::engine::Engine;
use millstream_state::engine::memory::MemoryEngine;
use millstream_state::engine::rocks::{RocksEngine, RocksOptions, RocksShared};
use millstream_topology::TaskId;

use crate::config::Config;
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

/// State in RocksDB, one database per task that has stores, under `<state.dir>/<application.id>/<task>`.
#[derive(Debug)]
pub struct DiskEngines {
    state_dir: PathBuf,
    application: String,
    shared: RocksShared,
    /// Folders that were taken; each stays locked until this value is dropped, also between two engines.
    taken: Mutex<BTreeMap<TaskId, TaskDirectory>>,
}

impl DiskEngines {
    /// State under the configured directory. RocksDB gets a quarter of `memory.max.bytes`, for blocks and memtables.
    pub fn new(config: &Config) -> DiskEngines {
        let quarter = config.memory_max_bytes / 4;
        DiskEngines {
            state_dir: config.state_dir.clone(),
            application: config.application_id.clone(),
            shared: RocksShared::new(quarter, quarter / 2),
            taken: Mutex::default(),
        }
    }

    /// The memory that all databases of the process share: the embedded log should use it too.
    pub fn memory(&self) -> &RocksShared {
        &self.shared
    }

    fn directory<T>(&self, task: TaskId, use_it: impl FnOnce(&TaskDirectory) -> Result<T>) -> Result<T> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = taken.get(&task) {
            return use_it(directory);
        }
        let directory = TaskDirectory::open(&self.state_dir, &self.application, &task.to_string())?;
        use_it(taken.entry(task).or_insert(directory))
    }
}

impl Engines for DiskEngines {
    fn open(&self, task: TaskId, families: &[String]) -> Result<Box<dyn Engine>> {
        self.directory(task, |directory| {
            if families.len() == 1 {
                // The meta family alone: what describes no store need not outlive the run, and opening costs some 10 ms.
                return Ok(Box::new(MemoryEngine::default()) as Box<dyn Engine>);
            }
            let engine = RocksEngine::open(
                &directory.database(),
                families,
                RocksOptions::task_state(),
                &self.shared,
            )?;
            Ok(Box::new(engine) as Box<dyn Engine>)
        })
    }

    fn wipe(&self, task: TaskId) -> Result<()> {
        self.directory(task, |directory| Ok(directory.wipe()?))
    }
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
