//! Where the stream threads meet to commit. A commit is one atomic step for the whole process (decision record 0003), so
//! every thread brings its share, the last one to arrive carries the commit out, and all go on with its verdict.
//!
//! ```text
//!  running --request--> every thread arrives at its next round --last one leads--> verdict --> running
//!     \------------------------------- fail (error, panic) --------------------------------> halted, for good
//! ```

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// The application stops; why is known to whoever asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halted;

/// The meeting point of a fixed number of threads. `S` is what each brings, `V` what all take away.
pub struct Rendezvous<S, V> {
    threads: usize,
    state: Mutex<State<S, V>>,
    changed: Condvar,
    requested: AtomicBool,
}

struct State<S, V> {
    round: u64,
    /// Shares of the threads that have arrived in this round.
    shares: Vec<S>,
    verdict: Option<Arc<V>>,
    /// Which threads have nothing to do until others bring it.
    idle: Vec<bool>,
    halted: bool,
    failure: Option<Error>,
}

impl<S, V> Rendezvous<S, V> {
    /// A meeting point of `threads` threads.
    pub fn new(threads: usize) -> Self {
        let idle = vec![false; threads];
        let state = State {
            round: 0,
            shares: Vec::new(),
            verdict: None,
            idle,
            halted: false,
            failure: None,
        };
        Rendezvous {
            threads,
            state: Mutex::new(state),
            changed: Condvar::new(),
            requested: AtomicBool::new(false),
        }
    }

    /// Asks all threads to meet. Whether this call is the first to ask, so that the caller wakes the others.
    pub fn request(&self) -> bool {
        !self.requested.swap(true, Ordering::AcqRel)
    }

    /// Whether a meeting was asked for (or the application halts, which threads learn by arriving).
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Says whether `thread` has nothing to do; true when that holds for all of them now.
    pub fn set_idle(&self, thread: usize, idle: bool) -> bool {
        let mut state = self.lock();
        state.idle[thread] = idle;
        state.idle.iter().all(|idle| *idle)
    }

    /// Arrives with a share and waits for the others; the last one runs `lead` on all shares. A failure of `lead` halts
    /// everybody.
    pub fn arrive(&self, share: S, lead: impl FnOnce(Vec<S>) -> Result<V>) -> Result<Arc<V>, Halted> {
        let mut state = self.lock();
        if state.halted {
            return Err(Halted);
        }
        let round = state.round;
        state.shares.push(share);
        if state.shares.len() < self.threads {
            let waiting = |state: &mut State<S, V>| state.round == round && !state.halted;
            let state = self
                .changed
                .wait_while(state, waiting)
                .unwrap_or_else(PoisonError::into_inner);
            return state.verdict.clone().filter(|_| !state.halted).ok_or(Halted);
        }
        let shares = mem::take(&mut state.shares);
        drop(state);
        let verdict = match lead(shares) {
            Ok(verdict) => Arc::new(verdict),
            Err(error) => {
                self.fail(error);
                return Err(Halted);
            }
        };
        self.end_round(verdict.clone());
        Ok(verdict)
    }

    fn end_round(&self, verdict: Arc<V>) {
        let mut state = self.lock();
        state.round += 1;
        state.verdict = Some(verdict);
        state.idle.fill(false);
        // A commit may have failed since: its thread has asked all to come and hear of it.
        self.requested.store(state.halted, Ordering::Release);
        self.changed.notify_all();
    }

    /// Halts everybody, because of `error` if it is the first.
    pub fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.failure.get_or_insert(error);
        state.halted = true;
        self.requested.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether the application has halted.
    pub fn is_halted(&self) -> bool {
        self.lock().halted
    }

    /// The error that halted the application.
    pub fn take_failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }

    fn lock(&self) -> MutexGuard<'_, State<S, V>> {
        // Whole after every statement; and a panic elsewhere must not hide its own message behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "threads are what is tested here")]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn one_leads_and_all_hear_the_same() {
        let meeting = Rendezvous::<u64, u64>::new(4);
        for round in 0..200 {
            let sums: Vec<u64> = thread::scope(|scope| {
                let arrive = |n| {
                    meeting
                        .arrive(n, |shares| Ok(shares.iter().sum::<u64>() + round))
                        .map(|sum| *sum)
                };
                let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || arrive(n))).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap().unwrap())
                    .collect()
            });
            assert_eq!(sums, vec![6 + round; 4]);
        }
    }

    #[test]
    fn a_failure_halts_those_who_wait_and_those_who_come_later() {
        let meeting = Rendezvous::<(), ()>::new(2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| meeting.arrive((), |_| Ok(())).map(|_| ()));
            meeting.fail(Error::fatal("first"));
            meeting.fail(Error::fatal("second"));
            assert_eq!(waiting.join().unwrap(), Err(Halted));
        });
        assert_eq!(meeting.arrive((), |_| Ok(())).map(|_| ()), Err(Halted));
        assert_eq!(
            meeting.take_failure().map(|error| error.to_string()),
            Some("first".to_owned())
        );
    }

    #[test]
    fn a_failure_while_one_leads_is_not_forgotten() {
        let meeting = Rendezvous::<(), ()>::new(1);
        let lead = |_| {
            meeting.fail(Error::fatal("meanwhile"));
            Ok(())
        };
        assert!(meeting.arrive((), lead).is_ok());
        assert!(meeting.is_requested());
        assert_eq!(meeting.arrive((), |_| Ok(())).map(|_| ()), Err(Halted));
    }

    #[test]
    fn all_idle_is_seen_once_by_the_last() {
        let meeting = Rendezvous::<(), ()>::new(2);
        assert!(!meeting.set_idle(0, true));
        assert!(meeting.set_idle(1, true));
        assert!(!meeting.set_idle(0, false));
    }
}
