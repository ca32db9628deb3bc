//! What all stream threads share: the gate, the meeting point, the way out, and how they are woken and stopped.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_topology::TaskId;

use crate::broker::{Acked, TopicPartition, Waker};
use crate::clock::Clock;
use crate::commit::{Committer, Share, Verdict};
use crate::error::Error;
use crate::events::Events;
use crate::gate::{Gate, Slot};
use crate::outputs::Outputs;
use crate::progress::Totals;
use crate::rendezvous::Rendezvous;

/// Shared by the threads of one run.
pub struct Control {
    /// Aligns reading in event time.
    pub gate: Arc<Gate>,
    /// Where threads meet to commit.
    pub meeting: Rendezvous<Share, Verdict>,
    /// Carries commits out.
    pub committer: Committer,
    /// Running totals.
    pub totals: Arc<Totals>,
    /// What happened.
    pub events: Arc<Events>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The gate's slot of every partition that tasks of this process read.
    slots: HashMap<TopicPartition, Slot>,
    outputs: Mutex<Outputs>,
    damaged: Mutex<BTreeSet<TaskId>>,
    sleepers: Arc<Sleepers>,
    /// Whether anything was processed since the last commit.
    dirty: AtomicBool,
    /// When the last commit had its verdict, in ms of the monotonic clock.
    committed_at: AtomicU64,
}

/// Threads that wait, and how they are woken. Apart from the rest, for the sink wakes them from a thread of its own, which
/// must never be the last to hold the sink.
struct Sleepers {
    gate: Arc<Gate>,
    wakers: Mutex<Vec<Waker>>,
    /// Whether the sink has asked to be called.
    sink_calls: AtomicBool,
}

impl Sleepers {
    fn wake(&self) {
        self.gate.wake();
        for waker in self.wakers().iter() {
            waker();
        }
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Puts the parts together.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is of a type of its own: none can be taken for another"
    )]
    pub fn new(
        gate: Gate,
        slots: HashMap<TopicPartition, Slot>,
        threads: usize,
        committer: Committer,
        mut outputs: Outputs,
        totals: Arc<Totals>,
        events: Arc<Events>,
        clock: Arc<dyn Clock>,
    ) -> Control {
        let gate = Arc::new(gate);
        let sleepers = Arc::new(Sleepers {
            gate: gate.clone(),
            wakers: Mutex::default(),
            sink_calls: AtomicBool::new(false),
        });
        let woken = sleepers.clone();
        outputs.wake_by(Arc::new(move || {
            woken.sink_calls.store(true, Relaxed);
            woken.wake();
        }));
        Control {
            gate,
            slots,
            meeting: Rendezvous::new(threads),
            committer,
            totals,
            events,
            committed_at: AtomicU64::new(millis(clock.monotonic())),
            clock,
            outputs: Mutex::new(outputs),
            damaged: Mutex::default(),
            sleepers,
            dirty: AtomicBool::new(false),
        }
    }

    /// The process's way out, for as long as the guard lives.
    pub fn outputs(&self) -> MutexGuard<'_, Outputs> {
        // After a panic in there the application halts, and nothing of it is committed.
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a task's stores cannot be trusted any more.
    pub fn note_damage(&self, task: TaskId) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.insert(task);
    }

    /// The tasks whose stores cannot be trusted.
    pub fn damaged(&self) -> BTreeSet<TaskId> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers how a waiting thread is woken.
    pub fn add_waker(&self, waker: Waker) {
        self.sleepers.wakers().push(waker);
    }

    /// Asks for a commit and wakes whoever waits.
    pub fn request_commit(&self) {
        if self.meeting.request() {
            self.wake();
        }
    }

    /// Halts all threads; `error` is the reason if it is the first.
    pub fn halt(&self, error: Error) {
        self.meeting.fail(error);
        self.wake();
    }

    /// Wakes all waiting threads.
    pub fn wake(&self) {
        self.sleepers.wake();
    }

    /// Whether the sink has asked to be called since the last time.
    pub fn sink_calls(&self) -> bool {
        let calls = &self.sleepers.sink_calls;
        calls.load(Relaxed) && calls.swap(false, Relaxed)
    }

    /// Notes that there is something to commit.
    pub fn mark_dirty(&self) {
        self.dirty.store(true, Relaxed);
    }

    /// Whether there is something to commit, and the last commit is `interval` ago.
    pub fn commit_is_due(&self, interval: Duration) -> bool {
        self.dirty.load(Relaxed) && millis(self.clock.monotonic()) >= self.committed_at.load(Relaxed) + millis(interval)
    }

    /// Whether there is something to commit.
    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Relaxed)
    }

    /// Notes that a commit's records are durable, while all threads still wait for its verdict. Partitions that it filled
    /// count as having data from here on, so that nobody runs ahead of them before their owner has looked.
    pub fn mark_committed(&self, acked: &Acked) {
        self.gate.reopen(
            acked
                .last
                .iter()
                .filter_map(|(partition, _)| self.slots.get(partition).copied()),
        );
        self.dirty.store(false, Relaxed);
        self.committed_at.store(millis(self.clock.monotonic()), Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
