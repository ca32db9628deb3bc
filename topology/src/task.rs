//! One sub-topology over one partition number: what the processor and the test driver drive.
//!
//! A task is made on its thread from the shared [`crate::Plan`] and never leaves it. The order of calls is:
//! [`feed`](Task::feed) any number of times, [`run`](Task::run), drain the [`outbox`](Task::outbox); for a commit,
//! [`flush`](Task::flush), drain, [`seal`](Task::seal), send, and when all of it is acknowledged [`apply`](Task::apply).
//!
//! After an error, and after a commit that failed, the task is rebuilt from the plan over the same engine
//! ([`Task::into_engine`]): CO-2 holds, so the engine still is at the last commit and the input is read again from there.

use std::{fmt, ops::Range, sync::Arc};

use millstream_state::{
    StateError, Timestamp,
    engine::Engine,
    stores::{SealedSet, StoreSet},
};

use crate::{
    error::{Result, TaskError},
    node::{Clock, Ctx, Env, Flushed, Node, Timer},
    outbox::{NodeRef, Outbox},
    policy::{Doors, FutureGuard, Reason},
    record::{Chunk, Pick, RawBatch, RawRecord},
    wiring::{Inbox, Ready},
};

/// Which task: sub-topology and partition. Prints as `0_3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The sub-topology.
    pub subtopology: u32,
    /// The partition all its sources are read at.
    pub partition: i32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// What a task needs to know beside its topology.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskConfig {
    /// What happens to bad records where a node does not say so itself.
    pub doors: Doors,
    /// TI-2; `None` lets every timestamp move stream time.
    pub future: Option<FutureGuard>,
}

/// A portion for [`Task::flush`]: rows that fit into the processor's caches, and batches long enough.
pub const PORTION: usize = 4096;

/// A source topic of a task, by its place in [`crate::Subtopology::sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRef(pub(crate) u32);

impl SourceRef {
    /// The source at this place of [`crate::Subtopology::sources`].
    pub fn new(index: usize) -> Self {
        SourceRef(index as u32)
    }

    /// Its place.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A running sub-topology. See the [module](self) for the order of calls.
pub struct Task {
    pub(crate) id: TaskId,
    pub(crate) nodes: Vec<Box<dyn Node>>,
    /// For each source topic: the inboxes of the source nodes that read it, with their node numbers.
    pub(crate) sources: Vec<Vec<(Inbox<RawBatch>, u32)>>,
    pub(crate) ready: std::rc::Rc<Ready>,
    pub(crate) env: Env,
    pub(crate) stores: StoreSet,
    pub(crate) started: bool,
    /// In a flush that is not over: the node whose turn it is.
    pub(crate) flushing: Option<usize>,
}

/// What a task hands over at a commit.
#[derive(Debug)]
pub struct SealedTask {
    /// Dirty rows: for the changelogs now, for the engine when the commit succeeded.
    pub stores: SealedSet,
    /// State of nodes that is not rows, by node name: for the engine, and for the commit's metadata.
    pub notes: Vec<(String, Vec<u8>)>,
}

/// The name of the task's own note, beside those of its nodes.
const STREAM_TIME: &str = "stream-time";

impl Task {
    /// Which task this is.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Lays picked records at the door of a source: `rows` of the chunk, whose places in the round are `seqs` (one per
    /// row, ascending over all feeds of the round). Which rows, in what order, is the business of [`crate::picker`].
    pub fn feed(&mut self, source: SourceRef, chunk: &Arc<Chunk>, rows: Range<usize>, seqs: &[u32]) {
        debug_assert_eq!(rows.len(), seqs.len(), "one sequence number per row");
        debug_assert!(
            source.index() < self.sources.len(),
            "sources are places in the sub-topology's list"
        );
        let records = chunk.records().get(rows.clone()).unwrap_or_default();
        let pick = |(i, (record, &seq)): (usize, (&RawRecord, &u32))| Pick {
            index: (rows.start + i) as u32,
            seq,
            timestamp: record.timestamp,
        };
        let picks = records.iter().zip(seqs).enumerate().map(pick);
        for (inbox, node) in self.sources.get(source.index()).into_iter().flatten() {
            inbox.put_picks(chunk, picks.clone());
            self.ready.set(*node);
        }
    }

    /// Processes what was fed until nothing is left, then fires the stream-time timers that became due.
    pub fn run(&mut self, now: Timestamp) -> Result<()> {
        self.begin(now)?;
        self.sweep()?;
        self.env.stream_time = self.env.observed;
        self.fire(Clock::Stream, self.env.stream_time)
    }

    /// Fires the wall-clock timers that are due.
    pub fn punctuate(&mut self, now: Timestamp) -> Result<()> {
        self.begin(now)?;
        self.fire(Clock::Wall, now)
    }

    /// Before a commit: nodes emit what they held back, in topological order. After about `portion` rows of a node there is a
    /// pause: drain the outbox, so that it need not hold all of them, and call again until that was all.
    pub fn flush(&mut self, now: Timestamp, portion: usize) -> Result<Flushed> {
        self.env.portion = portion.max(1);
        let begun = self.flushing.take();
        if begun.is_none() {
            self.begin(now)?;
        }
        for at in begun.unwrap_or(0)..self.nodes.len() {
            let flushed = self.call(at as u32, |node, cx| node.flush(cx))?;
            self.sweep()?;
            if flushed == Flushed::Part {
                self.flushing = Some(at);
                return Ok(Flushed::Part);
            }
        }
        Ok(Flushed::All)
    }

    /// The input has ended for good: all windows close. Flush afterwards.
    pub fn finish(&mut self, now: Timestamp) -> Result<()> {
        self.visit(now, |node, cx| node.finish(cx))
    }

    /// Calls every node in topological order, so that what one emits reaches the next before its own turn.
    fn visit(&mut self, now: Timestamp, call: impl Fn(&mut dyn Node, &mut Ctx<'_>) -> Result<()>) -> Result<()> {
        self.begin(now)?;
        for at in 0..self.nodes.len() {
            self.call(at as u32, &call)?;
            self.sweep()?;
        }
        Ok(())
    }

    fn begin(&mut self, now: Timestamp) -> Result<()> {
        self.env.now = now;
        self.env.round += 1;
        if !self.started {
            self.started = true;
            for at in 0..self.nodes.len() {
                self.call(at as u32, |node, cx| node.start(cx))?;
            }
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        while let Some(at) = self.ready.pop() {
            self.call(at, |node, cx| node.run(cx))?;
        }
        Ok(())
    }

    fn fire(&mut self, clock: Clock, now: Timestamp) -> Result<()> {
        // What a node schedules meanwhile waits for the next call, even if it is due: so a careless operator cannot keep us
        // here for ever. What it cancels does not fire.
        let due: Vec<_> = self
            .env
            .timers(clock)
            .range(..=(now, u32::MAX, u32::MAX))
            .copied()
            .collect();
        for timer in due {
            if self.env.timers(clock).remove(&timer) {
                let (at, node, token) = timer;
                self.call(node, |n, cx| n.on_timer(Timer { clock, at, now, token }, cx))?;
                self.sweep()?;
            }
        }
        Ok(())
    }

    fn call<T>(&mut self, at: u32, call: impl FnOnce(&mut dyn Node, &mut Ctx<'_>) -> Result<T>) -> Result<T> {
        let Some(node) = self.nodes.get_mut(at as usize) else {
            return Err(TaskError::Misuse(format!("task {}: there is no node {at}", self.id)));
        };
        self.env.outbox.of_node(at);
        call(
            &mut **node,
            &mut Ctx {
                node: at,
                env: &mut self.env,
                engine: self.stores.engine(),
            },
        )
    }

    /// Ends the epoch: the dirty rows of all stores and the notes of all nodes, as they are now. Flush first; work may go on
    /// after it.
    pub fn seal(&mut self) -> SealedTask {
        let mut notes = vec![(STREAM_TIME.to_owned(), self.env.stream_time.to_be_bytes().to_vec())];
        for (name, node) in self.env.names.iter().zip(&self.nodes) {
            notes.extend(node.note().map(|note| (name.to_string(), note)));
        }
        SealedTask {
            stores: self.stores.seal_all(),
            notes,
        }
    }

    /// The commit succeeded: rows, notes and changelog positions (store name, next offset) become the engine's in one atomic
    /// write (CO-2).
    pub fn apply(&mut self, sealed: SealedTask, positions: &[(String, i64)]) -> Result<(), StateError> {
        self.stores.apply(sealed.stores, positions, &sealed.notes)
    }

    /// Gives nodes their notes back: those of the engine when the task is made, and once more those that came with the
    /// commit, where they are newer (the commit's metadata carries them, so that lost engines do not forget time).
    pub fn restore_notes(&mut self, notes: &[(String, Vec<u8>)]) -> Result<()> {
        for (name, note) in notes {
            if name == STREAM_TIME {
                let bytes = note.as_slice().try_into().map_err(|_| TaskError::State {
                    node: name.clone(),
                    source: StateError::Corrupt(format!("the note of stream time has {} bytes, not 8", note.len())),
                })?;
                self.env.observed = self.env.observed.max(Timestamp::from_be_bytes(bytes));
                self.env.stream_time = self.env.observed;
            } else if let Some(at) = self.env.names.iter().position(|n| **n == **name) {
                let restored = self.nodes.get_mut(at).map_or(Ok(()), |node| node.restore_note(note));
                restored.map_err(|source| TaskError::State {
                    node: name.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Reads all notes from the engine.
    pub(crate) fn load_notes(&mut self) -> Result<()> {
        let names = std::iter::once(STREAM_TIME).chain(self.env.names.iter().map(|n| &**n));
        let mut notes = Vec::new();
        for name in names {
            let note = self.stores.note(name);
            let note = note.map_err(|source| TaskError::State {
                node: name.to_owned(),
                source,
            })?;
            notes.extend(note.map(|note| (name.to_owned(), note)));
        }
        self.restore_notes(&notes)
    }

    /// The stores, to look into them, restore them and read their counters.
    pub fn stores(&mut self) -> &mut StoreSet {
        &mut self.stores
    }

    /// Gives the engine back: for a new task over the same state, after an error or a failed commit.
    pub fn into_engine(self) -> Box<dyn Engine> {
        self.stores.into_engine()
    }

    /// Bytes the stores hold in memory.
    pub fn memory(&self) -> usize {
        self.stores.mem()
    }

    /// Rows that the stores have looked up in the engine so far.
    pub fn lookups(&self) -> u64 {
        self.stores.lookups()
    }

    /// Bytes of rows in the stores that wait for a commit.
    pub fn dirty_bytes(&self) -> usize {
        self.stores.dirty_bytes()
    }

    /// Gives back about this many bytes of clean rows; returns how many it found.
    pub fn evict(&mut self, bytes: usize) -> usize {
        self.stores.evict(bytes)
    }

    /// When the next stream-time timer is due: a batch is cut after the record that reaches it.
    pub fn next_stream_timer(&self) -> Option<Timestamp> {
        if !self.started {
            // Nodes set their first timers when the first round begins: it must not run past them.
            return Some(Timestamp::MIN);
        }
        self.env.stream_timers.first().map(|t| t.0)
    }

    /// When the next wall-clock timer is due.
    pub fn next_wall_timer(&self) -> Option<Timestamp> {
        self.env.wall_timers.first().map(|t| t.0)
    }

    /// What is to be sent. The caller takes the records and clears it.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.env.outbox
    }

    /// Counts an output that the log refused (door 3), by the node that made it.
    pub fn count_refused(&mut self, node: NodeRef, reason: Reason) {
        if let Some(refused) = self.env.refused.get_mut(node.0 as usize) {
            refused[reason as usize] += 1;
        }
    }

    /// The greatest timestamp of accepted records; [`Timestamp::MIN`] before the first.
    pub fn stream_time(&self) -> Timestamp {
        self.env.stream_time
    }

    /// Whether a node asked for a commit since the last call.
    pub fn commit_requested(&mut self) -> bool {
        std::mem::take(&mut self.env.commit_requested)
    }

    /// Counters since the task was made: node name, counter name, value. Refused records are `dropped.<reason>`.
    pub fn counters(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        let name = |node: u32| -> &str { &self.env.names[node as usize] };
        let own = self
            .env
            .counters
            .iter()
            .map(move |(node, counter, n)| (name(*node), *counter, *n));
        let refused = self.env.refused.iter().enumerate().flat_map(move |(node, row)| {
            let nonzero = Reason::ALL.iter().zip(row).filter(|(_, n)| **n > 0);
            nonzero.map(move |(reason, n)| (name(node as u32), reason.counter(), *n))
        });
        own.chain(refused)
    }
}
