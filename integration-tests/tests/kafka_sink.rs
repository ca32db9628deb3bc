//! When records leave for a real Kafka, whatever `linger.ms` says (decision record 0012).

use std::sync::{Arc, mpsc};
use std::time::Duration;

use millstream_integration_tests::kafka;
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::{
    Broker, FetchConfig, FetchEvent, GroupToken, PartitionRef, Sink, SinkConfig, TopicPartition, TopicSpec,
};
use millstream_processor::config::KafkaProduce;

const PARTITIONS: usize = 3;
/// Until something that must come counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

struct Subject {
    broker: KafkaBroker,
    sink: Box<dyn Sink>,
    partitions: Vec<TopicPartition>,
    refs: Vec<PartitionRef>,
}

impl Subject {
    fn new(linger: Option<&str>, client: KafkaProduce) -> Option<Self> {
        let mut settings = KafkaSettings::new(kafka::shared()?.bootstrap()).writing_with(client);
        settings.producer = linger.map(|ms| ("linger.ms".into(), ms.into())).into_iter().collect();
        let broker = KafkaBroker::new(settings).expect("clients");
        let topic = kafka::unique("sink");
        let spec = TopicSpec::new(topic.clone(), PARTITIONS as i32);
        broker.admin().create(&spec).expect("a topic");
        let mut sink = broker.sink(&SinkConfig::default()).expect("a sink");
        let partitions: Vec<_> = (0..PARTITIONS as i32)
            .map(|number| TopicPartition::new(topic.clone(), number))
            .collect();
        let open = |tp| sink.open(tp).expect("a partition");
        let refs = partitions.iter().map(open).collect();
        Some(Self {
            broker,
            sink,
            partitions,
            refs,
        })
    }

    /// Numbers in rounds of seven, each into the next partition; what a round sends is up to the sink.
    fn append(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let to = self.refs[number as usize % PARTITIONS];
            let value = [&number.to_be_bytes()[..], &vec![b'.'; 500]].concat();
            let key = number.to_be_bytes();
            let key = number.is_multiple_of(2).then_some(&key[..]);
            let value = (!number.is_multiple_of(5)).then_some(&value[..]);
            self.sink
                .append(to, i64::from(number) + 1, key, value, &[])
                .expect("append");
            if number % 7 == 6 {
                self.sink.send().expect("send");
            }
        }
    }

    /// The timestamps in each partition up to the first `count` records of all.
    fn read(&self, count: usize) -> Vec<Vec<i64>> {
        let mut fetch = self.broker.fetch(&FetchConfig::default()).expect("a reader");
        let from: Vec<_> = self.partitions.iter().map(|tp| (tp.clone(), Some(0))).collect();
        fetch.assign(&from).expect("assign");
        let mut got = vec![Vec::new(); PARTITIONS];
        let mut events = Vec::new();
        while got.iter().map(Vec::len).sum::<usize>() < count {
            fetch.poll(PATIENCE, &mut events).expect("poll");
            let counts: Vec<usize> = got.iter().map(Vec::len).collect();
            assert!(!events.is_empty(), "nothing more after {counts:?} records");
            for event in events.drain(..) {
                let FetchEvent::Chunk { partition, chunk, .. } = event else {
                    panic!("{event:?}");
                };
                let times = chunk.records().iter().map(|record| record.timestamp);
                got[partition.partition as usize].extend(times);
            }
        }
        got
    }

    fn expect(&self, count: u32) {
        let of = |partition: u32| (0..count).filter(move |number| number % PARTITIONS as u32 == partition);
        let expected: Vec<Vec<i64>> = (0..PARTITIONS as u32)
            .map(|partition| of(partition).map(|number| i64::from(number) + 1).collect())
            .collect();
        assert!(self.read(count as usize) == expected, "not each once and in order");
    }
}

#[test]
fn without_linger_all_leaves_without_a_commit() {
    let Some(mut subject) = Subject::new(Some("0"), KafkaProduce::Librdkafka) else {
        return;
    };
    let (woken, wakes) = mpsc::sync_channel(1);
    let waker = Arc::new(move || {
        // Full: a call that waits already is as good.
        let _ = woken.try_send(());
    });
    subject.sink.wake_by(waker);
    subject.append(0..5_000);
    subject.sink.send().expect("send");
    // As a stream thread that has nothing else to do.
    while subject.sink.buffered_bytes() > 0 {
        wakes
            .recv_timeout(PATIENCE)
            .expect("a call when something is acknowledged");
        subject.sink.send().expect("send");
    }
    subject.expect(5_000);
}

#[test]
fn without_linger_all_leaves_without_anybody_calling() {
    for linger in [Some("0"), None, Some("3")] {
        let Some(mut subject) = Subject::new(linger, KafkaProduce::Native) else {
            return;
        };
        subject.append(0..5_000);
        subject.sink.send().expect("send");
        // The reader waits for them; nobody calls the sink.
        subject.expect(5_000);
    }
}

#[test]
fn a_commit_takes_along_what_is_held_back_and_an_abort_drops_it() {
    let clients = [KafkaProduce::Native, KafkaProduce::Librdkafka];
    for (client, linger) in clients
        .into_iter()
        .flat_map(|client| [None, Some("0"), Some("3")].map(|ms| (client, ms)))
    {
        let Some(mut subject) = Subject::new(linger, client) else {
            return;
        };
        let nobody = GroupToken::alone("writer");
        subject.append(0..2_000);
        subject.sink.commit(&nobody, &mut |_| Vec::new()).expect("commit");
        assert_eq!(subject.sink.buffered_bytes(), 0);
        subject.expect(2_000);
        subject.append(2_000..2_500);
        subject.sink.abort().expect("abort");
        assert_eq!(subject.sink.buffered_bytes(), 0);
    }
}
