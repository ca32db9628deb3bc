//! The log on disk: the contract, a killed process, a second process, an onlooker, damage.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::broker::contract::{self, Subject};
use crate::broker::{
    Admin, Broker, FetchConfig, FetchEvent, GroupToken, OffsetCommit, SinkConfig, TopicPartition, TopicSpec,
};

/// Names the directory to a child process, which is this test program once more.
const DIR: &str = "MILLSTREAM_TEST_LOG_DIR";

fn clock() -> Clock {
    Arc::new(|| 0)
}

fn open(dir: &Path) -> Result<LocalLog> {
    LocalLog::open(dir, LocalOptions::new(clock()))
}

fn child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("broker::local::disk::tests::{test}"), "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn write(log: &LocalLog, tp: &TopicPartition, values: std::ops::Range<i64>) {
    let mut sink = log.sink(&SinkConfig::default()).unwrap();
    let to = sink.open(tp).unwrap();
    for value in values.clone() {
        sink.append(to, value, None, Some(value.to_string().as_bytes()), &[])
            .unwrap();
    }
    let commit = OffsetCommit {
        partition: tp.clone(),
        offset: values.end,
        metadata: String::new(),
    };
    sink.commit(&GroupToken::alone("g"), &mut |_| vec![commit.clone()])
        .unwrap();
}

/// Values from `from` until there are no more.
fn read(log: &LocalLog, tp: &TopicPartition, from: i64) -> Vec<i64> {
    let mut fetch = log.fetch(&FetchConfig::default()).unwrap();
    fetch.assign(&[(tp.clone(), Some(from))]).unwrap();
    let mut got = Vec::new();
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
            let value = |record| {
                std::str::from_utf8(chunk.value(record).unwrap())
                    .unwrap()
                    .parse::<i64>()
                    .unwrap()
            };
            got.extend(chunk.records().iter().map(value));
        }
    }
}

#[test]
fn the_contract_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    contract::run(&Subject {
        broker: &log,
        prefix: "t".into(),
        atomic: true,
        epoch: true,
    });
}

/// The child of the test below: commits without end and says so after each.
#[test]
fn child_commits() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let log = open(Path::new(&dir)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let mut end = log.end_offsets(std::slice::from_ref(&tp)).unwrap()[0];
    loop {
        write(&log, &tp, end..end + 10);
        end += 10;
        println!("committed {end}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let tp = TopicPartition::new("t", 0);
    open(dir.path()).unwrap().create(&TopicSpec::new("t", 1)).unwrap();
    for _ in 0..3 {
        let mut child = child("child_commits", dir.path());
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(|line| line.ok());
        let told = lines.filter_map(|line| line.split("committed ").nth(1).and_then(|end| end.parse::<i64>().ok()));
        let told = told.take(200).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let log = open(dir.path()).unwrap();
        let end = log.end_offsets(std::slice::from_ref(&tp)).unwrap()[0];
        assert!(end >= told, "{told} records were acknowledged, {end} are there");
        assert_eq!(read(&log, &tp, 0), (0..end).collect::<Vec<_>>());
        let committed = log.committed("g", std::slice::from_ref(&tp)).unwrap();
        assert_eq!(
            committed[0].as_ref().map(|committed| committed.offset),
            Some(end),
            "records and offsets are one"
        );
    }
}

/// The child of the test below: wants a log that is owned already.
#[test]
fn child_is_refused() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let fault = open(Path::new(&dir)).err().unwrap();
    println!("told {:?}: {fault}", fault.kind);
}

#[test]
fn a_second_process_is_refused_and_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path()).unwrap();
    let output = child("child_is_refused", dir.path()).wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let told = output
        .lines()
        .find_map(|line| line.split("told ").nth(1))
        .unwrap_or(&output);
    assert!(told.starts_with("Misuse: "), "{told}");
    assert!(
        told.contains(&*dir.path().to_string_lossy()) && told.contains("in use"),
        "{told}"
    );

    let again = open(dir.path()).err().unwrap();
    assert_eq!(again.kind, FaultKind::Misuse, "{again}");
}

#[test]
fn an_onlooker_follows_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = LocalLog::open_reader(dir.path(), clock()).err().unwrap();
    assert_eq!(nothing.kind, FaultKind::Misuse, "{nothing}");

    let log = open(dir.path()).unwrap();
    log.create(&TopicSpec::new("t", 1)).unwrap();
    let tp = TopicPartition::new("t", 0);
    write(&log, &tp, 0..5);
    let reader = LocalLog::open_reader(dir.path(), clock()).unwrap();
    assert_eq!(read(&reader, &tp, 0), [0, 1, 2, 3, 4]);
    write(&log, &tp, 5..8);
    log.create(&TopicSpec::new("later", 2)).unwrap();
    assert_eq!(read(&reader, &tp, 5), [5, 6, 7]);
    assert_eq!(reader.topics().unwrap().len(), 2);
    assert_eq!(reader.end_offsets(std::slice::from_ref(&tp)).unwrap(), [8]);
    assert_eq!(
        reader.committed("g", std::slice::from_ref(&tp)).unwrap()[0]
            .as_ref()
            .unwrap()
            .offset,
        8
    );
    assert_eq!(
        reader.create(&TopicSpec::new("x", 1)).unwrap_err().kind,
        FaultKind::Misuse
    );
    assert_eq!(
        reader.sink(&SinkConfig::default()).err().unwrap().kind,
        FaultKind::Misuse
    );

    // A waiting onlooker is not told by the other process: it looks again and again.
    let mut fetch = reader.fetch(&FetchConfig::default()).unwrap();
    fetch.assign(&[(tp.clone(), Some(8))]).unwrap();
    let writer = log.clone();
    let late = tp.clone();
    let thread = std::thread::spawn(move || write(&writer, &late, 8..9));
    let mut events = Vec::new();
    fetch.poll(Duration::from_secs(60), &mut events).unwrap();
    thread.join().unwrap();
    assert!(matches!(&events[..], [FetchEvent::Chunk { next: 9, .. }]), "{events:?}");

    drop(log);
    assert_eq!(read(&reader, &tp, 0).len(), 9, "the owner has gone, the log has not");
}

#[test]
fn a_damaged_file_is_reported_and_nothing_is_invented() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    log.create(&TopicSpec::new("t", 1)).unwrap();
    write(&log, &TopicPartition::new("t", 0), 0..5);
    drop(log);
    let current = dir.path().join("CURRENT");
    std::fs::write(&current, b"MANIFEST-nonsense\n").unwrap();
    let fault = open(dir.path()).err().unwrap();
    assert_eq!(fault.kind, FaultKind::Corrupt, "{fault}");
    assert!(fault.to_string().contains(&*dir.path().to_string_lossy()), "{fault}");
}
