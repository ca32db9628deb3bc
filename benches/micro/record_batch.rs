//! Kafka's RecordBatch v2, the unit of the seam to the log: built record by record, opened in place.

use crate::cpu_time::CpuTime;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use millstream_benches::data;
use millstream_processor::broker::record_batch::reader::decode;
use millstream_processor::broker::record_batch::{
    Aborted, BatchBuilder, BatchSummary, HEADER_LEN, Opener, set_base_offset,
};
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
    group.finish();
    fetched(c);
}

/// A fetch of 1 MiB in batches of 128 KiB of 100-byte values under 4-byte keys, as it comes from a broker.
fn fetched(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("fetched batches");
    let (plain, records) = batches();
    group.throughput(Throughput::Elements(records));
    for (name, fetched) in [
        ("plain", plain.clone()),
        ("lz4", packed(&plain, 3)),
        ("zstd", packed(&plain, 4)),
    ] {
        let mut opener = Opener::new(usize::MAX, 100 << 20);
        group.bench_function(format!("open 1 MiB, {name}"), |b| {
            b.iter(|| black_box(opener.open(&mut fetched.clone(), 0, &mut Aborted::default()).is_ok()));
        });
    }
}

fn batches() -> (Bytes, u64) {
    let (mut all, mut builder) = (Vec::new(), BatchBuilder::default());
    let mut record = 0u32;
    while all.len() < 1 << 20 {
        let first = i64::from(record);
        while builder.len() < 128 << 10 {
            let value = format!(
                r#"{{"id":{record:010},"sensor":"s-{:04}","state":"ok","value":{:010.3},"unit":"celsius","seq":{record:08}}}"#,
                record % 10_007,
                f64::from(record.wrapping_mul(2_654_435_761) >> 12) / 1000.0
            );
            builder.append(
                1_700_000_000_000 + i64::from(record),
                Some(&record.to_be_bytes()),
                Some(value.as_bytes()),
                &[],
            );
            record += 1;
        }
        let mut batch = builder.seal().unwrap_or_default();
        set_base_offset(&mut batch, first);
        all.extend(batch);
    }
    (Bytes::from(all), u64::from(record))
}

/// The same batches, compressed the way `number` of the attributes says.
fn packed(plain: &Bytes, number: i16) -> Bytes {
    let mut all = Vec::new();
    let mut rest = &plain[..];
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(BatchSummary::of(rest).expect("a batch").len);
        let records = &batch[HEADER_LEN..];
        let mut packed = batch[..HEADER_LEN].to_vec();
        packed.extend(if number == 3 { lz4(records) } else { zstd(records) });
        let len = (packed.len() - 12) as u32;
        packed[8..12].copy_from_slice(&len.to_be_bytes());
        packed[21..23].copy_from_slice(&number.to_be_bytes());
        let crc = crc32c::crc32c(&packed[21..]);
        packed[17..21].copy_from_slice(&crc.to_be_bytes());
        all.extend(packed);
        rest = behind;
    }
    Bytes::from(all)
}

/// A frame of blocks of 64 KiB that do not refer to each other, as Java's producer writes it.
fn lz4(content: &[u8]) -> Vec<u8> {
    let mut frame = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82].to_vec();
    for block in content.chunks(64 << 10) {
        let packed = lz4_flex::block::compress(block);
        frame.extend((packed.len() as u32).to_le_bytes());
        frame.extend(packed);
    }
    frame.extend([0; 4]);
    frame
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(content.len())];
    let len = zstd_safe::compress(&mut out[..], content, 3).expect("zstd");
    out.truncate(len);
    out
}
