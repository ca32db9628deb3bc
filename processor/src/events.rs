//! What is worth telling: each event is one type that writes its log line and counts, so that logs and numbers agree.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_topology::TaskId;

use crate::broker::TopicPartition;

/// Who wants to be told of events, on the thread where they happen: return soon.
pub type EventHook = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Counts of events by name since the start.
#[derive(Default)]
pub struct Events {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    hook: Option<EventHook>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Events that are told to `hook` as well.
    pub fn told_to(hook: Option<EventHook>) -> Events {
        Events {
            hook,
            ..Events::default()
        }
    }

    /// Logs, counts and tells an event.
    pub fn emit(&self, event: &Event<'_>) {
        event.log();
        if let Some(hook) = &self.hook {
            hook(event);
        }
        *self
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(event.name())
            .or_default() += event.amount();
    }

    /// The counts so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Something that happened, rarely enough to be logged.
#[derive(Debug)]
pub enum Event<'a> {
    /// The application runs.
    Started {
        /// Its id.
        application: &'a str,
        /// The log it runs on.
        log: &'a str,
        /// How many tasks it has.
        tasks: usize,
        /// On how many threads.
        threads: usize,
    },
    /// An internal topic was missing and was created.
    TopicCreated {
        /// Its name.
        topic: &'a str,
        /// Its partitions.
        partitions: i32,
    },
    /// A store begins to be restored from its changelog.
    RestoreStarted {
        /// The task.
        task: TaskId,
        /// The store.
        store: &'a str,
        /// Records to read at most: compaction may have left fewer.
        left: i64,
    },
    /// A store is being restored from its changelog.
    RestoreProgress {
        /// The task.
        task: TaskId,
        /// The store.
        store: &'a str,
        /// Changelog records read so far.
        records: u64,
        /// Changelog records still to read.
        left: i64,
    },
    /// A store was restored from its changelog.
    Restored {
        /// The task.
        task: TaskId,
        /// The store.
        store: &'a str,
        /// Changelog records read.
        records: u64,
        /// How long it took.
        took: Duration,
    },
    /// A task's stores were deleted, to be rebuilt from their changelogs.
    StoresWiped {
        /// The task.
        task: TaskId,
        /// Why.
        reason: &'a str,
    },
    /// Keys were found in a changelog beyond the last commit; they are written again (CO-4).
    UncommittedKeys {
        /// The task.
        task: TaskId,
        /// The store.
        store: &'a str,
        /// How many keys.
        keys: u64,
    },
    /// A committed position does not exist any more, and reading goes on elsewhere.
    PositionLost {
        /// The partition.
        partition: &'a TopicPartition,
        /// The position that is gone.
        wanted: i64,
        /// Where reading goes on.
        instead: i64,
    },
    /// A partition that should have data does not deliver; the others no longer wait for it.
    PartitionStalled {
        /// The partition.
        partition: &'a TopicPartition,
    },
    /// The log refused an output (door 3).
    OutputRefused {
        /// The node that made it.
        node: &'a str,
        /// The topic it was for.
        topic: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// The memory budget was reached: a commit came early.
    MemoryPressure {
        /// Bytes in use.
        bytes: usize,
    },
    /// The totals, from time to time.
    Summary {
        /// Records read.
        records_in: u64,
        /// Records written.
        records_out: u64,
        /// Records not yet read.
        lag: i64,
    },
    /// All tasks have their state; all threads process records.
    Running,
    /// The application ended as it was asked to.
    Stopped {
        /// Records read.
        records_in: u64,
        /// Records written.
        records_out: u64,
        /// Commits made.
        commits: u64,
    },
}

impl Event<'_> {
    /// Name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Started { .. } => "started",
            Event::TopicCreated { .. } => "topics_created",
            Event::RestoreStarted { .. } => "restores_started",
            Event::RestoreProgress { .. } => "restore_progress",
            Event::Restored { .. } => "restored_records",
            Event::StoresWiped { .. } => "stores_wiped",
            Event::UncommittedKeys { .. } => "uncommitted_keys",
            Event::PositionLost { .. } => "positions_lost",
            Event::PartitionStalled { .. } => "partitions_stalled",
            Event::OutputRefused { .. } => "outputs_refused",
            Event::MemoryPressure { .. } => "memory_pressure",
            Event::Summary { .. } => "summaries",
            Event::Running => "running",
            Event::Stopped { .. } => "stopped",
        }
    }

    fn amount(&self) -> u64 {
        match self {
            Event::Restored { records, .. } => *records,
            Event::UncommittedKeys { keys, .. } => *keys,
            _ => 1,
        }
    }

    /// Writes the log line: the level says who must act (error: somebody now; warn: somebody some day).
    fn log(&self) {
        match self {
            Event::Started {
                application,
                log,
                tasks,
                threads,
            } => {
                tracing::info!(application, log, tasks, threads, "started");
            }
            Event::TopicCreated { topic, partitions } => tracing::info!(topic, partitions, "internal topic created"),
            Event::RestoreStarted { task, store, left } => {
                tracing::info!(%task, store, left, "restore of store begins")
            }
            Event::RestoreProgress {
                task,
                store,
                records,
                left,
            } => {
                tracing::info!(%task, store, records, left, "restoring store");
            }
            Event::Restored {
                task,
                store,
                records,
                took,
            } => {
                tracing::info!(%task, store, records, took_ms = took.as_millis() as u64, "store restored");
            }
            Event::StoresWiped { task, reason } => {
                tracing::warn!(%task, reason, "stores deleted; they are rebuilt from their changelogs");
            }
            Event::UncommittedKeys { task, store, keys } => {
                tracing::info!(%task, store, keys, "keys beyond the last commit are written again");
            }
            Event::PositionLost {
                partition,
                wanted,
                instead,
            } => {
                tracing::warn!(%partition, wanted, instead, "position does not exist any more; reading goes on elsewhere");
            }
            Event::PartitionStalled { partition } => {
                tracing::warn!(%partition, "partition does not deliver; others go on without it")
            }
            Event::OutputRefused { node, topic, reason } => tracing::warn!(node, topic, reason, "output refused"),
            Event::MemoryPressure { bytes } => tracing::debug!(bytes, "memory budget reached; committing early"),
            Event::Summary {
                records_in,
                records_out,
                lag,
            } => tracing::info!(records_in, records_out, lag, "summary"),
            Event::Running => tracing::info!("running"),
            Event::Stopped {
                records_in,
                records_out,
                commits,
            } => {
                tracing::info!(records_in, records_out, commits, "stopped");
            }
        }
    }
}
