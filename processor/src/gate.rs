//! OR-3: all tasks of the process read aligned in event time.
//!
//! Every source partition publishes how far it has come: the highest timestamp up to and with its next record. While it
//! has data at hand, nobody takes a record that lies more than the skew ahead of it. So whatever the tasks write into a
//! repartition topic, one after the other, is out of order by no more than the skew and the disorder of each source.
//!
//! The slowest partition itself is never held back, so the gate cannot lock up. (Several processes align through
//! watermarks in repartition topics, later: they will publish here as one more slot per remote process.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use millstream_state::Timestamp;

/// Where a partition stands in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its next record, or one not fetched yet, has at least this (running) time.
    At(Timestamp),
    /// It has nothing to read: it holds nobody back.
    Empty,
}

/// How often a waiter lets other threads run before it sleeps. Where event time is thin (the fleet job: a handful of records
/// in ten minutes) the limit rises every few microseconds, and to sleep and be woken costs ten times that: with three
/// threads the job took 15-22 s and 10 s of CPU; with this 8-12 s and 7.5 s.
const YIELDS: usize = 200;

/// A partition's place on the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

/// The process-wide board of standings.
#[derive(Debug)]
pub struct Gate {
    skew: i64,
    board: Mutex<Board>,
    /// Counts what a waiter might wait for: a risen limit, or a call of [`Gate::wake`]. Written under the board's lock.
    version: AtomicU64,
    moved: Condvar,
}

#[derive(Debug)]
struct Board {
    standings: Vec<Standing>,
    limit: Timestamp,
}

impl Gate {
    /// A gate that lets nobody run more than `skew` ms ahead.
    pub fn new(skew: i64) -> Self {
        let board = Board {
            standings: Vec::new(),
            limit: Timestamp::MAX,
        };
        Gate {
            skew,
            board: Mutex::new(board),
            version: AtomicU64::new(0),
            moved: Condvar::new(),
        }
    }

    /// Adds a partition of which nothing is known yet: until it publishes, everybody waits for it.
    pub fn slot(&self) -> Slot {
        let mut board = self.lock();
        board.standings.push(Standing::At(Timestamp::MIN));
        board.limit = Timestamp::MIN.saturating_add(self.skew);
        Slot(board.standings.len() - 1)
    }

    /// Says that a partition that was empty has records now, before its owner knows: everybody waits until it publishes.
    pub fn reopen(&self, slots: impl IntoIterator<Item = Slot>) {
        let mut board = self.lock();
        for slot in slots {
            if board.standings[slot.0] == Standing::Empty {
                board.standings[slot.0] = Standing::At(Timestamp::MIN);
            }
        }
    }

    /// Publishes standings; returns the time up to which records may be taken, and the version to wait on.
    pub fn publish(&self, updates: impl IntoIterator<Item = (Slot, Standing)>) -> (Timestamp, u64) {
        let mut board = self.lock();
        for (slot, standing) in updates {
            board.standings[slot.0] = standing;
        }
        let slowest = board.standings.iter().min().copied().unwrap_or(Standing::Empty);
        let limit = match slowest {
            Standing::At(time) => time.saturating_add(self.skew),
            Standing::Empty => Timestamp::MAX,
        };
        if limit != board.limit {
            board.limit = limit;
            self.turn(&board);
        }
        (limit, self.version.load(Ordering::Acquire))
    }

    /// Waits until something has changed since `seen`, or for `timeout`.
    pub fn wait(&self, seen: u64, timeout: Duration) {
        for _ in 0..YIELDS {
            if self.version.load(Ordering::Acquire) != seen {
                return;
            }
            thread::yield_now();
        }
        let board = self.lock();
        let unchanged = |_: &mut Board| self.version.load(Ordering::Acquire) == seen;
        drop(self.moved.wait_timeout_while(board, timeout, unchanged));
    }

    /// Ends all waiting: a commit or a stop was asked for.
    pub fn wake(&self) {
        self.turn(&self.lock());
    }

    fn turn(&self, _board: &MutexGuard<'_, Board>) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.moved.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // The board is whole after every statement, so a panic elsewhere leaves nothing half done.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(gate: &Gate, updates: &[(Slot, Standing)]) -> Timestamp {
        gate.publish(updates.iter().copied()).0
    }

    #[test]
    fn the_slowest_partition_with_data_sets_the_limit() {
        let gate = Gate::new(10);
        let (a, b) = (gate.slot(), gate.slot());
        assert_eq!(limit(&gate, &[(a, Standing::At(100))]), Timestamp::MIN + 10);
        assert_eq!(limit(&gate, &[(b, Standing::At(50))]), 60);
        assert_eq!(limit(&gate, &[(b, Standing::Empty)]), 110);
        assert_eq!(limit(&gate, &[(a, Standing::Empty)]), Timestamp::MAX);
    }

    #[test]
    fn waiters_see_what_moved_before_they_slept() {
        let gate = Gate::new(0);
        let slot = gate.slot();
        let (_, seen) = gate.publish([(slot, Standing::At(1))]);
        gate.publish([(slot, Standing::At(2))]);
        // Returns at once; a lost wake-up would hang here.
        gate.wait(seen, Duration::from_secs(3600));
        let (_, seen) = gate.publish([]);
        gate.wake();
        gate.wait(seen, Duration::from_secs(3600));
    }
}
