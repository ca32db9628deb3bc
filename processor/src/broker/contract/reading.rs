//! Where a reader reads, and when it waits.

use super::*;

pub(super) const CASES: &[Case] = &[
    (
        "a reader moves, stops and starts where it is told",
        readers_go_where_they_are_told,
    ),
    ("a paused partition is silent and then goes on", paused_partitions_wait),
    ("a position that does not exist is reported", out_of_range_is_reported),
    ("a waiting poll can be woken", polls_can_be_woken),
];

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
