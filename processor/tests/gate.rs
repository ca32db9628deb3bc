//! OR-3: what several tasks write into one repartition topic is out of order by no more than the skew and the disorder of
//! each source, so nothing that was in order becomes late on the way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use common::*;
use millstream_processor::broker::{Broker, GroupToken, SinkConfig, TopicPartition};
use proptest::prelude::*;

/// Up to two months; each partition is in order, but they differ widely in how many messages they have and when.
fn uneven(seeds: &[Vec<(u32, u8)>]) -> Vec<Vec<Message>> {
    let start = NOW - 80 * 86_400_000;
    let partition = |(number, steps): (usize, &Vec<(u32, u8)>)| {
        let mut time = start;
        let mut messages = Vec::new();
        for (step, repeat) in steps {
            for _ in 0..=*repeat {
                time += i64::from(*step % 3_600_000);
                messages.push((number as i64 + time % 40, 1, time));
            }
        }
        messages
    };
    seeds.iter().enumerate().map(partition).collect()
}

/// Late records of a run over these partitions, whatever the partitioner would say.
fn late(partitions: &[Vec<Message>], skew_ms: i64, threads: usize) -> usize {
    let log = new_log();
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    for (number, messages) in partitions.iter().enumerate() {
        let to = sink.open(&TopicPartition::new("messages", number as i32)).unwrap();
        for (key, value, timestamp) in messages {
            sink.append(
                to,
                *timestamp,
                Some(&key.to_be_bytes()),
                Some(&value.to_be_bytes()),
                &[],
            )
            .unwrap();
        }
    }
    sink.commit(&GroupToken::alone("producer"), &mut |_| Vec::new())
        .unwrap();
    let settings = config()
        .set("max.event.time.skew.ms", skew_ms)
        .set("num.stream.threads", threads)
        .set("buffered.records.per.partition", 50)
        .set("statestore.uncommitted.max.bytes", "1KiB");
    run(&log, settings).unwrap();
    let all: Vec<Message> = partitions.concat();
    assert_eq!(latest(&log, "totals"), expected_totals(&all));
    let late = sorted(&log, "late");
    if late.is_empty() {
        assert_eq!(sorted(&log, "hourly"), expected_hours(&all));
    }
    late.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_late_beyond_the_skew(
        seeds in proptest::collection::vec(proptest::collection::vec((any::<u32>(), 0u8..60), 0..25), 4),
        threads in 1usize..=3,
    ) {
        // The job's grace is fifteen minutes.
        prop_assert_eq!(late(&uneven(&seeds), 14 * 60_000, threads), 0);
    }
}

/// The law above can fail: without the gate the same kind of input makes records late.
#[test]
fn without_the_gate_records_are_late() {
    let sparse = vec![(3_599_000, 1); 100];
    let dense = vec![(30_000, 59); 60];
    let partitions = uneven(&[sparse.clone(), dense.clone(), sparse, dense]);
    assert_eq!(late(&partitions, 14 * 60_000, 3), 0);
    assert!(late(&partitions, i64::MAX, 1) > 0);
}
