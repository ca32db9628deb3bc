//! Criterion by the clock of CPU time: what other programs take from the machine is not charged to us.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use millstream_benches::clock::cpu_time;
use std::time::Duration;

/// CPU time of this process, RocksDB's threads included.
pub struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        cpu_time()
    }

    fn end(&self, before: Duration) -> Duration {
        cpu_time() - before
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        time.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        static WALL: WallTime = WallTime;
        WALL.formatter()
    }
}
