//! Runs a topology in memory, record by record, without a broker: for the tests of those who write topologies.
//!
//! ```
//! use millstream_state::{codec::{I64, Utf8}, text::Str};
//! use millstream_topology::{StreamBuilder, TestDriver, options::{Consumed, Produced}};
//!
//! // Set up: any plan will do. Time starts at 0 and stands still unless you move it.
//! let builder = StreamBuilder::new();
//! builder
//!     .stream::<Str, i64>("readings", Consumed::with(Utf8, I64))
//!     .filter(|_, reading| *reading > 100)
//!     .to("alarms", Produced::with(Utf8, I64));
//! let driver = TestDriver::new(&builder.build("alarm-app")?)?;
//!
//! // Feed: records are processed at once, and committed after each one, unless `Options` say otherwise.
//! let readings = driver.input("readings", Utf8, I64);
//! readings.pipe(&Str::from("boiler"), &90, 1_000)?;
//! readings.pipe(&Str::from("boiler"), &110, 2_000)?;
//!
//! // Read: every topic that was written, repartition and changelog topics too.
//! let alarms = driver.output::<Str, i64>("alarms", Utf8, I64);
//! assert_eq!(alarms.read_all()?, [(Str::from("boiler"), 110, 2_000)]);
//!
//! // Clock, state, restart: see `advance`, `key_values`, `slices`, `counters`, `restart`, `finish`.
//! driver.restart(millstream_topology::driver::Restart::FromChangelog)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it does **not** model: more than one partition per topic (so neither partitioning nor the interleaving of tasks),
//! failed commits, and whatever only a broker does (retention, compaction, transactions). Records written to a topic the
//! topology also reads are read at once, as if no time passed in between.

mod inputs;
mod outputs;
mod run;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use millstream_state::{
    Timestamp,
    codec::Codec,
    data::{Data, Key},
    engine::{Engine, Family},
    schema::{KeyValue, Schema, Slices},
};

use crate::{
    error::{Result, TaskError},
    plan::Plan,
    task::TaskConfig,
};

pub use inputs::{Input, RawInput};
pub use outputs::{Output, Record};
use run::Driver;

/// How a [`TestDriver`] runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Records are processed when this many have been piped. 1, the default, means at once. A commit emits as many rows of a
    /// table at a time.
    pub batch: usize,
    /// A commit follows when this many records were processed since the last. 1, the default, means after each batch.
    pub commit_every: usize,
    /// Doors and future guard.
    pub config: TaskConfig,
    /// Where the wall clock starts.
    pub now: Timestamp,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            batch: 1,
            commit_every: 1,
            config: TaskConfig::default(),
            now: 0,
        }
    }
}

/// What a restart finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The engine as of the last commit: a process that comes back on its machine.
    FromEngine,
    /// Nothing but the changelog topics and the commit: a process that comes up on another machine.
    FromChangelog,
}

/// A topology running in memory. Handles share it; it is not `Send`. See the [module](self).
#[derive(Clone)]
pub struct TestDriver(Rc<RefCell<Driver>>);

/// A row of any store, with its timestamp.
type StoreRow<S> = (<S as Schema>::Sub, <S as Schema>::Key, <S as Schema>::Value, Timestamp);

impl TestDriver {
    /// Runs `plan`, record by record.
    pub fn new(plan: &Plan) -> Result<Self> {
        Self::with(plan, Options::default())
    }

    /// Runs `plan` with these options.
    pub fn with(plan: &Plan, options: Options) -> Result<Self> {
        Ok(TestDriver(Rc::new(RefCell::new(Driver::new(plan.clone(), options)?))))
    }

    /// A topic to write to, with these codecs.
    pub fn input<K: Data, V: Data>(&self, topic: &str, key: impl Codec<K>, value: impl Codec<V>) -> Input<K, V> {
        Input::new(self.0.clone(), topic, Box::new(key), Box::new(value))
    }

    /// A topic to write bytes to.
    pub fn raw_input(&self, topic: &str) -> RawInput {
        RawInput::new(self.0.clone(), topic)
    }

    /// A topic to read from, with these codecs. Every handle reads from the beginning of the topic.
    pub fn output<K: Data, V: Data>(&self, topic: &str, key: impl Codec<K>, value: impl Codec<V>) -> Output<K, V> {
        Output::new(self.0.clone(), topic, Box::new(key), Box::new(value))
    }

    /// Moves the wall clock, fires the timers that became due, and commits.
    pub fn advance(&self, ms: i64) -> Result<()> {
        self.0.borrow_mut().advance(ms)
    }

    /// Processes what was piped and commits: dirty keys and windows are emitted, state goes to the engine and changelogs.
    pub fn commit(&self) -> Result<()> {
        self.0.borrow_mut().commit()
    }

    /// The input has ended: all windows close.
    pub fn finish(&self) -> Result<()> {
        self.0.borrow_mut().finish()
    }

    /// Stops after a commit and starts again with what `from` says survives.
    pub fn restart(&self, from: Restart) -> Result<()> {
        self.0.borrow_mut().restart(from)
    }

    /// Stops without a commit, as a crash does, and starts again from the last commit. What was piped or written since then
    /// never happened.
    pub fn crash(&self, from: Restart) -> Result<()> {
        self.0.borrow_mut().crash(from)
    }

    /// Has the stores give back about this many bytes of clean rows, as a tight memory budget would; returns how many they
    /// found. Results must not depend on it.
    pub fn evict(&self, bytes: usize) -> usize {
        self.0.borrow_mut().evict(bytes)
    }

    /// What a key-value store holds as of the last commit, in the order of key bytes.
    pub fn key_values<K: Key, V: Data>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Vec<(K, V, Timestamp)>> {
        let schema = KeyValue::<K, V>::new(Arc::new(key), Arc::new(value));
        let rows = self.rows(store, &schema)?;
        Ok(rows
            .into_iter()
            .map(|((), key, value, timestamp)| (key, value, timestamp))
            .collect())
    }

    /// What a window store holds as of the last commit: slice start, key, value, timestamp, in the order of slices.
    pub fn slices<K: Key, V: Data>(
        &self,
        store: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Result<Vec<(Timestamp, K, V, Timestamp)>> {
        let schema = Slices::<K, V>::new(Arc::new(key), Arc::new(value));
        self.rows(store, &schema)
    }

    fn rows<S: Schema>(&self, store: &str, schema: &S) -> Result<Vec<StoreRow<S>>> {
        let driver = self.0.borrow();
        let bad = |detail: String| TaskError::Misuse(format!("store {store}: {detail}"));
        let (engine, family): (&dyn Engine, Family) = driver
            .store(store)
            .ok_or_else(|| bad("there is no such store".to_owned()))?;
        let mut rows = Vec::new();
        let mut failed = None;
        let scanned = engine.scan(family, &[], None, &mut |key, value| {
            match schema
                .decode_row_key(key)
                .and_then(|(sub, key)| Ok((sub, key, schema.decode_value(value)?)))
            {
                Ok((sub, key, value)) => rows.push((sub, key, value.value, value.timestamp)),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        });
        scanned.map_err(|error| bad(error.to_string()))?;
        match failed {
            Some(error) => Err(bad(format!("these codecs do not read it: {error}"))),
            None => Ok(rows),
        }
    }

    /// All counters since the last start: (node, counter) to value. Refused records are `dropped.<reason>`.
    pub fn counters(&self) -> BTreeMap<(String, String), u64> {
        self.0.borrow().counters()
    }

    /// All records that were refused, whatever the reason.
    pub fn dropped(&self) -> u64 {
        let counters = self.counters();
        counters
            .iter()
            .filter(|((_, name), _)| name.starts_with("dropped."))
            .map(|(_, n)| n)
            .sum()
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.0.borrow().now()
    }

    /// The names of all topics that hold records.
    pub fn topics(&self) -> Vec<String> {
        self.0.borrow().topics()
    }
}
