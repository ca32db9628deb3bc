//! The embedded log: durable, in one process, without a network. The default of `millstream run` and of the demo.
//!
//! A thin layer over a state engine: batches are values under (topic, partition, base offset), and a commit is ONE atomic
//! write of all its batches and offsets. So it is exactly-once by construction: after a crash either a commit's outputs,
//! changelog records and offsets are all there, or none is. Over RocksDB with the write-ahead log on, nothing that was
//! acknowledged is lost by `kill -9`; [`LocalOptions::sync`] extends that to a loss of power. Over the memory engine the
//! same code serves tests and simulation.
//!
//! One process owns a log's directory; its threads share it through handles. Other processes may look on with
//! [`LocalLog::open_reader`].

mod admin;
mod compaction;
mod disk;
mod fetch;
mod layout;
mod retention;
mod shared;
mod sink;

use std::sync::{Arc, Mutex};

use millstream_state::engine::rocks::RocksShared;
use millstream_state::engine::{Engine, MemoryEngine};

pub use shared::Clock;

use self::fetch::LocalFetch;
use self::shared::{Shared, Signal, View, Writing};
use self::sink::LocalSink;
use super::alone::Alone;
use super::{Admin, Broker, Fetch, FetchConfig, Membership, MembershipConfig, Result, Sink, SinkConfig};

/// Settings of a log.
#[derive(Clone)]
pub struct LocalOptions {
    /// Wait for the disk at each commit: survives a loss of power too, at the cost of a disk's latency per commit.
    pub sync: bool,
    /// The time, for retention.
    pub clock: Clock,
    /// Block cache and memtables to share with the process's other databases; `None` takes some of its own.
    pub memory: Option<RocksShared>,
}

impl LocalOptions {
    /// Commits survive the death of the process; `clock` gives ms since 1970.
    pub fn new(clock: Clock) -> Self {
        Self {
            sync: false,
            clock,
            memory: None,
        }
    }
}

/// The embedded log. A clone is another handle on the same log.
#[derive(Clone)]
pub struct LocalLog {
    shared: Arc<Shared>,
}

impl LocalLog {
    /// A log in memory, gone with its last handle.
    pub fn in_memory(clock: Clock) -> Result<Self> {
        Self::over(Box::new(MemoryEngine::new()), clock, "local log in memory")
    }

    /// The log that lies in `engine`, or a new one if nothing does. `name` is for people. Whoever calls sees to it that
    /// there is one owner.
    pub fn over(engine: Box<dyn Engine>, clock: Clock, name: &str) -> Result<Self> {
        let view = View::open(engine, None, name)?;
        Ok(Self::with_view(view, clock, name))
    }

    fn with_view(view: View, clock: Clock, name: &str) -> Self {
        let writing = Mutex::new(Writing::default());
        let (view, signal, name) = (Mutex::new(view), Signal::default(), name.to_owned());
        Self {
            shared: Arc::new(Shared {
                name,
                clock,
                writing,
                view,
                signal,
            }),
        }
    }

    /// Deletes what retention lets go and compacts topics that keep only the last record of a key, all at once and now.
    /// Commits do the same by themselves, a little at a time.
    pub fn maintain(&self) -> Result<()> {
        let mut writing = self.shared.writing()?;
        retention::enforce(&self.shared, &mut writing)?;
        compaction::compact_all(&self.shared, &writing)
    }
}

impl Broker for LocalLog {
    fn describe(&self) -> String {
        self.shared.name.clone()
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn fetch(&self, config: &FetchConfig) -> Result<Box<dyn Fetch>> {
        Ok(Box::new(LocalFetch::new(self.shared.clone(), config.clone())))
    }

    fn sink(&self, _config: &SinkConfig) -> Result<Box<dyn Sink>> {
        drop(self.shared.writing()?);
        Ok(Box::new(LocalSink::new(self.shared.clone())))
    }

    fn membership(&self, config: &MembershipConfig) -> Result<Box<dyn Membership>> {
        Ok(Box::new(Alone::new(config.group.clone())))
    }
}

#[cfg(test)]
mod tests;
