//! Single steps of a record's way: key layouts, overlay, changelog, record batches.

use crate::cpu_time::CpuTime;
use criterion::{Criterion, Throughput};
use millstream_benches::parts::{self, PARTS};

pub fn bench(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("parts");
    group.throughput(Throughput::Elements(parts::ROWS as u64));
    for name in PARTS {
        let mut step = parts::step(name).expect("the list names what there is");
        group.bench_function(*name, |b| b.iter(|| step().expect("the step succeeds")));
    }
}
