//! The contract of an operator: typed inboxes in, batches out, one virtual call per batch.

use std::{collections::BTreeSet, fmt, sync::Arc};

use millstream_state::{StateError, Timestamp, engine::Engine};

use crate::{
    error::{Result, TaskError},
    headers,
    outbox::{Outbox, TopicRef},
    policy::{FutureAction, Reason},
    record::{At, Origin},
    task::TaskConfig,
};

/// How much of what was held back has been emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what is left must be flushed before the task is sealed"]
pub enum Flushed {
    /// A portion; there is more.
    Part,
    /// All.
    All,
}

/// One operator in one task. Made on the task's thread by its [maker](crate::wiring::Maker) and never leaves it.
///
/// Nodes run in topological order, each when something lies in one of its inboxes. A call must leave the inboxes empty.
pub trait Node {
    /// Called once before anything else, after [`Node::restore_note`]: the place to schedule first timers.
    fn start(&mut self, _cx: &mut Ctx<'_>) -> Result<()> {
        Ok(())
    }

    /// Drains the inboxes.
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()>;

    /// Before a commit: what was held back since the last one is emitted (one row per dirty key or window), about
    /// [`Ctx::portion`] rows at a time. Called until that was all; meanwhile nothing else of this node is.
    fn flush(&mut self, _cx: &mut Ctx<'_>) -> Result<Flushed> {
        Ok(Flushed::All)
    }

    /// A timer this node scheduled is due.
    fn on_timer(&mut self, _timer: Timer, _cx: &mut Ctx<'_>) -> Result<()> {
        Ok(())
    }

    /// The input has ended for good: time goes to its end, all windows close.
    fn finish(&mut self, _cx: &mut Ctx<'_>) -> Result<()> {
        Ok(())
    }

    /// State that is not rows (stream time, closed-up-to): saved with every commit, given back on restart (TI-1).
    fn note(&self) -> Option<Vec<u8>> {
        None
    }

    /// The note of the last commit.
    fn restore_note(&mut self, _note: &[u8]) -> Result<(), StateError> {
        Ok(())
    }
}

/// What drives a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clock {
    /// The task's stream time: moves by accepted records only.
    Stream,
    /// Wall-clock time, as passed in by whoever drives the task.
    Wall,
}

/// A timer that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// The clock it was set on.
    pub clock: Clock,
    /// The time it was set for.
    pub at: Timestamp,
    /// The time on that clock now; later than `at` when the clock jumped.
    pub now: Timestamp,
    /// What the node passed to [`Ctx::schedule`].
    pub token: u32,
}

/// A counter, named when the task is built; counting is an array add.
#[derive(Debug, Clone, Copy)]
pub struct CounterId(pub(crate) u32);

/// What happens to records a node refuses: its [policy](crate::Policy), resolved by [`crate::Wiring::on_bad`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBad {
    /// Stop.
    Fail,
    /// Count and go on.
    Skip,
    /// Count, write the raw record to this topic, and go on.
    DeadLetter(TopicRef),
}

/// The part of a task that all its nodes share.
pub(crate) struct Env {
    pub config: Arc<TaskConfig>,
    pub names: Vec<Arc<str>>,
    pub now: Timestamp,
    pub round: u64,
    pub stream_time: Timestamp,
    pub observed: Timestamp,
    pub counters: Vec<(u32, &'static str, u64)>,
    pub refused: Vec<[u64; Reason::ALL.len()]>,
    pub outbox: Outbox,
    pub stream_timers: BTreeSet<(Timestamp, u32, u32)>,
    pub wall_timers: BTreeSet<(Timestamp, u32, u32)>,
    pub commit_requested: bool,
    pub portion: usize,
}

impl Env {
    pub fn new(config: Arc<TaskConfig>) -> Self {
        Env {
            config,
            names: Vec::new(),
            now: 0,
            round: 0,
            stream_time: Timestamp::MIN,
            observed: Timestamp::MIN,
            counters: Vec::new(),
            refused: Vec::new(),
            outbox: Outbox::default(),
            stream_timers: BTreeSet::new(),
            wall_timers: BTreeSet::new(),
            commit_requested: false,
            portion: usize::MAX,
        }
    }

    pub fn timers(&mut self, clock: Clock) -> &mut BTreeSet<(Timestamp, u32, u32)> {
        match clock {
            Clock::Stream => &mut self.stream_timers,
            Clock::Wall => &mut self.wall_timers,
        }
    }
}

/// What a node sees of its task while it runs.
pub struct Ctx<'a> {
    pub(crate) node: u32,
    pub(crate) env: &'a mut Env,
    pub(crate) engine: &'a dyn Engine,
}

impl<'a> Ctx<'a> {
    /// Wall-clock time as passed in by whoever drives the task; the same during one call.
    pub fn now(&self) -> Timestamp {
        self.env.now
    }

    /// The task's stream time before this round ([`Timestamp::MIN`] before the first record). Operators that need it
    /// record by record keep their own running maximum, and save it as a [note](Node::note).
    pub fn stream_time(&self) -> Timestamp {
        self.env.stream_time
    }

    /// Number of this round: rises with every [`crate::Task::run`]. What holds only within a round is stamped with it.
    pub fn round(&self) -> u64 {
        self.env.round
    }

    /// After about so many rows a node interrupts its [flush](Node::flush).
    pub fn portion(&self) -> usize {
        self.env.portion
    }

    /// The engine behind the task's stores, for batched loads.
    pub fn engine(&self) -> &'a dyn Engine {
        self.engine
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        &self.env.names[self.node as usize]
    }

    /// Adds to a counter.
    #[inline]
    pub fn count(&mut self, id: CounterId, n: u64) {
        self.env.counters[id.0 as usize].2 += n;
    }

    /// Where encoded records leave the task.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.env.outbox
    }

    /// Calls [`Node::on_timer`] once `clock` has reached `at`. The same time and token twice is one timer.
    pub fn schedule(&mut self, clock: Clock, at: Timestamp, token: u32) {
        let entry = (at, self.node, token);
        self.env.timers(clock).insert(entry);
    }

    /// Takes back a timer that is not due yet; says whether there was one.
    pub fn cancel(&mut self, clock: Clock, at: Timestamp, token: u32) -> bool {
        let entry = (at, self.node, token);
        self.env.timers(clock).remove(&entry)
    }

    /// Asks for a commit soon.
    pub fn request_commit(&mut self) {
        self.env.commit_requested = true;
    }

    /// Moves stream time: for sources, by records they accept (TI-1). Seen from the end of the round.
    #[inline]
    pub fn observe(&mut self, timestamp: Timestamp) {
        self.env.observed = self.env.observed.max(timestamp);
    }

    /// Names this node in an error of its store.
    pub fn state_error(&self, source: StateError) -> TaskError {
        TaskError::State {
            node: self.name().to_owned(),
            source,
        }
    }

    /// Names this node in an error of user code.
    pub fn operator_error(&self, detail: impl fmt::Display) -> TaskError {
        TaskError::Operator {
            node: self.name().to_owned(),
            detail: detail.to_string(),
        }
    }

    /// The latest timestamp that may move stream time (TI-2).
    pub(crate) fn future_limit(&self) -> Timestamp {
        self.env
            .config
            .future
            .map_or(Timestamp::MAX, |guard| guard.limit(self.env.now))
    }

    pub(crate) fn future_action(&self) -> FutureAction {
        self.env.config.future.map_or(FutureAction::Drop, |guard| guard.action)
    }

    /// The node's own dead-letter topic, else the configured one, else nowhere.
    pub(crate) fn dead_letter_or(&mut self, on_bad: OnBad) -> OnBad {
        if let OnBad::DeadLetter(_) = on_bad {
            return on_bad;
        }
        let topic = self.env.config.doors.dead_letter_topic.clone();
        topic.map_or(OnBad::Skip, |topic| OnBad::DeadLetter(self.env.outbox.topic(&topic)))
    }

    /// Counts a record that goes no further, without asking a policy: for outcomes that are part of an operator's meaning
    /// (a late record, a null key in an aggregation).
    pub fn drop_row(&mut self, reason: Reason) {
        self.env.refused[self.node as usize][reason as usize] += 1;
    }

    /// Counts `n` records that go no further.
    pub fn drop_rows(&mut self, reason: Reason, n: u64) {
        self.env.refused[self.node as usize][reason as usize] += n;
    }

    /// Refuses a record at a door: it is counted, and the policy decides the rest. `Err` means stop.
    #[cold]
    pub fn reject(
        &mut self,
        on_bad: OnBad,
        origin: &Origin,
        at: At,
        reason: Reason,
        detail: impl fmt::Display,
    ) -> Result<()> {
        self.drop_row(reason);
        match on_bad {
            OnBad::Skip => Ok(()),
            OnBad::DeadLetter(topic) => {
                self.dead_letter(topic, origin, at, reason, &detail.to_string());
                Ok(())
            }
            OnBad::Fail => {
                let (topic, partition) = match origin.find(at) {
                    Some((chunk, _)) => (chunk.topic().to_string(), chunk.partition()),
                    None => (String::new(), -1),
                };
                Err(TaskError::BadRecord {
                    topic,
                    partition,
                    offset: at.offset,
                    node: self.name().to_owned(),
                    reason,
                    detail: detail.to_string(),
                })
            }
        }
    }

    /// Writes the raw record with its own headers and, after them, where it came from and why it is here.
    fn dead_letter(&mut self, topic: TopicRef, origin: &Origin, at: At, reason: Reason, detail: &str) {
        let node = self.env.names[self.node as usize].clone();
        let now = self.env.now;
        let outbox = &mut self.env.outbox;
        let mut more: Vec<(&str, Option<&[u8]>)> = vec![
            (dead_letter::EXCEPTION, Some(reason.as_str().as_bytes())),
            (dead_letter::MESSAGE, Some(detail.as_bytes())),
        ];
        let tail = [
            (dead_letter::REASON, Some(reason.as_str().as_bytes())),
            (dead_letter::NODE, Some(node.as_bytes())),
        ];
        let mut block = Vec::new();
        let Some((chunk, record)) = origin.find(at) else {
            more.extend(tail);
            headers::append(&[], &more, &mut block);
            outbox.push(topic, None, None, now.max(0), &block);
            return;
        };
        let (partition, offset) = (chunk.partition().to_string(), record.offset.to_string());
        more.extend([
            (dead_letter::TOPIC, Some(chunk.topic().as_bytes())),
            (dead_letter::PARTITION, Some(partition.as_bytes())),
            (dead_letter::OFFSET, Some(offset.as_bytes())),
        ]);
        more.extend(tail);
        headers::append(chunk.header_block(record), &more, &mut block);
        let timestamp = if record.timestamp < 0 {
            now.max(0)
        } else {
            record.timestamp
        };
        outbox.push(topic, chunk.key(record), chunk.value(record), timestamp, &block);
    }
}

/// Header names of dead letters: Kafka Streams' own (KIP-1034), and two of ours with the same prefix.
pub mod dead_letter {
    /// The kind of error; for us, the reason.
    pub const EXCEPTION: &str = "__streams.errors.exception";
    /// What was wrong, in words.
    pub const MESSAGE: &str = "__streams.errors.message";
    /// Topic the record was fetched from.
    pub const TOPIC: &str = "__streams.errors.topic";
    /// Its partition, as decimal text.
    pub const PARTITION: &str = "__streams.errors.partition";
    /// Its offset, as decimal text.
    pub const OFFSET: &str = "__streams.errors.offset";
    /// Why, by the name it is counted under.
    pub const REASON: &str = "__streams.errors.reason";
    /// The node that refused it.
    pub const NODE: &str = "__streams.errors.node";
}
