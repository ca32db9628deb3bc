//! Process: your own operator, with stores and timers.
//!
//! ```
//! use std::time::Duration;
//! use millstream_state::codec::I64;
//! use millstream_topology::{
//!     Clock, Row, StreamBuilder,
//!     operators::process::{KeyValueStore, Process, ProcessCtx, ProcessError, OpenKeyValue},
//!     options::{Consumed, Materialized, Produced},
//! };
//!
//! /// Lets a reading pass when it differs from the device's last one; says every minute how many it held back.
//! struct Changes {
//!     last: OpenKeyValue<i64, i64>,
//!     held_back: i64,
//! }
//!
//! impl Process<i64, i64, i64, i64> for Changes {
//!     fn start(&mut self, cx: &mut ProcessCtx<'_, '_, i64, i64>) -> Result<(), ProcessError> {
//!         cx.every(Clock::Stream, Duration::from_secs(60), 0);
//!         Ok(())
//!     }
//!
//!     fn process(&mut self, row: Row<i64, i64>, cx: &mut ProcessCtx<'_, '_, i64, i64>) -> Result<(), ProcessError> {
//!         if self.last.get(&row.key, cx)? == Some(row.value) {
//!             self.held_back += 1;
//!         } else {
//!             self.last.put(&row.key, row.value, cx)?;
//!             cx.forward(row.key, row.value);
//!         }
//!         Ok(())
//!     }
//!
//!     fn on_timer(&mut self, _timer: u32, cx: &mut ProcessCtx<'_, '_, i64, i64>) -> Result<(), ProcessError> {
//!         cx.forward(-1, std::mem::take(&mut self.held_back));
//!         Ok(())
//!     }
//! }
//!
//! let builder = StreamBuilder::new();
//! let last: KeyValueStore<i64, i64> = builder.key_value_store(Materialized::with(I64, I64).named("last"));
//! builder
//!     .stream::<i64, i64>("readings", Consumed::with(I64, I64))
//!     .process("changes", last, |last| Changes { last, held_back: 0 })
//!     .to("changes", Produced::with(I64, I64));
//! # builder.build("app")?;
//! # Ok::<(), millstream_topology::TopologyErrors>(())
//! ```

mod stores;

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_state::{StateError, Timestamp};

pub use self::stores::{Expiring, KeyValueStore, OpenKeyValue, OpenWindow, Stores, WindowStore};
use crate::{
    error::Result,
    graph::NodeSpec,
    headers::Headers,
    node::{Clock, Ctx, Flushed, Node, OnBad, Timer},
    options::Named,
    policy::{Door, Policy, Reason},
    record::{At, Batch, Data, Origin, Row},
    stream::Stream,
    wiring::{Inbox, Outlet},
};

/// An operator of your own: takes rows one by one, keeps state in stores, forwards any number of rows.
///
/// One is made for each task and is never shared. Fields of its own do not survive a restart: what must, belongs in a store.
pub trait Process<K, V, L, W>: 'static {
    /// Called once before anything else: the place to set timers.
    fn start(&mut self, cx: &mut ProcessCtx<'_, '_, L, W>) -> Result<(), ProcessError> {
        let _ = cx;
        Ok(())
    }

    /// One row. An [error about the record](ProcessError::Record) sends it to the second door for bad data.
    fn process(&mut self, row: Row<K, V>, cx: &mut ProcessCtx<'_, '_, L, W>) -> Result<(), ProcessError>;

    /// A timer is due, by the number it was set with. Stream-time timers run after the row that made them due.
    fn on_timer(&mut self, timer: u32, cx: &mut ProcessCtx<'_, '_, L, W>) -> Result<(), ProcessError> {
        let _ = (timer, cx);
        Ok(())
    }

    /// The input has ended for good.
    fn finish(&mut self, cx: &mut ProcessCtx<'_, '_, L, W>) -> Result<(), ProcessError> {
        let _ = cx;
        Ok(())
    }
}

/// Why an operator could not go on with a record, or at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProcessError {
    /// This record is bad: the policy for processing errors decides (fail, skip, dead-letter). In a timer there is no record, and
    /// the task stops. Changes made to stores for it stay.
    #[error("{0}")]
    Record(String),
    /// A store failed: the task stops.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<String> for ProcessError {
    fn from(text: String) -> Self {
        ProcessError::Record(text)
    }
}

impl From<&str> for ProcessError {
    fn from(text: &str) -> Self {
        ProcessError::Record(text.to_owned())
    }
}

/// What an operator sees of its task, and where its rows go.
pub struct ProcessCtx<'a, 't, L, W> {
    task: &'a mut Ctx<'t>,
    out: &'a mut Vec<Row<L, W>>,
    origin: &'a Origin,
    at: At,
    timestamp: Timestamp,
    periods: &'a mut BTreeMap<(Clock, u32), i64>,
}

impl<L, W> ProcessCtx<'_, '_, L, W> {
    /// Sends a row downstream, with the timestamp of the row at hand (of the clock, in a timer).
    pub fn forward(&mut self, key: L, value: W) {
        self.forward_at(key, value, self.timestamp);
    }

    /// Sends a row downstream with a timestamp of its own.
    pub fn forward_at(&mut self, key: L, value: W, timestamp: Timestamp) {
        let At { offset, seq } = self.at;
        self.out.push(Row {
            key,
            value,
            timestamp,
            offset,
            seq,
        });
    }

    /// Timestamp of the row at hand; in a timer, the time of its clock.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The task's stream time before this round; [`Timestamp::MIN`] before the first record.
    pub fn stream_time(&self) -> Timestamp {
        self.task.stream_time()
    }

    /// Wall-clock time, as passed in by whoever drives the task.
    pub fn now(&self) -> Timestamp {
        self.task.now()
    }

    /// Headers of the record the row at hand comes from.
    pub fn headers(&self) -> Headers<'_> {
        let block = self
            .origin
            .find(self.at)
            .map_or(&[][..], |(chunk, record)| chunk.header_block(record));
        Headers::new(block)
    }

    /// Calls [`Process::on_timer`] once `clock` has reached `at`. The same clock, time and number twice is one timer.
    pub fn at(&mut self, clock: Clock, at: Timestamp, timer: u32) {
        self.task.schedule(clock, at, timer);
    }

    /// Calls [`Process::on_timer`] again and again, at multiples of `period` on `clock`; once only for several that passed at
    /// once. On stream time the first call comes with the first record.
    pub fn every(&mut self, clock: Clock, period: Duration, timer: u32) {
        let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
        self.periods.insert((clock, timer), period);
        let now = match clock {
            Clock::Wall => self.task.now(),
            Clock::Stream => self.task.stream_time(),
        };
        let first = if now == Timestamp::MIN {
            0
        } else {
            next_multiple(now, period)
        };
        self.task.schedule(clock, first, timer);
    }

    /// Ends a timer that was set with [`ProcessCtx::every`].
    pub fn stop(&mut self, clock: Clock, timer: u32) {
        self.periods.remove(&(clock, timer));
    }

    /// Asks for a commit soon.
    pub fn request_commit(&mut self) {
        self.task.request_commit();
    }

    fn task(&self) -> &Ctx<'_> {
        self.task
    }
}

fn next_multiple(now: Timestamp, period: i64) -> Timestamp {
    (now.div_euclid(period) + 1).saturating_mul(period)
}

/// Custom operators.
impl<K: Data, V: Data> Stream<K, V> {
    /// Runs an operator of your own: see the [module](crate::operators::process).
    ///
    /// `stores` are the stores it uses: one of them, a tuple of up to four, or `()`. `make` is called once in each task with the
    /// opened stores. The stream counts as having changed keys.
    pub fn process<L: Data, W: Data, S: Stores, P: Process<K, V, L, W>>(
        &self,
        named: impl Into<Named>,
        stores: S,
        make: impl Fn(S::Open) -> P + Send + Sync + 'static,
    ) -> Stream<L, W> {
        let (name, input) = (self.builder().name("KSTREAM-PROCESSOR-", &named.into()), self.edge());
        let mut spec = NodeSpec::new(&name, [input.id()]);
        for store in stores.names() {
            spec = spec.with_store(store);
        }
        let edge = self.builder().add_node(spec, move |w, out| {
            let (input, output) = (w.input(input), w.output(out));
            let on_bad = w.on_bad(Door::Process, &Policy::Configured)?;
            let mut expiring = Expiring::default();
            let process = make(stores.open(w, &mut expiring)?);
            let periods = BTreeMap::new();
            Ok(ProcessNode {
                input,
                output,
                process,
                on_bad,
                expiring,
                periods,
            })
        });
        self.next(edge, &name, true)
    }
}

struct ProcessNode<K, V, L, W, P> {
    input: Inbox<Batch<K, V>>,
    output: Outlet<Batch<L, W>>,
    process: P,
    on_bad: OnBad,
    expiring: Expiring,
    periods: BTreeMap<(Clock, u32), i64>,
}

impl<K: Data, V: Data, L: Data, W: Data, P: Process<K, V, L, W>> ProcessNode<K, V, L, W, P> {
    /// Calls the operator outside a record.
    fn call(
        &mut self,
        cx: &mut Ctx<'_>,
        timestamp: Timestamp,
        call: impl FnOnce(&mut P, &mut ProcessCtx<'_, '_, L, W>) -> Result<(), ProcessError>,
    ) -> Result<()> {
        let mut rows = Vec::new();
        let at = At {
            offset: -1,
            seq: Row::<L, W>::AFTER_ALL,
        };
        let origin = Origin::state();
        let (periods, out) = (&mut self.periods, &mut rows);
        let called = call(
            &mut self.process,
            &mut ProcessCtx {
                task: cx,
                out,
                origin: &origin,
                at,
                timestamp,
                periods,
            },
        );
        called.map_err(|error| match error {
            ProcessError::State(source) => cx.state_error(source),
            ProcessError::Record(detail) => cx.operator_error(detail),
        })?;
        self.send(origin, rows);
        Ok(())
    }

    fn send(&self, origin: Origin, rows: Vec<Row<L, W>>) {
        if !rows.is_empty() {
            self.output.send(Batch { origin, rows });
        }
    }
}

impl<K: Data, V: Data, L: Data, W: Data, P: Process<K, V, L, W>> Node for ProcessNode<K, V, L, W, P> {
    fn start(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        let now = cx.now();
        self.call(cx, now, |process, cx| process.start(cx))
    }

    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(Batch { origin, rows }) = self.input.take() {
            let mut out = Vec::with_capacity(rows.len());
            for row in rows {
                let (at, timestamp, made) = (row.at(), row.timestamp, out.len());
                let (periods, origin) = (&mut self.periods, &origin);
                let mut ctx = ProcessCtx {
                    task: cx,
                    out: &mut out,
                    origin,
                    at,
                    timestamp,
                    periods,
                };
                match self.process.process(row, &mut ctx) {
                    Ok(()) => {}
                    Err(ProcessError::State(source)) => return Err(cx.state_error(source)),
                    Err(ProcessError::Record(detail)) => {
                        // What it forwarded before it gave up goes with the record.
                        out.truncate(made);
                        cx.reject(self.on_bad, origin, at, Reason::Process, detail)?;
                    }
                }
            }
            self.send(origin, out);
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Ctx<'_>) -> Result<()> {
        self.call(cx, timer.now, |process, cx| process.on_timer(timer.token, cx))?;
        if let Some(&period) = self.periods.get(&(timer.clock, timer.token)) {
            cx.schedule(timer.clock, next_multiple(timer.now, period), timer.token);
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Ctx<'_>) -> Result<Flushed> {
        self.expiring.expire(cx.stream_time());
        Ok(Flushed::All)
    }

    fn finish(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        let now = cx.now();
        self.call(cx, now, |process, cx| process.finish(cx))
    }
}
