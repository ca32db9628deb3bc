//! The embedded log in a directory: one owner, any number of onlookers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use millstream_state::engine::rocks::{Access, RocksEngine, RocksOptions, RocksShared};

use super::layout::FAMILIES;
use super::shared::{Clock, View};
use super::{LocalLog, LocalOptions};
use crate::broker::fault::{Fault, FaultKind, Result};

/// Block cache and memtables of a log that shares them with nobody.
const OWN_CACHE: usize = 16 << 20;
const OWN_BUFFERS: usize = 32 << 20;

impl LocalLog {
    /// Opens the log in `dir`, or makes a new one there. One process owns a log: a second one gets `Misuse`, and so does a
    /// second call in this process; clone the first log instead.
    pub fn open(dir: &Path, options: LocalOptions) -> Result<Self> {
        let shared = options
            .memory
            .unwrap_or_else(|| RocksShared::new(OWN_CACHE, OWN_BUFFERS));
        let name = format!("local log in {}", dir.display());
        let engine = RocksEngine::open(dir, &FAMILIES, RocksOptions::log(options.sync), &shared)
            .map_err(|error| opening(&name, error.into()))?;
        let view = View::open(Box::new(engine), None, &name)?;
        Ok(Self::with_view(view, options.clock, &name))
    }

    /// Looks on at the log in `dir`, whether or not a process owns it: topics, records and committed offsets can be read and
    /// followed, and nothing can be changed.
    pub fn open_reader(dir: &Path, clock: Clock) -> Result<Self> {
        if !dir.join("CURRENT").exists() {
            let dir = dir.display();
            return Err(Fault::misuse(format!(
                "there is no log in {dir}: name the directory it was written to"
            )));
        }
        let name = format!("local log in {} (reading along)", dir.display());
        let shared = RocksShared::new(OWN_CACHE, OWN_BUFFERS);
        let notes = Notes::new();
        let options = RocksOptions {
            access: Access::Follower(notes.0.clone()),
            ..RocksOptions::log(false)
        };
        let open = || RocksEngine::open(dir, &FAMILIES, options.clone(), &shared);
        let engine = open().map_err(|error| opening(&name, error.into()))?;
        let follower = (engine.clone(), notes);
        let follow = Box::new(move || {
            let (engine, _notes) = &follower;
            Ok(engine.catch_up()?)
        });
        let view = View::open(Box::new(engine), Some(follow), &name)?;
        Ok(Self::with_view(view, clock, &name))
    }
}

/// An engine that cannot be opened may be rebuilt where it holds state; a log is where state is rebuilt from.
fn opening(name: &str, fault: Fault) -> Fault {
    if fault.kind != FaultKind::Corrupt {
        return fault.at(name);
    }
    Fault::corrupt(format!(
        "{name} is damaged: restore the directory from a copy, or delete it and start anew"
    ))
    .caused_by(fault)
}

/// Where a follower keeps its own notes; goes with it.
struct Notes(PathBuf);

impl Notes {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("millstream-reader-{}-{number}", std::process::id())))
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        // What is left behind is small and does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests;
