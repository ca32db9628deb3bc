//! Where does the time go? `cargo bench -p millstream-benches`, or with a name: `cargo bench -p millstream-benches -- overlay`.

// A benchmark may stop at the first surprise.
#![allow(clippy::expect_used)]

mod codecs;
mod commit;
mod cpu_time;
mod operators;
mod overlay;
mod parts;
mod record_batch;
mod restore;

use cpu_time::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn config() -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
}

criterion_group! {
    name = benches;
    config = config();
    targets = codecs::bench, record_batch::bench, overlay::bench, parts::bench, operators::bench, commit::bench, restore::bench
}
criterion_main!(benches);
