//! What the sink and its thread have in common: records on their way out, acknowledgements on their way back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::gather::Gather;
use crate::broker::fault::{Fault, FaultKind, Result};
use crate::broker::record_batch::BatchBuilder;
use crate::broker::{TopicPartition, Waker};

/// Shared by a sink and its thread.
pub(super) struct Shared {
    inbox: Mutex<Inbox>,
    /// Something has changed that the sink may wait for.
    news: Condvar,
    wake: Waker,
    started: Instant,
    /// Bytes handed over that are not acknowledged.
    pending: AtomicUsize,
    failed: AtomicBool,
    pub(super) buffers: Buffers,
}

/// What lies between the two.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) slots: Vec<Slot>,
    /// The slots that have records.
    pub(super) filled: Vec<u32>,
    /// Partitions that the thread has not heard of.
    pub(super) opened: Vec<TopicPartition>,
    /// Everything is to leave at once: somebody waits for it.
    pub(super) hurry: bool,
    pub(super) abort: bool,
    pub(super) quit: bool,
    /// The thread waits, and is to be woken when it can do something.
    pub(super) asleep: bool,
    fault: Option<(FaultKind, String)>,
    /// The sink waits.
    awaited: bool,
    /// The thread is no more.
    ended: bool,
}

/// A partition between the two.
pub(super) struct Slot {
    pub(super) gather: Gather,
    /// The largest batch.
    pub(super) most: usize,
    /// The thread would do something with whatever comes.
    pub(super) hungry: bool,
    /// The last offset written since the last commit; -1 when it was not told.
    pub(super) last: Option<i64>,
}

impl Shared {
    /// `started` is the beginning of the thread's clock.
    pub(super) fn new(wake: Waker, started: Instant) -> Self {
        Self {
            inbox: Mutex::default(),
            news: Condvar::new(),
            wake,
            started,
            pending: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            buffers: Buffers::default(),
        }
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    // ---- the sink's side

    /// Adds a partition.
    pub(super) fn open(&self, partition: TopicPartition, most: usize) {
        let mut inbox = self.inbox();
        inbox.slots.push(Slot {
            gather: Gather::default(),
            most,
            hungry: false,
            last: None,
        });
        inbox.opened.push(partition);
        self.rouse(inbox);
    }

    /// Hands records over. `full` when they are a batch that cannot grow. Waits up to `patience` while there are more than
    /// `memory` bytes under way.
    pub(super) fn hand_over(
        &self,
        place: u32,
        builder: &mut BatchBuilder,
        full: bool,
        (memory, patience): (usize, Duration),
    ) -> Result<()> {
        let held = builder.len();
        let mut inbox = self.inbox();
        if self.pending() > 0 && self.pending() + held > memory {
            inbox = self.wait(inbox, patience, |_| {
                self.pending() == 0 || self.pending() + held <= memory
            })?;
        }
        let Inbox {
            slots, filled, asleep, ..
        } = &mut *inbox;
        let Some(slot) = slots.get_mut(place as usize) else {
            return Ok(());
        };
        let was_empty = slot.gather.len() == 0;
        slot.gather
            .add(builder, slot.most, self.started.elapsed(), &self.buffers);
        self.pending.fetch_add(held, Relaxed);
        if was_empty {
            filled.push(place);
        }
        let wake = *asleep && (slot.hungry || full || slot.gather.len() > 1);
        if wake {
            self.rouse(inbox);
        }
        Ok(())
    }

    /// Everything leaves; waits up to `patience` until it is acknowledged.
    pub(super) fn flush(&self, patience: Duration) -> Result<()> {
        let inbox = self.inbox();
        self.wait(inbox, patience, |_| self.pending() == 0).map(drop)
    }

    /// Drops everything. Waits until that is done.
    pub(super) fn abort(&self, patience: Duration) -> Result<()> {
        let mut inbox = self.inbox();
        inbox.abort = true;
        inbox.fault = None;
        self.failed.store(inbox.ended, Relaxed);
        self.wait(inbox, patience, |inbox| !inbox.abort).map(drop)
    }

    /// What has gone wrong, if anything has.
    pub(super) fn check(&self) -> Result<()> {
        if self.failed.load(Relaxed) {
            return self.inbox().check();
        }
        Ok(())
    }

    /// Waits in a hurry.
    fn wait<'a>(
        &'a self,
        mut inbox: MutexGuard<'a, Inbox>,
        patience: Duration,
        done: impl Fn(&Inbox) -> bool,
    ) -> Result<MutexGuard<'a, Inbox>> {
        let deadline = Instant::now() + patience;
        loop {
            inbox.check()?;
            if done(&inbox) {
                (inbox.hurry, inbox.awaited) = (false, false);
                return Ok(inbox);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                (inbox.hurry, inbox.awaited) = (false, false);
                return Err(Fault::retry(format!(
                    "{} bytes of records are not acknowledged after {patience:?}",
                    self.pending()
                )));
            }
            (inbox.hurry, inbox.awaited) = (true, true);
            if std::mem::take(&mut inbox.asleep) {
                (self.wake)();
            }
            let waited = self.news.wait_timeout(inbox, left);
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes the thread if it sleeps.
    fn rouse(&self, mut inbox: MutexGuard<'_, Inbox>) {
        let asleep = std::mem::take(&mut inbox.asleep);
        drop(inbox);
        if asleep {
            (self.wake)();
        }
    }

    /// Ends the thread.
    pub(super) fn quit(&self) {
        let mut inbox = self.inbox();
        inbox.quit = true;
        drop(inbox);
        (self.wake)();
    }

    // ---- the thread's side

    /// So many bytes are acknowledged.
    pub(super) fn release(&self, bytes: usize) {
        self.pending.fetch_sub(bytes, Relaxed);
    }

    /// Nothing is handed over any more that is not acknowledged.
    pub(super) fn release_all(&self) {
        self.pending.store(0, Relaxed);
    }

    /// Notes what has gone wrong, unless something has already.
    pub(super) fn fail(&self, inbox: &mut Inbox, fault: &Fault) {
        if inbox.fault.is_none() {
            inbox.fault = Some((fault.kind, fault.to_string()));
            self.failed.store(true, Relaxed);
        }
        self.tell(inbox);
    }

    /// The thread ends.
    pub(super) fn end(&self) {
        let mut inbox = self.inbox();
        inbox.ended = true;
        self.failed.store(true, Relaxed);
        self.tell(&inbox);
    }

    /// Lets a waiting sink look.
    pub(super) fn tell(&self, inbox: &Inbox) {
        if inbox.awaited {
            self.news.notify_all();
        }
    }
}

impl Inbox {
    pub(super) fn has_failed(&self) -> bool {
        self.fault.is_some()
    }

    fn check(&self) -> Result<()> {
        match &self.fault {
            Some((kind, text)) => Err(Fault::new(*kind, text.clone())),
            None if self.ended => Err(Fault::fatal("the thread that writes to Kafka has ended")),
            None => Ok(()),
        }
    }

    /// The next commit is about what comes from now on.
    pub(super) fn forget_offsets(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.last = None);
    }

    /// Drops all records and what is known of written ones.
    pub(super) fn forget(&mut self) {
        self.forget_offsets();
        self.slots.iter_mut().for_each(|slot| slot.gather.clear());
        self.filled.clear();
    }
}
