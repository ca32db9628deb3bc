//! A log that, like Kafka, writes a commit's records first and its offsets a while later.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use millstream_processor::broker::local::LocalLog;
use millstream_processor::broker::{
    Acked, Admin, Broker, Fetch, FetchConfig, GroupToken, Membership, MembershipConfig, OffsetCommit, PartitionRef,
    PendingOffsets, RawHeaders, Sink, SinkConfig, TopicPartition,
};

use super::faults::died;

type Result<T> = std::result::Result<T, millstream_processor::Error>;

/// The offsets of a commit wait until a record of the next commit is appended: work must go on meanwhile, or nothing ever
/// does. Only up to so many records, for at the end none comes after.
pub struct LateOffsets {
    log: LocalLog,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    appended: Condvar,
    /// How many records are appended before offsets wait no more.
    most: u64,
    /// The commit whose offsets never arrive, counted from 0.
    death: Option<u64>,
}

struct State {
    sink: Box<dyn Sink>,
    appended: u64,
    commits: u64,
    /// Commits whose offsets waited.
    waited: u64,
}

impl LateOffsets {
    /// Over `log`. Dies instead of committing the offsets of commit `death`.
    pub fn new(log: &LocalLog, most: u64, death: Option<u64>) -> LateOffsets {
        let state = State {
            sink: log.sink(&SinkConfig::default()).unwrap(),
            appended: 0,
            commits: 0,
            waited: 0,
        };
        let shared = Shared {
            state: Mutex::new(state),
            appended: Condvar::new(),
            most,
            death,
        };
        LateOffsets {
            log: log.clone(),
            shared: Arc::new(shared),
        }
    }

    /// For how many commits records were appended while their offsets were under way.
    pub fn waited(&self) -> u64 {
        self.shared.lock().waited
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// On the thread of a commit.
    fn commit_late(&self, number: u64, before: u64, group: &GroupToken, offsets: &[OffsetCommit]) -> Result<()> {
        let mut state = self.lock();
        if before < self.most {
            let none_came = |state: &mut State| state.appended == before;
            state = self.appended.wait_while(state, none_came).unwrap();
            state.waited += 1;
        }
        if self.death == Some(number) {
            return Err(died());
        }
        state.sink.commit(group, &mut |_| offsets.to_vec())
    }
}

impl Broker for LateOffsets {
    fn describe(&self) -> String {
        Broker::describe(&self.log)
    }

    fn admin(&self) -> &dyn Admin {
        self.log.admin()
    }

    fn fetch(&self, config: &FetchConfig) -> Result<Box<dyn Fetch>> {
        self.log.fetch(config)
    }

    fn sink(&self, _config: &SinkConfig) -> Result<Box<dyn Sink>> {
        Ok(Box::new(LateSink(self.shared.clone())))
    }

    fn membership(&self, config: &MembershipConfig) -> Result<Box<dyn Membership>> {
        self.log.membership(config)
    }
}

struct LateSink(Arc<Shared>);

impl Sink for LateSink {
    fn open(&mut self, partition: &TopicPartition) -> Result<PartitionRef> {
        self.0.lock().sink.open(partition)
    }

    fn append(
        &mut self,
        to: PartitionRef,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: RawHeaders<'_>,
    ) -> Result<()> {
        let mut state = self.0.lock();
        state.appended += 1;
        self.0.appended.notify_all();
        state.sink.append(to, timestamp, key, value, headers)
    }

    fn send(&mut self) -> Result<()> {
        self.0.lock().sink.send()
    }

    fn begin_commit(
        &mut self,
        group: &GroupToken,
        offsets: &mut dyn FnMut(&Acked) -> Vec<OffsetCommit>,
    ) -> Result<PendingOffsets> {
        let mut state = self.0.lock();
        let mut named = Vec::new();
        state.sink.commit(group, &mut |acked| {
            named = offsets(acked);
            Vec::new()
        })?;
        let (number, before) = (state.commits, state.appended);
        state.commits += 1;
        let (shared, group) = (self.0.clone(), group.clone());
        Ok(PendingOffsets::new(move || {
            shared.commit_late(number, before, &group, &named)
        }))
    }

    fn abort(&mut self) -> Result<()> {
        self.0.lock().sink.abort()
    }

    fn buffered_bytes(&self) -> usize {
        self.0.lock().sink.buffered_bytes()
    }
}
