//! A task with its inputs and its place in the log: one round of work, and its part of a commit.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use millstream_state::stores::SealedSet;

use millstream_topology::Flushed;
use millstream_topology::picker::{Cut, ROWS};
use millstream_topology::task::{PORTION, SealedTask, Task};

use crate::broker::{Acked, PartitionRef, TopicPartition};
use crate::commit::{TaskShare, position_after};
use crate::config::Config;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::inputs::Inputs;
use crate::outputs::Outputs;

/// How long a partition that should have data may keep its siblings and the gate waiting.
const STALL: Duration = Duration::from_secs(10);

/// Rows that a partition gives to a round, at most.
const MOST_ROWS: usize = 8192;

/// A logged store's changelog.
#[derive(Debug)]
pub struct Changelog {
    /// The store.
    pub store: String,
    /// Its partition of the changelog topic.
    pub partition: TopicPartition,
    /// Where it is appended to.
    pub to: PartitionRef,
    /// The offset after its last record that is committed.
    pub position: i64,
}

/// What a task could do just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Round {
    /// Nothing is at hand.
    Nothing,
    /// Records are at hand, but the gate holds them back.
    Gated,
    /// Waits for records of another of its partitions.
    Awaiting,
    /// It worked.
    Worked,
}

/// A running task.
pub struct TaskRunner {
    task: Task,
    inputs: Inputs,
    changelogs: Vec<Changelog>,
    routes: Vec<Option<usize>>,
    /// Since when some, but not all of its partitions have had records at hand (`max.task.idle.ms`).
    uneven_since: Option<Duration>,
    /// Rows that a partition gives to the next round.
    rows: usize,
    /// Whether it has done anything since the last commit.
    dirty: bool,
    flushed_at: Duration,
}

/// Rows and notes of a task that wait for the verdict on a commit, to be applied when it has succeeded.
pub struct PendingApply(SealedTask);

impl TaskRunner {
    /// A restored task.
    pub fn new(task: Task, inputs: Inputs, changelogs: Vec<Changelog>) -> TaskRunner {
        // Dirty at first: what restore found beyond the commit has to be written again (CO-4).
        TaskRunner {
            task,
            inputs,
            changelogs,
            routes: Vec::new(),
            uneven_since: None,
            rows: ROWS,
            dirty: true,
            flushed_at: Duration::ZERO,
        }
    }

    /// The task itself.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Its inputs.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Its inputs, to change.
    pub fn inputs_mut(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    /// Processes up to one round of records within `cut`, and appends what they give to the sink.
    pub fn round(&mut self, cut: Cut, control: &Control, config: &Config) -> Result<Round> {
        self.note_stalls(control);
        if self.inputs.is_empty() {
            return Ok(Round::Nothing);
        }
        if self.waits_for_siblings(control, config) {
            return Ok(Round::Awaiting);
        }
        let cut = Cut {
            timer: self.task.next_stream_timer(),
            rows: self.rows,
            ..cut
        };
        let fed = self.inputs.feed(&mut self.task, &cut);
        if fed == 0 {
            return Ok(Round::Gated);
        }
        let lookups = self.task.lookups();
        let ran = self.task.run(control.clock.now());
        self.noting_damage(control, ran)?;
        self.rows = rows_of_next_round(self.rows, fed, self.task.lookups() - lookups);
        self.drain(control)?;
        control.totals.records_in.fetch_add(fed as u64, Relaxed);
        control.totals.event_time.fetch_max(self.task.stream_time(), Relaxed);
        self.dirty = true;
        control.mark_dirty();
        Ok(Round::Worked)
    }

    /// A partition that does not deliver what the log has must not hold everybody back for ever.
    fn note_stalls(&mut self, control: &Control) {
        let now = control.clock.monotonic();
        for input in self.inputs.iter_mut() {
            if input.stalls(now, STALL) {
                control.events.emit(&Event::PartitionStalled {
                    partition: input.partition(),
                });
            }
        }
    }

    /// `max.task.idle.ms`: whether to hold back what is at hand until other partitions have something too.
    fn waits_for_siblings(&mut self, control: &Control, config: &Config) -> bool {
        let Some(patience) = config.max_task_idle else {
            return false;
        };
        if self.inputs.any_missing() {
            return true;
        }
        if patience.is_zero() || self.inputs.all_at_hand() {
            self.uneven_since = None;
            return false;
        }
        let now = control.clock.monotonic();
        now.saturating_sub(*self.uneven_since.get_or_insert(now)) < patience
    }

    /// Fires wall-clock timers that are due.
    pub fn punctuate(&mut self, control: &Control) -> Result<()> {
        let now = control.clock.now();
        if self.task.next_wall_timer().is_none_or(|due| due > now) {
            return Ok(());
        }
        let fired = self.task.punctuate(now);
        self.noting_damage(control, fired)?;
        self.dirty = true;
        control.mark_dirty();
        self.drain(control)
    }

    /// End of input: all windows close.
    pub fn finish(&mut self, control: &Control) -> Result<()> {
        let finished = self.task.finish(control.clock.now());
        self.noting_damage(control, finished)?;
        self.dirty = true;
        control.mark_dirty();
        self.drain(control)
    }

    fn drain(&mut self, control: &Control) -> Result<()> {
        let partition = self.task.id().partition;
        let outbox = self.task.outbox();
        if outbox.is_empty() {
            return Ok(());
        }
        control.totals.records_out.fetch_add(outbox.len() as u64, Relaxed);
        let mut refused = Vec::new();
        let appended = control
            .outputs()
            .append_all(outbox, &mut self.routes, partition, &mut refused);
        outbox.clear();
        for (node, reason) in refused {
            self.task.count_refused(node, reason);
        }
        appended
    }

    /// Whether a node asked for a commit.
    pub fn commit_requested(&mut self) -> bool {
        self.task.commit_requested()
    }

    /// Steps 1 and 2 of a commit: flush, seal, append. `None` when nothing has happened since the last one.
    pub fn seal(&mut self, control: &Control) -> Result<Option<(PendingApply, TaskShare)>> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(None);
        }
        let mut flushed = Flushed::Part;
        while flushed == Flushed::Part {
            let portion = self.task.flush(control.clock.now(), PORTION);
            flushed = self.noting_damage(control, portion)?;
            self.drain(control)?;
        }
        let sealed = self.task.seal();
        self.append_changelogs(&sealed.stores, control)?;
        let share = TaskShare {
            task: self.task.id(),
            offsets: self
                .inputs
                .iter()
                .map(|input| (input.partition().clone(), input.position()))
                .collect(),
            changelogs: self
                .changelogs
                .iter()
                .map(|log| (log.store.clone(), log.partition.clone(), log.position))
                .collect(),
            notes: sealed.notes.iter().cloned().collect(),
        };
        Ok(Some((PendingApply(sealed), share)))
    }

    fn append_changelogs(&self, sealed: &SealedSet, control: &Control) -> Result<()> {
        if sealed.is_empty() {
            return Ok(());
        }
        // Deletions have no time of their own.
        let stream_time = self.task.stream_time().max(0);
        let mut outputs = control.outputs();
        let mut written = 0;
        sealed.try_each_log_row(|store, row| {
            let Some(log) = self.changelogs.iter().find(|log| log.store == store) else {
                return Ok(());
            };
            written += 1;
            outputs.append_changelog(log.to, row.key, row.value, row.timestamp.unwrap_or(stream_time))
        })?;
        control.totals.changelog_records.fetch_add(written, Relaxed);
        Ok(())
    }

    /// Step 5 of a commit: the sealed rows go to the engine.
    pub fn apply(&mut self, pending: PendingApply, acked: &Acked, control: &Control) -> Result<()> {
        for log in &mut self.changelogs {
            log.position = position_after(&log.partition, log.position, acked);
        }
        let positions: Vec<(String, i64)> = self
            .changelogs
            .iter()
            .map(|log| (log.store.clone(), log.position))
            .collect();
        let applied = self.task.apply(pending.0, &positions);
        self.noting_damage(control, applied)
    }

    /// An error that says that the stores cannot be trusted: they are rebuilt before the next start ([`crate::app`]).
    fn noting_damage<T, E: Into<Error>>(&self, control: &Control, result: std::result::Result<T, E>) -> Result<T> {
        result.map_err(|error| {
            let error = error.into();
            if error.kind == ErrorKind::Corrupt {
                control.note_damage(self.task.id());
            }
            error
        })
    }

    /// After a commit: keeps what a crash would have to replay within its bounds.
    pub fn keep_replay_short(&mut self, now: Duration, config: &Config, control: &Control) -> Result<()> {
        let engine = self.task.stores().engine_mut();
        let unflushed = engine.unflushed_bytes();
        let old = now.saturating_sub(self.flushed_at) >= config.state_flush_max;
        if unflushed > config.state_flush_max_bytes || (old && unflushed > 0) {
            let flushed = engine.flush();
            self.noting_damage(control, flushed)?;
            self.flushed_at = now;
        }
        Ok(())
    }

    /// Gives memory of clean rows back until no more than `bytes` are held.
    pub fn shrink_to(&mut self, bytes: usize) {
        let held = self.task.memory();
        if held > bytes {
            self.task.evict(held - bytes);
        }
    }

    /// Bytes of rows that wait for a commit.
    pub fn uncommitted_bytes(&self) -> usize {
        self.task.dirty_bytes()
    }

    /// Bytes held by stores and queues.
    pub fn memory(&self) -> usize {
        self.task.memory() + self.inputs.bytes()
    }
}

/// Opens the sink's side of a changelog.
pub fn changelog(store: String, partition: TopicPartition, position: i64, outputs: &mut Outputs) -> Result<Changelog> {
    let to = outputs.partition(&partition)?;
    Ok(Changelog {
        store,
        partition,
        to,
        position,
    })
}

/// How many rows a partition gives to the next round, after a round of `rows` that processed `fed` records, for which stores
/// looked `lookups` rows up.
///
/// Short rounds stay in the processor's caches. But look-ups are sorted by key, and those that find their rows in the same
/// block share it: with rows that are mostly not in memory long rounds cost less (decision record 0017).
fn rows_of_next_round(rows: usize, fed: usize, lookups: u64) -> usize {
    let few = lookups < fed as u64 / 4;
    match fed >= rows {
        _ if few => ROWS,
        true => (2 * rows).min(MOST_ROWS),
        false => rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_long_only_while_rows_are_looked_up_and_records_are_at_hand() {
        assert_eq!(rows_of_next_round(ROWS, ROWS, 0), ROWS);
        assert_eq!(rows_of_next_round(ROWS, ROWS, ROWS as u64), 2 * ROWS);
        assert_eq!(rows_of_next_round(2 * ROWS, 100, 90), 2 * ROWS, "there was no more");
        assert_eq!(rows_of_next_round(4 * ROWS, 4 * ROWS, 10), ROWS, "all is in memory now");
        let grown = (0..100).fold(ROWS, |rows, _| rows_of_next_round(rows, rows, rows as u64));
        assert_eq!(grown, MOST_ROWS);
    }
}
