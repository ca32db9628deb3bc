//! What every log must do: one suite, run on each implementation (feature `testing`).
//!
//! A case gets a log and makes its own topics under a prefix that nobody else uses. It panics when the log breaks the
//! contract.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite panics where the contract is not held"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::record_batch::headers::{self, Header};
use super::{
    Acked, Broker, Cleanup, Committed, Fault, FaultKind, Fetch, FetchConfig, FetchEvent, GroupToken, MembershipConfig,
    MembershipEvent, OffsetCommit, Sink, SinkConfig, TopicPartition, TopicSpec,
};

/// The log under test.
pub struct Subject<'a> {
    /// The log.
    pub broker: &'a dyn Broker,
    /// Begins the name of every topic and group the suite makes.
    pub prefix: String,
    /// Whether a commit's records and offsets become visible together, and aborted records never.
    pub atomic: bool,
    /// Whether a timestamp of 0 comes back as 0; librdkafka takes it for "now".
    pub epoch: bool,
}

/// One case: its name and what it does.
pub type Case = (&'static str, fn(&Subject<'_>));

/// The suite.
pub const CASES: &[Case] = &[
    ("topics are created, described and deleted", topics_come_and_go),
    ("a topic that is not there is said so", unknown_topics_are_said_so),
    (
        "records come back in order, each partition by itself",
        records_come_back_in_order,
    ),
    (
        "nulls, headers and timestamps come back exactly",
        records_come_back_exactly,
    ),
    ("a value of 10 MiB passes", large_values_pass),
    (
        "a record that is too large is refused and the sink goes on",
        too_large_is_refused,
    ),
    (
        "many records of a batch that is too small for them pass",
        batches_are_as_small_as_the_topic_wants,
    ),
    (
        "a commit tells the last offsets and stores offsets with metadata",
        commits_carry_metadata,
    ),
    ("a commit without records stores offsets", offsets_alone_are_committed),
    (
        "a reader moves, stops and starts where it is told",
        readers_go_where_they_are_told,
    ),
    ("a paused partition is silent and then goes on", paused_partitions_wait),
    ("a position that does not exist is reported", out_of_range_is_reported),
    ("records before an offset can be deleted", read_records_can_be_deleted),
    ("an aborted record is never read", aborted_records_are_not_read),
    ("two sinks write one partition", two_sinks_share_a_partition),
    ("a waiting poll can be woken", polls_can_be_woken),
    ("a process alone has every task and an unfenced token", a_process_alone),
];

/// Runs every case, one after the other; says on standard error which one is running.
pub fn run(subject: &Subject<'_>) {
    for (name, case) in CASES {
        eprintln!("{}: {name}", subject.broker.describe());
        case(subject);
    }
}

/// Long enough for a broker on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A record as the suite writes and reads it.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<u8>,
}

impl Subject<'_> {
    fn name(&self, what: &str) -> Arc<str> {
        Arc::from(format!("{}-{what}", self.prefix))
    }

    fn topic(&self, what: &str, partitions: i32) -> Arc<str> {
        self.topic_like(TopicSpec::new(self.name(what), partitions))
    }

    fn topic_like(&self, spec: TopicSpec) -> Arc<str> {
        self.broker.admin().create(&spec).expect("create a topic");
        spec.name
    }

    fn sink(&self) -> Box<dyn Sink> {
        self.broker.sink(&SinkConfig::default()).expect("a sink")
    }

    fn fetch(&self, from: &[(&TopicPartition, i64)]) -> Box<dyn Fetch> {
        let config = FetchConfig {
            max_partition_bytes: 4096,
            ..FetchConfig::default()
        };
        let mut fetch = self.broker.fetch(&config).expect("a fetch");
        let diff: Vec<_> = from.iter().map(|(tp, offset)| ((*tp).clone(), Some(*offset))).collect();
        fetch.assign(&diff).expect("assign");
        fetch
    }

    fn group(&self, what: &str) -> GroupToken {
        GroupToken::alone(self.name(what))
    }

    /// Writes values without a key to one partition and commits them.
    fn write(&self, tp: &TopicPartition, values: impl IntoIterator<Item = String>) {
        let mut sink = self.sink();
        append_all(&mut *sink, tp, values);
        sink.commit(&self.group("writer"), &mut |_| Vec::new()).expect("commit");
    }

    fn read(&self, tp: &TopicPartition, from: i64, count: usize) -> Vec<Plain> {
        take(&mut *self.fetch(&[(tp, from)]), tp, count)
    }

    fn ends(&self, tp: &TopicPartition) -> (i64, i64) {
        let admin = self.broker.admin();
        let asked = std::slice::from_ref(tp);
        let start = admin.start_offsets(asked).expect("start offsets");
        (start[0], admin.end_offsets(asked).expect("end offsets")[0])
    }
}

fn append_all(sink: &mut dyn Sink, tp: &TopicPartition, values: impl IntoIterator<Item = String>) {
    let to = sink.open(tp).expect("open a partition");
    for (index, value) in values.into_iter().enumerate() {
        sink.append(to, index as i64 + 1, None, Some(value.as_bytes()), &[])
            .expect("append");
    }
}

fn values(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|index| format!("value {index}"))
}

/// Polls until an event of another kind than records comes, or `enough` records have come.
fn poll_until(
    fetch: &mut dyn Fetch,
    mut enough: impl FnMut(&TopicPartition, Vec<Plain>, i64) -> bool,
) -> Option<FetchEvent> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut events = Vec::new();
        fetch.poll(Duration::from_millis(100), &mut events).expect("poll");
        for event in events {
            let FetchEvent::Chunk {
                partition,
                chunk,
                next,
                high_watermark,
            } = event
            else {
                return Some(event);
            };
            assert!(
                next <= high_watermark,
                "position {next} behind the end {high_watermark}"
            );
            assert_eq!(
                (&partition.topic, partition.partition),
                (chunk.topic(), chunk.partition())
            );
            let plain = chunk.records().iter().map(|record| Plain {
                offset: record.offset,
                timestamp: record.timestamp,
                key: chunk.key(record).map(<[u8]>::to_vec),
                value: chunk.value(record).map(<[u8]>::to_vec),
                headers: chunk.header_block(record).to_vec(),
            });
            let plain: Vec<_> = plain.collect();
            assert!(
                plain.last().is_none_or(|last| last.offset < next),
                "position {next} before its records' end"
            );
            if enough(&partition, plain, next) {
                return None;
            }
        }
        assert!(Instant::now() < deadline, "records did not come in {PATIENCE:?}");
    }
}

fn take(fetch: &mut dyn Fetch, tp: &TopicPartition, count: usize) -> Vec<Plain> {
    let mut got = Vec::new();
    let event = poll_until(fetch, |partition, records, _| {
        assert_eq!(partition, tp, "records of a partition that is not assigned");
        got.extend(records);
        got.len() >= count
    });
    assert!(event.is_none(), "{event:?}");
    assert_eq!(got.len(), count, "too many records");
    got
}

fn texts(records: &[Plain]) -> Vec<String> {
    let text = |record: &Plain| String::from_utf8_lossy(record.value.as_deref().unwrap_or(b"null")).into_owned();
    records.iter().map(text).collect()
}

fn kind<T>(result: Result<T, Fault>) -> Option<FaultKind> {
    result.err().map(|fault| fault.kind)
}

fn topics_come_and_go(subject: &Subject<'_>) {
    let admin = subject.broker.admin();
    let spec = TopicSpec {
        retention_ms: Some(3_600_000),
        ..TopicSpec::new(subject.name("come"), 3)
    };
    let name = subject.topic_like(spec.clone().cleanup(Cleanup::CompactDelete));
    let info = admin.describe(&name).expect("describe").expect("the topic just made");
    assert_eq!((&*info.name, info.partitions), (&*name, 3));
    assert_eq!(
        (info.cleanup, info.retention_ms),
        (Cleanup::CompactDelete, Some(3_600_000))
    );
    assert!(admin.topics().expect("topics").iter().any(|topic| topic.name == name));

    let again = admin.create(&spec).expect_err("made twice");
    assert_eq!(again.kind, FaultKind::Misuse, "{again}");
    assert!(again.to_string().contains(&*name), "{again}");
    let forever = subject.topic("forever", 1);
    assert_eq!(
        admin.describe(&forever).expect("describe").expect("topic").retention_ms,
        None
    );
    let odd = TopicSpec::new("no such name!", 1);
    assert_eq!(kind(admin.create(&odd)), Some(FaultKind::Misuse));

    admin.delete(&name).expect("delete");
    let deadline = Instant::now() + PATIENCE;
    while admin.describe(&name).expect("describe").is_some() {
        assert!(Instant::now() < deadline, "a deleted topic stays");
    }
    admin.delete(&name).expect("delete what is gone");
}

fn unknown_topics_are_said_so(subject: &Subject<'_>) {
    let tp = TopicPartition::new(subject.name("never"), 0);
    let admin = subject.broker.admin();
    assert!(admin.describe(&tp.topic).expect("describe").is_none());
    assert_eq!(kind(subject.sink().open(&tp)), Some(FaultKind::Misuse));
    assert_eq!(
        kind(admin.end_offsets(std::slice::from_ref(&tp))),
        Some(FaultKind::Misuse)
    );

    let few = TopicPartition::new(subject.topic("few", 2), 2);
    let fault = subject.sink().open(&few).expect_err("a partition too far");
    assert_eq!(fault.kind, FaultKind::Misuse);
    assert!(fault.to_string().contains(&*few.topic), "{fault}");

    let event = poll_until(&mut *subject.fetch(&[(&tp, 0)]), |_, _, _| false);
    assert!(
        matches!(&event, Some(FetchEvent::Lost { partition, .. }) if *partition == tp),
        "{event:?}"
    );
}

fn records_come_back_in_order(subject: &Subject<'_>) {
    let topic = subject.topic("order", 3);
    let partitions: Vec<_> = (0..3).map(|index| TopicPartition::new(topic.clone(), index)).collect();
    let mut sink = subject.sink();
    let refs: Vec<_> = partitions.iter().map(|tp| sink.open(tp).expect("open")).collect();
    assert_eq!(sink.open(&partitions[1]).expect("open again"), refs[1]);
    for index in 0i64..3000 {
        let value = format!("value {index}");
        sink.append(
            refs[(index % 3) as usize],
            index + 1,
            Some(b"k"),
            Some(value.as_bytes()),
            &[],
        )
        .expect("append");
        if index % 700 == 0 {
            sink.send().expect("send");
        }
    }
    assert!(sink.buffered_bytes() > 0);
    sink.commit(&subject.group("order"), &mut |_| Vec::new())
        .expect("commit");
    assert_eq!(sink.buffered_bytes(), 0);

    let from: Vec<_> = partitions.iter().map(|tp| (tp, 0)).collect();
    let mut got = vec![Vec::new(); 3];
    let event = poll_until(&mut *subject.fetch(&from), |tp, records, _| {
        got[tp.partition as usize].extend(records);
        got.iter().all(|records| records.len() == 1000)
    });
    assert!(event.is_none(), "{event:?}");
    for (partition, records) in got.iter().enumerate() {
        for (index, record) in records.iter().enumerate() {
            let number = index * 3 + partition;
            assert_eq!((record.offset, record.timestamp), (index as i64, number as i64 + 1));
            assert_eq!(record.value.as_deref(), Some(format!("value {number}").as_bytes()));
        }
    }
}

fn records_come_back_exactly(subject: &Subject<'_>) {
    // Kafka refuses timestamps more than an hour ahead, unless told otherwise.
    let any_time = vec![("message.timestamp.after.max.ms".to_owned(), i64::MAX.to_string())];
    let spec = TopicSpec {
        extra: any_time,
        ..TopicSpec::new(subject.name("exact"), 1)
    };
    let tp = TopicPartition::new(subject.topic_like(spec), 0);
    let mut block = Vec::new();
    let given: [Header<'_>; 4] = [
        (b"plain", Some(b"v")),
        (b"\xff\xfe", Some(b"\x00\x01")),
        (b"null", None),
        (b"", Some(b"")),
    ];
    headers::encode(given.into_iter(), &mut block);
    let record = |offset: i64, timestamp, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]| Plain {
        offset,
        timestamp,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.to_vec(),
    };
    let expected = [
        record(0, 1_700_000_000_000, Some(b"k"), Some(b"v"), &[]),
        record(1, i64::from(!subject.epoch), None, None, &[]),
        record(2, -1_000, Some(b""), Some(b""), &[]),
        record(3, 1, Some(b"\xff\x00"), None, &block),
        record(4, 4_102_444_800_000, None, Some(b"far in the future"), &block),
    ];
    let mut sink = subject.sink();
    let to = sink.open(&tp).expect("open");
    for plain in &expected {
        sink.append(
            to,
            plain.timestamp,
            plain.key.as_deref(),
            plain.value.as_deref(),
            &plain.headers,
        )
        .expect("append");
    }
    assert_eq!(
        kind(sink.append(to, 0, None, None, &[9, 9])),
        Some(FaultKind::Misuse),
        "headers that are no headers"
    );
    sink.commit(&subject.group("exact"), &mut |_| Vec::new())
        .expect("commit");
    assert_eq!(subject.read(&tp, 0, expected.len()), expected);
}

fn large_values_pass(subject: &Subject<'_>) {
    let spec = TopicSpec {
        max_message_bytes: Some(11 << 20),
        ..TopicSpec::new(subject.name("large"), 1)
    };
    let tp = TopicPartition::new(subject.topic_like(spec), 0);
    let large: Vec<u8> = (0u32..10 << 20).map(|index| (index % 251) as u8).collect();
    let mut sink = subject.sink();
    let to = sink.open(&tp).expect("open");
    for value in [&b"before"[..], &large, b"behind"] {
        sink.append(to, 1, None, Some(value), &[]).expect("append");
    }
    sink.commit(&subject.group("large"), &mut |_| Vec::new())
        .expect("commit");
    let got = subject.read(&tp, 0, 3);
    assert!(
        got[1].value.as_deref() == Some(&large[..]),
        "a large value came back changed"
    );
    assert_eq!(got[2].value.as_deref(), Some(&b"behind"[..]));
}

fn too_large_is_refused(subject: &Subject<'_>) {
    let spec = TopicSpec {
        max_message_bytes: Some(4096),
        ..TopicSpec::new(subject.name("too-large"), 1)
    };
    let tp = TopicPartition::new(subject.topic_like(spec), 0);
    let mut sink = subject.sink();
    let to = sink.open(&tp).expect("open");
    sink.append(to, 1, None, Some(b"before"), &[]).expect("append");
    let fault = sink.append(to, 1, None, Some(&[0; 5000]), &[]).expect_err("too large");
    assert_eq!(fault.kind, FaultKind::Misuse);
    assert!(
        fault.to_string().contains(&*tp.topic) && fault.to_string().contains("max.message.bytes"),
        "{fault}"
    );
    sink.append(to, 1, None, Some(b"behind"), &[]).expect("append");
    sink.commit(&subject.group("too-large"), &mut |_| Vec::new())
        .expect("commit");
    assert_eq!(texts(&subject.read(&tp, 0, 2)), ["before", "behind"]);
}

fn batches_are_as_small_as_the_topic_wants(subject: &Subject<'_>) {
    let spec = TopicSpec {
        max_message_bytes: Some(4096),
        ..TopicSpec::new(subject.name("small-batches"), 1)
    };
    let tp = TopicPartition::new(subject.topic_like(spec), 0);
    subject.write(&tp, values(0..2000));
    assert_eq!(texts(&subject.read(&tp, 0, 2000)), values(0..2000).collect::<Vec<_>>());
}

fn commits_carry_metadata(subject: &Subject<'_>) {
    let topic = subject.topic("metadata", 2);
    let [tp, other] = [0, 1].map(|index| TopicPartition::new(topic.clone(), index));
    let group = subject.group("metadata");
    let admin = subject.broker.admin();
    assert_eq!(
        admin
            .committed(&group.group, &[tp.clone(), other.clone()])
            .expect("committed"),
        [None, None]
    );

    let mut sink = subject.sink();
    for (round, last) in [(0, 9), (1, 19)] {
        append_all(&mut *sink, &tp, values(0..10));
        let mut told = None;
        let mut offsets = |acked: &Acked| {
            told = Some(acked.clone());
            vec![OffsetCommit {
                partition: tp.clone(),
                offset: 5 + round,
                metadata: format!("round {round} ✓"),
            }]
        };
        sink.commit(&group, &mut offsets).expect("commit");
        let told = told.expect("asked for offsets");
        assert_eq!(told.last_offset(&topic, 0), Some(last));
        assert_eq!(told.last_offset(&topic, 1), None);
    }
    let committed = admin.committed(&group.group, &[other, tp]).expect("committed");
    assert_eq!(
        committed,
        [
            None,
            Some(Committed {
                offset: 6,
                metadata: "round 1 ✓".into()
            })
        ]
    );
    let elsewhere = admin
        .committed(&subject.name("nobody"), &[TopicPartition::new(topic, 0)])
        .expect("committed");
    assert_eq!(elsewhere, [None]);
}

fn offsets_alone_are_committed(subject: &Subject<'_>) {
    let tp = TopicPartition::new(subject.topic("alone", 1), 0);
    let group = subject.group("alone");
    let commit = OffsetCommit {
        partition: tp.clone(),
        offset: 7,
        metadata: String::new(),
    };
    subject
        .sink()
        .commit(&group, &mut |acked| {
            assert_eq!(acked, &Acked::default());
            vec![commit.clone()]
        })
        .expect("commit");
    let committed = subject
        .broker
        .admin()
        .committed(&group.group, &[tp])
        .expect("committed");
    assert_eq!(
        committed,
        [Some(Committed {
            offset: 7,
            metadata: String::new()
        })]
    );
}

fn readers_go_where_they_are_told(subject: &Subject<'_>) {
    let topic = subject.topic("seek", 2);
    let [tp, other] = [0, 1].map(|index| TopicPartition::new(topic.clone(), index));
    subject.write(&tp, values(0..2000));
    subject.write(&other, values(0..10));
    assert_eq!(subject.ends(&tp), (0, 2000));

    let mut fetch = subject.fetch(&[(&tp, 1990)]);
    assert_eq!(take(&mut *fetch, &tp, 10)[0].offset, 1990);
    fetch.assign(&[(tp.clone(), Some(1500))]).expect("seek back");
    assert_eq!(
        texts(&take(&mut *fetch, &tp, 500)),
        values(1500..2000).collect::<Vec<_>>()
    );
    fetch
        .assign(&[(tp.clone(), None), (other.clone(), Some(4))])
        .expect("change");
    subject.write(&tp, values(0..5));
    assert_eq!(texts(&take(&mut *fetch, &other, 6)), values(4..10).collect::<Vec<_>>());
    fetch
        .assign(&[(other, None), (tp.clone(), Some(2000))])
        .expect("change back");
    assert_eq!(take(&mut *fetch, &tp, 5)[0].offset, 2000);
}

fn paused_partitions_wait(subject: &Subject<'_>) {
    let topic = subject.topic("pause", 2);
    let [tp, other] = [0, 1].map(|index| TopicPartition::new(topic.clone(), index));
    let mut fetch = subject.fetch(&[(&tp, 0), (&other, 0)]);
    fetch.pause(std::slice::from_ref(&tp)).expect("pause");
    subject.write(&tp, values(0..50));
    subject.write(&other, values(0..50));
    take(&mut *fetch, &other, 50);
    let mut events = Vec::new();
    fetch.poll(Duration::ZERO, &mut events).expect("poll");
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, FetchEvent::Chunk { partition, .. } if *partition == tp))
    );
    fetch.resume(std::slice::from_ref(&tp)).expect("resume");
    assert_eq!(texts(&take(&mut *fetch, &tp, 50)), values(0..50).collect::<Vec<_>>());
}

fn out_of_range_is_reported(subject: &Subject<'_>) {
    let tp = TopicPartition::new(subject.topic("range", 1), 0);
    subject.write(&tp, values(0..3));
    let mut fetch = subject.fetch(&[(&tp, 4)]);
    match poll_until(&mut *fetch, |_, _, _| false) {
        Some(FetchEvent::OutOfRange { partition, start, end }) => {
            assert_eq!((partition, start, end), (tp.clone(), 0, 3))
        }
        other => panic!("{other:?}"),
    }
    fetch.assign(&[(tp.clone(), Some(1))]).expect("assign anew");
    assert_eq!(texts(&take(&mut *fetch, &tp, 2)), ["value 1", "value 2"]);
}

fn read_records_can_be_deleted(subject: &Subject<'_>) {
    let tp = TopicPartition::new(subject.topic("purge", 1), 0);
    subject.write(&tp, values(0..10));
    subject.write(&tp, values(10..20));
    let admin = subject.broker.admin();
    for (before, expected) in [(5, 5), (15, 15), (3, 15)] {
        admin.delete_records(&[(tp.clone(), before)]).expect("delete records");
        assert_eq!(subject.ends(&tp), (expected, 20));
    }
    assert_eq!(texts(&subject.read(&tp, 15, 5)), values(15..20).collect::<Vec<_>>());
    let mut fetch = subject.fetch(&[(&tp, 2)]);
    let event = poll_until(&mut *fetch, |_, _, _| false);
    assert!(
        matches!(event, Some(FetchEvent::OutOfRange { start: 15, end: 20, .. })),
        "{event:?}"
    );
    assert_eq!(kind(admin.delete_records(&[(tp.clone(), 21)])), Some(FaultKind::Misuse));
    admin.delete_records(&[(tp.clone(), 20)]).expect("delete all");
    assert_eq!(subject.ends(&tp), (20, 20));
    subject.write(&tp, values(20..22));
    assert_eq!(texts(&subject.read(&tp, 20, 2)), values(20..22).collect::<Vec<_>>());
}

fn aborted_records_are_not_read(subject: &Subject<'_>) {
    if !subject.atomic {
        return;
    }
    let tp = TopicPartition::new(subject.topic("abort", 1), 0);
    let mut sink = subject.sink();
    append_all(&mut *sink, &tp, ["gone".to_owned()]);
    sink.send().expect("send");
    sink.abort().expect("abort");
    assert_eq!(sink.buffered_bytes(), 0);
    append_all(&mut *sink, &tp, ["kept".to_owned()]);
    assert_eq!(subject.ends(&tp), (0, 0), "visible before the commit");
    sink.commit(&subject.group("abort"), &mut |_| Vec::new())
        .expect("commit");
    assert_eq!(texts(&subject.read(&tp, 0, 1)), ["kept"]);
}

fn two_sinks_share_a_partition(subject: &Subject<'_>) {
    let tp = TopicPartition::new(subject.topic("two", 1), 0);
    let mut sinks = [subject.sink(), subject.sink()];
    let group = subject.group("two");
    for round in 0..5 {
        for (index, sink) in sinks.iter_mut().enumerate() {
            append_all(&mut **sink, &tp, [format!("{round} of {index}")]);
        }
        for sink in &mut sinks {
            sink.commit(&group, &mut |_| Vec::new()).expect("commit");
        }
    }
    let got = subject.read(&tp, 0, 10);
    assert!(
        got.iter()
            .enumerate()
            .all(|(index, record)| record.offset == index as i64)
    );
    for index in 0..2 {
        let end = format!("of {index}");
        let own: Vec<_> = texts(&got).into_iter().filter(|text| text.ends_with(&end)).collect();
        assert_eq!(
            own,
            (0..5).map(|round| format!("{round} of {index}")).collect::<Vec<_>>()
        );
    }
}

fn polls_can_be_woken(subject: &Subject<'_>) {
    let tp = TopicPartition::new(subject.topic("wake", 1), 0);
    let mut fetch = subject.fetch(&[(&tp, 0)]);
    let waker = fetch.waker();
    let begin = Instant::now();
    let thread = std::thread::spawn(move || waker());
    // Whether it was woken before or while it waits: it returns long before its time.
    fetch.poll(PATIENCE, &mut Vec::new()).expect("poll");
    thread.join().expect("the waking thread");
    assert!(begin.elapsed() < PATIENCE / 2, "not woken");
}

fn a_process_alone(subject: &Subject<'_>) {
    let config = MembershipConfig {
        group: subject.name("member"),
        instance_id: None,
    };
    let mut member = subject.broker.membership(&config).expect("membership");
    assert_eq!(member.poll(Duration::ZERO).expect("poll"), MembershipEvent::Alone);
    let token = member.token().expect("token");
    assert_eq!(token.group, config.group);
    assert!(!token.is_fenced());
    member.leave().expect("leave");
}
