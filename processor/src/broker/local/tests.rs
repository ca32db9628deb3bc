//! What the embedded log does beyond the contract of every log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use millstream_state::engine::MemoryEngine;

use super::LocalLog;
use crate::broker::contract::{self, Subject};
use crate::broker::{
    Admin, Broker, Cleanup, FaultKind, FetchConfig, FetchEvent, GroupToken, OffsetCommit, SinkConfig, TopicPartition,
    TopicSpec,
};

fn log() -> (LocalLog, Arc<AtomicI64>) {
    let time = Arc::new(AtomicI64::new(1_000_000));
    let hands = time.clone();
    (
        LocalLog::in_memory(Arc::new(move || hands.load(Ordering::SeqCst))).unwrap(),
        time,
    )
}

fn write(log: &LocalLog, tp: &TopicPartition, records: &[(i64, &str, Option<&str>)]) {
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    let to = sink.open(tp).unwrap();
    for (timestamp, key, value) in records {
        sink.append(to, *timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[])
            .unwrap();
    }
    sink.commit(&GroupToken::alone("g"), &mut |_| Vec::new()).unwrap();
}

/// Every record from the partition's start: offset, key, value.
fn read(log: &LocalLog, tp: &TopicPartition) -> Vec<(i64, String, Option<String>)> {
    let mut fetch = log
        .fetch(&FetchConfig {
            max_partition_bytes: 100,
            ..FetchConfig::default()
        })
        .unwrap();
    let start = log.start_offsets(std::slice::from_ref(tp)).unwrap()[0];
    fetch.assign(&[(tp.clone(), Some(start))]).unwrap();
    let mut got = Vec::new();
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    loop {
        let mut events = Vec::new();
        fetch.poll(Duration::ZERO, &mut events).unwrap();
        if events.is_empty() {
            return got;
        }
        for event in events {
            let FetchEvent::Chunk { chunk, .. } = event else {
                panic!("{event:?}")
            };
            for record in chunk.records() {
                got.push((
                    record.offset,
                    text(chunk.key(record)).unwrap_or_default(),
                    text(chunk.value(record)),
                ));
            }
        }
    }
}

#[test]
fn the_contract_in_memory() {
    let (log, _) = log();
    contract::run(&Subject {
        broker: &log,
        prefix: "t".into(),
        atomic: true,
        epoch: true,
    });
}

#[test]
fn old_batches_go_by_age_but_never_the_last() {
    let (log, time) = log();
    let spec = TopicSpec {
        retention_ms: Some(100),
        ..TopicSpec::new("t", 1)
    };
    log.create(&spec).unwrap();
    let tp = TopicPartition::new("t", 0);
    for timestamp in [1_000_000, 1_000_050, 1_000_010] {
        write(&log, &tp, &[(timestamp, "k", Some("v"))]);
    }
    time.store(1_000_120, Ordering::SeqCst);
    log.maintain().unwrap();
    assert_eq!(read(&log, &tp).len(), 2, "the third is old, but behind one that is not");
    time.store(2_000_000, Ordering::SeqCst);
    log.maintain().unwrap();
    assert_eq!(read(&log, &tp), [(2, "k".into(), Some("v".into()))]);
    assert_eq!(log.start_offsets(&[tp]).unwrap(), [2]);
}

#[test]
fn a_changelog_ages_by_its_own_time_where_that_is_behind_the_clock() {
    let (log, time) = log();
    let spec = TopicSpec {
        retention_ms: Some(100),
        ..TopicSpec::new("t", 1).cleanup(Cleanup::CompactDelete)
    };
    log.create(&spec).unwrap();
    let tp = TopicPartition::new("t", 0);
    time.store(2_000_000, Ordering::SeqCst);
    for (timestamp, key) in [(1_000_000, "a"), (1_000_050, "b"), (1_000_120, "c")] {
        write(&log, &tp, &[(timestamp, key, Some("v"))]);
    }
    log.maintain().unwrap();
    assert_eq!(
        log.start_offsets(&[tp]).unwrap(),
        [1],
        "the first is more than 100 ms behind the last"
    );
}

#[test]
fn commits_let_old_batches_go_by_themselves() {
    let (log, time) = log();
    log.create(&TopicSpec {
        retention_ms: Some(100),
        ..TopicSpec::new("t", 1)
    })
    .unwrap();
    let tp = TopicPartition::new("t", 0);
    write(&log, &tp, &[(1_000_000, "k", Some("old"))]);
    time.store(2_000_000, Ordering::SeqCst);
    write(&log, &tp, &[(2_000_000, "k", Some("new"))]);
    assert_eq!(read(&log, &tp), [(1, "k".into(), Some("new".into()))]);
}

#[test]
fn oldest_batches_go_by_size() {
    let (log, _) = log();
    log.create(&TopicSpec {
        retention_bytes: Some(250),
        ..TopicSpec::new("t", 1)
    })
    .unwrap();
    let tp = TopicPartition::new("t", 0);
    for _ in 0..10 {
        write(&log, &tp, &[(1, "k", Some("value"))]);
    }
    log.maintain().unwrap();
    let kept = read(&log, &tp);
    assert_eq!(kept.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [7, 8, 9]);
}

#[test]
fn compaction_keeps_the_last_record_of_each_key_with_its_offset() {
    let (log, time) = log();
    log.create(&TopicSpec::new("t", 1).cleanup(Cleanup::Compact)).unwrap();
    let tp = TopicPartition::new("t", 0);
    write(
        &log,
        &tp,
        &[(1, "a", Some("1")), (2, "b", Some("1")), (3, "a", Some("2"))],
    );
    write(&log, &tp, &[(4, "c", Some("1")), (5, "b", None)]);
    write(&log, &tp, &[(6, "a", Some("3"))]);
    log.maintain().unwrap();
    let (b, c, a) = (
        (4, "b".into(), None),
        (3, "c".into(), Some("1".into())),
        (5, "a".into(), Some("3".into())),
    );
    assert_eq!(read(&log, &tp), [c.clone(), b.clone(), a.clone()]);

    time.fetch_add(24 * 3_600_000, Ordering::SeqCst);
    log.maintain().unwrap();
    assert_eq!(
        read(&log, &tp),
        [c.clone(), a.clone()],
        "the tombstone was to be seen for a day"
    );
    write(&log, &tp, &[(7, "d", Some("1"))]);
    log.maintain().unwrap();
    assert_eq!(read(&log, &tp), [c, a, (6, "d".into(), Some("1".into()))]);
    assert_eq!(log.end_offsets(&[tp]).unwrap(), [7]);
}

#[test]
fn compaction_agrees_with_a_map_and_survives_reopening() {
    let engine = MemoryEngine::new();
    let clock: super::Clock = Arc::new(|| 0);
    let log = LocalLog::over(Box::new(engine.clone()), clock.clone(), "first").unwrap();
    log.create(&TopicSpec::new("t", 1).cleanup(Cleanup::Compact)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let mut model = std::collections::BTreeMap::new();
    let mut seed = 7u64;
    for round in 0..60 {
        let records: Vec<_> = (0..40)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (format!("k{}", (seed >> 33) % 97), format!("v{}", seed >> 40))
            })
            .collect();
        let rows: Vec<_> = records.iter().map(|(k, v)| (0, k.as_str(), Some(v.as_str()))).collect();
        write(&log, &tp, &rows);
        model.extend(records);
        if round % 7 == 0 {
            log.maintain().unwrap();
        }
    }
    let before = read(&log, &tp);
    drop(log);
    let log = LocalLog::over(Box::new(engine), clock, "second").unwrap();
    assert_eq!(read(&log, &tp), before);
    log.maintain().unwrap();
    let after = read(&log, &tp);
    assert!(after.len() < before.len());
    assert!(after.is_sorted_by(|a, b| a.0 < b.0));
    let last: std::collections::BTreeMap<_, _> = after.into_iter().map(|(_, k, v)| (k, v.unwrap())).collect();
    assert_eq!(last, model);
    assert_eq!(log.end_offsets(&[tp]).unwrap(), [2400]);
}

#[test]
fn a_record_without_a_key_cannot_be_compacted() {
    let (log, _) = log();
    log.create(&TopicSpec::new("t", 1).cleanup(Cleanup::Compact)).unwrap();
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    let to = sink.open(&TopicPartition::new("t", 0)).unwrap();
    let fault = sink.append(to, 0, None, Some(b"v"), &[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misuse);
}

#[test]
fn a_commit_that_fails_leaves_neither_records_nor_offsets() {
    let (log, _) = log();
    log.create(&TopicSpec::new("t", 1)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    let to = sink.open(&tp).unwrap();
    sink.append(to, 0, None, Some(b"v"), &[]).unwrap();
    let good = OffsetCommit {
        partition: tp.clone(),
        offset: 1,
        metadata: String::new(),
    };
    let bad = OffsetCommit {
        partition: TopicPartition::new("nowhere", 0),
        ..good.clone()
    };
    let group = GroupToken::alone("g");
    let fault = sink
        .commit(&group, &mut |_| vec![good.clone(), bad.clone()])
        .unwrap_err();
    assert!(fault.to_string().contains("nowhere"), "{fault}");
    assert_eq!(log.end_offsets(std::slice::from_ref(&tp)).unwrap(), [0]);
    assert_eq!(log.committed("g", std::slice::from_ref(&tp)).unwrap(), [None]);
    sink.abort().unwrap();
    sink.commit(&group, &mut |_| vec![good.clone()]).unwrap();
    assert_eq!(log.end_offsets(&[tp]).unwrap(), [0], "aborted");
}

#[test]
fn a_full_disk_loses_the_commit_and_nothing_else() {
    use millstream_state::engine::faulty::{Faults, FaultyEngine};
    let faults = Faults::none();
    let engine = FaultyEngine::new(Box::new(MemoryEngine::new()), &faults);
    let log = LocalLog::over(Box::new(engine), Arc::new(|| 0), "log").unwrap();
    log.create(&TopicSpec::new("t", 1)).unwrap();
    let tp = TopicPartition::new("t", 0);
    write(&log, &tp, &[(0, "k", Some("before"))]);

    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    let to = sink.open(&tp).unwrap();
    let group = GroupToken::alone("g");
    let commit = OffsetCommit {
        partition: tp.clone(),
        offset: 1,
        metadata: String::new(),
    };
    faults.set_full(true);
    sink.append(to, 0, Some(b"k"), Some(b"lost"), &[]).unwrap();
    let fault = sink.commit(&group, &mut |_| vec![commit.clone()]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Retry, "{fault}");
    assert_eq!(log.create(&TopicSpec::new("u", 1)).unwrap_err().kind, FaultKind::Retry);
    assert!(Admin::describe(&log, "u").unwrap().is_none());
    sink.abort().unwrap();
    faults.set_full(false);

    sink.append(to, 0, Some(b"k"), Some(b"behind"), &[]).unwrap();
    sink.commit(&group, &mut |_| Vec::new()).unwrap();
    let values: Vec<_> = read(&log, &tp)
        .into_iter()
        .map(|(offset, _, value)| (offset, value.unwrap()))
        .collect();
    assert_eq!(values, [(0, "before".to_owned()), (1, "behind".to_owned())]);
    assert_eq!(log.committed("g", &[tp]).unwrap(), [None]);
}

#[test]
fn a_topic_made_anew_is_another_topic() {
    let (log, _) = log();
    let tp = TopicPartition::new("t", 0);
    log.create(&TopicSpec::new("t", 1)).unwrap();
    let mut old = log.sink(&SinkConfig::default()).unwrap();
    let to = old.open(&tp).unwrap();
    old.append(to, 0, None, Some(b"old"), &[]).unwrap();
    let commit = OffsetCommit {
        partition: tp.clone(),
        offset: 1,
        metadata: String::new(),
    };
    let group = GroupToken::alone("g");
    log.sink(&SinkConfig::default())
        .unwrap()
        .commit(&group, &mut |_| vec![commit.clone()])
        .unwrap();
    log.delete("t").unwrap();
    log.create(&TopicSpec::new("t", 1)).unwrap();
    assert_eq!(log.committed("g", std::slice::from_ref(&tp)).unwrap(), [None]);
    assert_eq!(
        old.commit(&group, &mut |_| Vec::new()).unwrap_err().kind,
        FaultKind::Misuse
    );
    assert!(read(&log, &tp).is_empty());
}

#[test]
fn damage_is_found_and_named() {
    use millstream_state::engine::{Engine, WriteSet};
    let mut engine = MemoryEngine::new();
    let log = LocalLog::over(Box::new(engine.clone()), Arc::new(|| 0), "log").unwrap();
    log.create(&TopicSpec::new("t", 1)).unwrap();
    let tp = TopicPartition::new("t", 0);
    write(&log, &tp, &[(0, "k", Some("value"))]);
    let mut rows = Vec::new();
    let batches = super::layout::BATCHES;
    let keep = &mut |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    };
    engine.scan(batches, &[], None, keep).unwrap();
    let (key, mut batch) = rows.remove(0);
    *batch.last_mut().unwrap() ^= 1;
    engine
        .write(&WriteSet {
            rows: vec![(batches, (&key, Some(&batch)))],
            ..WriteSet::default()
        })
        .unwrap();
    let mut fetch = log.fetch(&FetchConfig::default()).unwrap();
    fetch.assign(&[(tp, Some(0))]).unwrap();
    let fault = fetch.poll(Duration::ZERO, &mut Vec::new()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Corrupt);
    assert!(
        fault.to_string().contains("t-0") && fault.to_string().contains("checksum"),
        "{fault}"
    );
}

#[test]
fn many_threads_write_and_read_one_log() {
    let (log, _) = log();
    log.create(&TopicSpec::new("t", 4)).unwrap();
    std::thread::scope(|scope| {
        for index in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                let tp = TopicPartition::new("t", index);
                for round in 0..50 {
                    write(&log, &tp, &[(round, "k", Some("v"))]);
                }
            });
        }
        let reader = log.clone();
        scope.spawn(move || {
            let mut fetch = reader.fetch(&FetchConfig::default()).unwrap();
            let all: Vec<_> = (0..4).map(|index| (TopicPartition::new("t", index), Some(0))).collect();
            fetch.assign(&all).unwrap();
            let mut next = [0i64; 4];
            while next.iter().sum::<i64>() < 200 {
                let mut events = Vec::new();
                fetch.poll(Duration::from_secs(60), &mut events).unwrap();
                for event in events {
                    let FetchEvent::Chunk {
                        partition,
                        chunk,
                        next: after,
                        ..
                    } = event
                    else {
                        panic!("{event:?}")
                    };
                    let place = &mut next[partition.partition as usize];
                    assert_eq!(chunk.records()[0].offset, *place);
                    *place = after;
                }
            }
        });
    });
}
