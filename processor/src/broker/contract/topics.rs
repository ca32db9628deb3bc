//! Topics, and what is in them.

use super::*;

pub(super) const CASES: &[Case] = &[
    ("topics are created, described and deleted", topics_come_and_go),
    ("a topic that is not there is said so", unknown_topics_are_said_so),
    ("records before an offset can be deleted", read_records_can_be_deleted),
];

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
