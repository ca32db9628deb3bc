//! Makes a producer send what it would hold back for `linger.ms`: at once when asked to, and when nothing follows.
//!
//! librdkafka has no call for that but `flush`, which keeps its caller for some milliseconds. So a thread calls it,
//! which sleeps while nothing is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::producer::BaseProducer;

use super::ffi::produce;
use crate::broker::fault::{Fault, Result};

/// Nothing follows when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);

/// The thread that pushes. Dropping it ends the thread.
pub(super) struct Pusher {
    /// `None` only while it is dropped.
    wishes: Option<SyncSender<()>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// How often records were left to be pushed later.
    left: AtomicU64,
    /// Whether the thread looks at that from time to time.
    watches: AtomicBool,
}

impl Pusher {
    /// Starts the thread.
    pub(super) fn start(producer: Arc<BaseProducer>) -> Result<Self> {
        // One wish can wait while one is fulfilled: it covers all that is appended before its turn.
        let (wishes, wished) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let thread = thread::Builder::new()
            .name("kafka-push".into())
            .spawn(move || watched.push_as_wished(&producer, &wished));
        let thread = thread.map_err(|e| Fault::retry(format!("cannot start a thread for the Kafka producer: {e}")))?;
        Ok(Self {
            wishes: Some(wishes),
            shared,
            thread: Some(thread),
        })
    }

    /// What has been appended is to leave now. Does not wait for it.
    pub(super) fn push(&self) {
        if let Some(wishes) = &self.wishes {
            // Full: the wish that waits already is as good.
            let _ = wishes.try_send(());
        }
    }

    /// What has been appended may wait for company, but is to leave when none comes.
    pub(super) fn push_when_quiet(&self) {
        self.shared.left.fetch_add(1, Relaxed);
        // A watch that ends at this very moment is made up for by the linger.
        if !self.shared.watches.load(Relaxed) {
            self.push();
        }
    }
}

impl Shared {
    fn push_as_wished(&self, producer: &BaseProducer, wished: &Receiver<()>) {
        while wished.recv().is_ok() {
            produce::push(producer);
            self.watches.store(true, Relaxed);
            let mut seen = self.left.load(Relaxed);
            let mut pushed = seen;
            loop {
                match wished.recv_timeout(QUIET) {
                    Ok(()) => produce::push(producer),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let left = self.left.load(Relaxed);
                        if left == seen && left == pushed {
                            break;
                        }
                        if left == seen {
                            produce::push(producer);
                            pushed = left;
                        }
                        seen = left;
                    }
                }
            }
            self.watches.store(false, Relaxed);
        }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did its end is all that is wanted.
            let _ = thread.join();
        }
    }
}
