//! A store rebuilt from its changelog, down to RocksDB's files.

use crate::cpu_time::CpuTime;
use criterion::{BatchSize, Criterion, Throughput};
use millstream_benches::stores::{self, Changelog, Disk, Rows};

pub fn bench(c: &mut Criterion<CpuTime>) {
    let changelog = Changelog::new(200_000);
    let mut group = c.benchmark_group("restore into RocksDB");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(changelog.len() as u64));
    group.bench_function("200000 rows of 8 + 100 bytes", |b| {
        b.iter_batched(
            || {
                let disk = Disk::new(&stores::families()).expect("a temporary directory");
                let rows = Rows::new(Box::new(disk.engine.clone()), 100).expect("an empty store");
                (disk, rows)
            },
            |(disk, mut rows)| {
                rows.restore(&changelog).expect("the rows are loaded");
                disk
            },
            BatchSize::PerIteration,
        );
    });
}
