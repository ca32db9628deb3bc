//! Whole tasks between a memory source and a memory sink: one pass over the input of a case, commits included.

use crate::cpu_time::CpuTime;
use criterion::{BatchSize, Criterion, Throughput};
use millstream_benches::cases::{self, Case, Skew};
use millstream_benches::data::KEYS;
use millstream_benches::replay::{Replay, Result};

const RECORDS: usize = 200_000;

pub fn bench(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("operators");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for case in all().expect("the cases are valid topologies") {
        group.bench_function(case.name, |b| {
            b.iter_batched_ref(
                || Replay::new(&case).expect("a task over an empty engine"),
                |replay| pass(replay, &case).expect("the case runs"),
                BatchSize::PerIteration,
            );
        });
    }
}

fn all() -> Result<Vec<Case>> {
    Ok(vec![
        cases::forward(RECORDS)?,
        cases::count("count, 10,000 i64 keys", RECORDS, KEYS)?,
        cases::json_count(RECORDS)?,
        cases::hop("hop 5", 10, 2, Skew::Auctions, RECORDS)?,
        cases::hop("hop 60", 60, 1, Skew::Auctions, RECORDS)?,
        cases::workload("W2", RECORDS)?,
        cases::workload("W3", RECORDS)?,
        cases::workload("W4", RECORDS)?,
        cases::workload("W5a", RECORDS)?,
        cases::workload("W5b", RECORDS)?,
        cases::workload("W8", RECORDS)?,
    ])
}

fn pass(replay: &mut Replay, case: &Case) -> Result<()> {
    for chunks in case.chunks.chunks(case.commit_every) {
        chunks.iter().try_for_each(|chunk| replay.feed(chunk))?;
        replay.commit()?;
    }
    Ok(())
}
