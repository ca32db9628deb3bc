//! The end of a commit: its offsets are under way while the stream threads work on.
//!
//! On Kafka the coordinator takes one to four milliseconds for them. Threads that waited for it were late with whatever came
//! meanwhile (decision record 0018).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::broker::PendingOffsets;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::rendezvous::Halted;
use crate::supervise::text_of;

/// How a commit ends, once it has.
#[derive(Debug, Default)]
pub struct Ending {
    /// Whether the offsets are committed; `None` while they are under way.
    outcome: Mutex<Option<Result<(), Halted>>>,
    told: Condvar,
}

impl Ending {
    /// Of a commit that had nothing to write.
    pub fn of_nothing() -> Arc<Ending> {
        let ending = Ending::default();
        ending.tell(Ok(()));
        Arc::new(ending)
    }

    /// Commits the offsets: here, if the log has done so already, else on a thread for them. If they cannot be committed the
    /// application halts.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn of(offsets: PendingOffsets, control: &Arc<Control>) -> Result<Arc<Ending>> {
        let ending = Arc::new(Ending::default());
        if offsets.is_none() {
            ending.tell(commit(offsets, control));
            return Ok(ending);
        }
        let (told, control) = (ending.clone(), control.clone());
        let thread = thread::Builder::new().name("millstream-commit".into());
        let started = thread.spawn(move || {
            let outcome = commit(offsets, &control);
            // Who hears of it may end the run, and must be the last to hold the connections.
            drop(control);
            told.tell(outcome);
        });
        started.map_err(|e| Error::fatal("the system gives no more threads").caused_by(e))?;
        Ok(ending)
    }

    fn tell(&self, outcome: Result<(), Halted>) {
        *self.lock() = Some(outcome);
        self.told.notify_all();
    }

    /// Whether it is known how the commit has ended.
    pub fn is_known(&self) -> bool {
        self.lock().is_some()
    }

    /// Waits for it.
    pub fn wait(&self) -> Result<(), Halted> {
        let waited = self.told.wait_while(self.lock(), |outcome| outcome.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).unwrap_or(Err(Halted))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<(), Halted>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn commit(offsets: PendingOffsets, control: &Control) -> Result<(), Halted> {
    let error = match catch_unwind(AssertUnwindSafe(|| offsets.commit())) {
        Ok(Ok(())) => {
            control.totals.commits.fetch_add(1, Relaxed);
            return Ok(());
        }
        Ok(Err(error)) => error,
        Err(panic) => Error::fatal(format!("the thread of a commit panicked: {}", text_of(&*panic))),
    };
    control.halt(error);
    Err(Halted)
}
