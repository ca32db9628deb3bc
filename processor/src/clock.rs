//! Time as a component: the real clock in production, one moved by hand in tests. Nothing else here reads a clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_state::Timestamp;

/// What time it is.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch: wall-clock timers, the future guard.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; never goes back: intervals and rates.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct RealClock {
    start: Instant,
}

impl Default for RealClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn default() -> Self {
        RealClock { start: Instant::now() }
    }
}

impl Clock for RealClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        // A clock before 1970 counts as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct VirtualClock {
    start: Timestamp,
    now: AtomicI64,
}

impl VirtualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        VirtualClock {
            start: now,
            now: AtomicI64::new(now),
        }
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.now
            .fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.now.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis((self.now() - self.start).unsigned_abs())
    }
}
