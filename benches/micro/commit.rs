//! Dirty rows sealed and written into RocksDB.

use crate::cpu_time::CpuTime;
use criterion::{BatchSize, Criterion, Throughput};
use millstream_benches::stores::{self, Disk, Rows};

pub fn bench(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("commit into RocksDB");
    for dirty in [1_000, 10_000, 100_000] {
        group.throughput(Throughput::Elements(dirty));
        group.bench_function(format!("{dirty} dirty rows of 8 + 100 bytes"), |b| {
            let disk = Disk::new(&stores::families()).expect("a temporary directory");
            let rows = Rows::new(Box::new(disk.engine.clone()), 100).expect("an empty store");
            let (rows, mut round) = (std::cell::RefCell::new(rows), 0);
            b.iter_batched(
                || {
                    round += 1;
                    rows.borrow_mut().dirty(dirty, round);
                    round
                },
                |round| rows.borrow_mut().commit(round as i64).expect("the rows are written"),
                BatchSize::PerIteration,
            );
        });
    }
}
