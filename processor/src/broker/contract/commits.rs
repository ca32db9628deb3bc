//! Commits, and who may make them.

use super::*;

pub(super) const CASES: &[Case] = &[
    (
        "a commit tells the last offsets and stores offsets with metadata",
        commits_carry_metadata,
    ),
    ("a commit without records stores offsets", offsets_alone_are_committed),
    (
        "records appended while offsets are pending belong to the next commit",
        work_goes_on_while_offsets_are_pending,
    ),
    ("an aborted record is never read", aborted_records_are_not_read),
    ("a process alone has every task and an unfenced token", a_process_alone),
];

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

fn work_goes_on_while_offsets_are_pending(subject: &Subject<'_>) {
    let topic = subject.topic("pending", 2);
    let [tp, other] = [0, 1].map(|index| TopicPartition::new(topic.clone(), index));
    let group = subject.group("pending");
    let offset = |offset| OffsetCommit {
        partition: tp.clone(),
        offset,
        metadata: String::new(),
    };
    let mut sink = subject.sink();
    append_all(&mut *sink, &tp, values(0..10));
    let pending = sink.begin_commit(&group, &mut |_| vec![offset(10)]).expect("begin");
    append_all(&mut *sink, &other, values(0..5));
    sink.send().expect("send");
    pending.commit().expect("the offsets");
    let admin = subject.broker.admin();
    let committed = || {
        admin
            .committed(&group.group, std::slice::from_ref(&tp))
            .expect("committed")
    };
    assert_eq!(committed()[0].as_ref().map(|committed| committed.offset), Some(10));
    let mut told = Acked::default();
    let mut next = |acked: &Acked| {
        told = acked.clone();
        vec![offset(11)]
    };
    sink.commit(&group, &mut next).expect("commit");
    assert_eq!(told.last, [(other.clone(), 4)], "what came after the first");
    assert_eq!(committed()[0].as_ref().map(|committed| committed.offset), Some(11));
    assert_eq!(subject.read(&other, 0, 5).len(), 5);
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
