//! Records: what was written is what is read.

use super::*;

pub(super) const CASES: &[Case] = &[
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
    ("two sinks write one partition", two_sinks_share_a_partition),
];

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
