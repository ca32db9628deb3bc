//! CPU time, which a busy machine disturbs less than the time on the wall.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// CPU time this process has used so far, all threads together: RocksDB's own threads are charged to us too.
pub fn cpu_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(tv_sec.unsigned_abs(), u32::try_from(tv_nsec).unwrap_or(0))
}

/// The CPU time that `work` takes, and what it gives.
pub fn cpu_time_of<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let before = cpu_time();
    let result = work();
    (cpu_time() - before, result)
}
