//! Kafka's RecordBatch v2, the unit of the seam to the log: built record by record, opened in place.

use crate::cpu_time::CpuTime;
use criterion::{Criterion, Throughput};
use millstream_benches::data;
use millstream_processor::broker::record_batch::BatchBuilder;
use millstream_processor::broker::record_batch::reader::decode;
use std::hint::black_box;

pub fn bench(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("record batch");
    group.throughput(Throughput::Elements(data::BATCH as u64));
    let chunks = data::bids("bids", data::BATCH);
    let mut builder = BatchBuilder::default();
    let mut build = || {
        for chunk in &chunks {
            for record in chunk.records() {
                builder.append(record.timestamp, chunk.key(record), chunk.value(record), &[]);
            }
        }
        builder.seal()
    };
    let batch = build().unwrap_or_default();
    group.bench_function("build 512 records of 200 bytes", |b| b.iter(|| black_box(build())));
    let mut records = Vec::new();
    group.bench_function("open 512 records of 200 bytes", |b| {
        b.iter(|| {
            records.clear();
            black_box(decode(&batch, 0, &mut records).is_ok())
        });
    });
}
