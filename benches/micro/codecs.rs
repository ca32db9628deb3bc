//! Values to bytes and back.

use crate::cpu_time::CpuTime;
use criterion::{Criterion, Throughput};
use millstream_benches::data::{self, bidder};
use millstream_state::codec::{Bincode, Codec, I64, Json, Raw, Utf8};
use millstream_state::text::Str;
use serde::{Deserialize, Serialize};
use std::hint::black_box;

#[derive(Serialize, Deserialize)]
struct Bid {
    bidder: Str,
    price: i64,
    #[serde(rename = "dateTime")]
    time: i64,
}

pub fn bench(c: &mut Criterion<CpuTime>) {
    let bid = Bid {
        bidder: bidder(7).as_str().into(),
        price: 4_200,
        time: data::START,
    };
    round_trip(c, "i64", &I64, &4_200i64);
    round_trip(c, "text of 14 bytes", &Utf8, &bid.bidder);
    round_trip(c, "bincode, three fields", &Bincode::<Bid>::new(), &bid);
    round_trip(c, "JSON, three fields", &Json::<Bid>::new(), &bid);

    let chunks = data::bids("bids", data::BATCH);
    let mut group = c.benchmark_group("codecs");
    group.throughput(Throughput::Elements(data::BATCH as u64));
    group.bench_function("JSON of 200 bytes, three fields of seven: decode", |b| {
        let codec = Json::<Bid>::new();
        b.iter(|| {
            for chunk in &chunks {
                for value in chunk.records().iter().filter_map(|record| chunk.value(record)) {
                    black_box(codec.decode(chunk.raw(value)).is_ok());
                }
            }
        });
    });
}

fn round_trip<T>(c: &mut Criterion<CpuTime>, name: &str, codec: &impl Codec<T>, value: &T) {
    let mut group = c.benchmark_group("codecs");
    group.throughput(Throughput::Elements(1));
    let mut out = Vec::new();
    group.bench_function(format!("{name}: encode"), |b| {
        b.iter(|| {
            out.clear();
            codec.encode(black_box(value), &mut out);
        });
    });
    group.bench_function(format!("{name}: decode"), |b| {
        b.iter(|| black_box(codec.decode(Raw::plain(black_box(&out))).is_ok()));
    });
}
