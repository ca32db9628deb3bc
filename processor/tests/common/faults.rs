//! A log and a disk that fail as planned.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_processor::Error;
use millstream_processor::broker::local::LocalLog;
use millstream_processor::broker::{
    Acked, Admin, Broker, Fetch, FetchConfig, FetchEvent, GroupToken, Membership, MembershipConfig, OffsetCommit,
    PartitionRef, PendingOffsets, RawHeaders, Sink, SinkConfig, TopicPartition, Waker,
};
use millstream_processor::engines::Engines;
use millstream_state::engine::Engine;
use millstream_state::engine::faulty::{Faults, FaultyEngine, VolatileEngine};
use millstream_topology::TaskId;

/// Where the process dies at the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Never.
    No,
    /// Instead of this append, counted from 0.
    AtAppend(u64),
    /// Before this commit is written, counted from 0.
    BeforeCommit(u64),
    /// When the records of this commit are written, before its offsets are: what an at-least-once log can leave.
    BetweenRecordsAndOffsets(u64),
    /// When this commit is written, before anybody hears of it.
    AfterCommit(u64),
}

type Result<T> = std::result::Result<T, Error>;

/// A log whose writer dies as planned.
pub struct MortalLog {
    log: LocalLog,
    death: Death,
    /// Appends and commits so far.
    pub counts: Arc<(AtomicU64, AtomicU64)>,
}

impl MortalLog {
    /// The same log for a process that dies.
    pub fn new(log: &LocalLog, death: Death) -> MortalLog {
        MortalLog {
            log: log.clone(),
            death,
            counts: Arc::default(),
        }
    }
}

impl Broker for MortalLog {
    fn describe(&self) -> String {
        Broker::describe(&self.log)
    }

    fn admin(&self) -> &dyn Admin {
        self.log.admin()
    }

    fn fetch(&self, config: &FetchConfig) -> Result<Box<dyn Fetch>> {
        self.log.fetch(config)
    }

    fn sink(&self, config: &SinkConfig) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MortalSink {
            sink: self.log.sink(config)?,
            death: self.death,
            counts: self.counts.clone(),
        }))
    }

    fn membership(&self, config: &MembershipConfig) -> Result<Box<dyn Membership>> {
        self.log.membership(config)
    }
}

struct MortalSink {
    sink: Box<dyn Sink>,
    death: Death,
    counts: Arc<(AtomicU64, AtomicU64)>,
}

/// What the dead say.
pub fn died() -> Error {
    Error::fatal("the process under test died")
}

impl Sink for MortalSink {
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        self.sink.open(partition)
    }

    fn append(
        &mut self,
        to: PartitionRef,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: RawHeaders<'_>,
    ) -> Result<()> {
        if self.death == Death::AtAppend(self.counts.0.fetch_add(1, SeqCst)) {
            return Err(died());
        }
        self.sink.append(to, timestamp, key, value, headers)
    }

    fn send(&mut self) -> Result<()> {
        self.sink.send()
    }

    fn begin_commit(
        &mut self,
        group: &GroupToken,
        offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>,
    ) -> Result<PendingOffsets> {
        let count = self.counts.1.fetch_add(1, SeqCst);
        if self.death == Death::BeforeCommit(count) {
            return Err(died());
        }
        if self.death == Death::BetweenRecordsAndOffsets(count) {
            self.sink.commit(group, &mut |_| Vec::new())?;
            return Err(died());
        }
        let pending = self.sink.begin_commit(group, offsets)?;
        match self.death == Death::AfterCommit(count) {
            true => Err(died()),
            false => Ok(pending),
        }
    }

    fn abort(&mut self) -> Result<()> {
        self.sink.abort()
    }

    fn buffered_bytes(&self) -> usize {
        self.sink.buffered_bytes()
    }
}

/// State on disks that fail as planned, and that lose what was not flushed when the power is cut.
#[derive(Default)]
pub struct MortalEngines {
    disks: Mutex<BTreeMap<TaskId, VolatileEngine>>,
    /// What fails; shared by all tasks.
    pub faults: Faults,
    /// How often each task's state was opened.
    pub opened: Mutex<BTreeMap<TaskId, u32>>,
}

impl MortalEngines {
    /// The same disks after a restart; `power_cut` loses what was not flushed.
    pub fn after_restart(self, power_cut: bool) -> MortalEngines {
        let disks = self.disks.into_inner().unwrap();
        if power_cut {
            disks.values().for_each(VolatileEngine::crash);
        }
        MortalEngines {
            disks: Mutex::new(disks),
            ..MortalEngines::default()
        }
    }
}

impl Engines for MortalEngines {
    fn open(&self, task: TaskId, _families: &[String]) -> Result<Box<dyn Engine>> {
        *self.opened.lock().unwrap().entry(task).or_default() += 1;
        let disk = self.disks.lock().unwrap().entry(task).or_default().clone();
        Ok(Box::new(FaultyEngine::new(Box::new(disk), &self.faults)))
    }

    fn wipe(&self, task: TaskId) -> Result<()> {
        self.disks.lock().unwrap().remove(&task);
        Ok(())
    }
}

/// A log whose readers do not see what it delivers, but what the test makes of it.
pub struct TamperedLog {
    log: LocalLog,
    tamper: Tamper,
}

type Tamper = Arc<dyn Fn(&mut Vec<FetchEvent>) + Send + Sync>;

impl TamperedLog {
    /// `log`, with everything that a poll brings handed to `tamper` first.
    pub fn new(log: &LocalLog, tamper: impl Fn(&mut Vec<FetchEvent>) + Send + Sync + 'static) -> TamperedLog {
        TamperedLog {
            log: log.clone(),
            tamper: Arc::new(tamper),
        }
    }
}

impl Broker for TamperedLog {
    fn describe(&self) -> String {
        Broker::describe(&self.log)
    }

    fn admin(&self) -> &dyn Admin {
        self.log.admin()
    }

    fn fetch(&self, config: &FetchConfig) -> Result<Box<dyn Fetch>> {
        Ok(Box::new(TamperedFetch {
            fetch: self.log.fetch(config)?,
            tamper: self.tamper.clone(),
        }))
    }

    fn sink(&self, config: &SinkConfig) -> Result<Box<dyn Sink>> {
        self.log.sink(config)
    }

    fn membership(&self, config: &MembershipConfig) -> Result<Box<dyn Membership>> {
        self.log.membership(config)
    }
}

struct TamperedFetch {
    fetch: Box<dyn Fetch>,
    tamper: Tamper,
}

impl Fetch for TamperedFetch {
    fn assign(&mut self, diff: &[(TopicPartition, Option<i64>)]) -> Result<()> {
        self.fetch.assign(diff)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.fetch.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.fetch.resume(partitions)
    }

    fn poll(&mut self, timeout: Duration, out: &mut Vec<FetchEvent>) -> Result<()> {
        let mut events = Vec::new();
        self.fetch.poll(timeout, &mut events)?;
        (self.tamper)(&mut events);
        out.append(&mut events);
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.fetch.waker()
    }
}
