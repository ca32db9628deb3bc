//! The same records through every client that writes: what is read is what was written, byte for byte.

use millstream_integration_tests::{kafka, readers};
use millstream_processor::broker::dice::Dice;
use millstream_processor::broker::kafka::{KafkaBroker, KafkaSettings};
use millstream_processor::broker::record_batch::headers::{self, Header};
use millstream_processor::broker::{Broker as _, GroupToken, SinkConfig, TopicPartition, TopicSpec};
use millstream_processor::config::KafkaProduce;

use crate::read_back::{Read, read_back};

crate::through_each_client!(any_record_comes_back_byte_for_byte, java_reads_what_was_written);

/// Each writes to the partition of its place here.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const RECORDS: usize = 1500;

/// Of what keys and values are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// All bytes.
    Bytes,
    /// Letters, which a console shows as they are.
    Letters,
}

impl Alphabet {
    fn write(self, dice: &mut Dice, len: usize) -> Vec<u8> {
        // Some compress well.
        let width = if dice.below(2) == 0 { 2 } else { 256 };
        let byte = |_| match self {
            Self::Bytes => dice.below(width) as u8,
            Self::Letters => b'a' + dice.below(width.min(26)) as u8,
        };
        (0..len).map(byte).collect()
    }

    fn maybe(self, dice: &mut Dice, large: usize) -> Option<Vec<u8>> {
        let len = match dice.below(20) {
            0 => return None,
            1 => 0,
            2 => dice.below(large),
            _ => dice.below(100),
        };
        Some(self.write(dice, len))
    }
}

/// The records of a seed, with the offsets they get; readers tell no difference between no headers and none of them.
fn history(seed: u64, alphabet: Alphabet) -> Vec<Read> {
    let mut dice = Dice::new(seed);
    let record = |offset| Read {
        offset: offset as i64,
        timestamp: match dice.below(20) {
            0 => 0,
            1 => -1_000 - dice.below(1_000_000) as i64,
            2 => 1 + dice.below(1000) as i64,
            3 => 4_102_444_800_000,
            _ => 1_700_000_000_000 + dice.below(100_000_000) as i64,
        },
        key: alphabet.maybe(&mut dice, 3_000),
        value: alphabet.maybe(&mut dice, 60_000),
        headers: header_block(&mut dice),
    };
    (0..RECORDS).map(record).collect()
}

fn header_block(dice: &mut Dice) -> Vec<u8> {
    let count = dice.below(40).saturating_sub(35);
    let owned: Vec<(Vec<u8>, Option<Vec<u8>>)> = (0..count)
        .map(|_| {
            let len = dice.below(9);
            (Alphabet::Bytes.write(dice, len), Alphabet::Bytes.maybe(dice, 2_000))
        })
        .collect();
    let mut block = Vec::new();
    let given = owned
        .iter()
        .map(|(name, value)| -> Header<'_> { (name, value.as_deref()) });
    headers::encode(given, &mut block);
    block
}

/// Writes a history with each compression to a partition of its own, in several batches of several commits.
fn write(client: KafkaProduce, bootstrap: &str, records: &[Read]) -> (KafkaBroker, Vec<TopicPartition>) {
    let connect = |codec: &str| {
        let mut settings = KafkaSettings::new(bootstrap).writing_with(client);
        settings.producer = vec![("compression.type".into(), codec.into())];
        KafkaBroker::new(settings).expect("clients")
    };
    let reader = connect("none");
    // Kafka refuses timestamps more than an hour ahead, unless told otherwise.
    let spec = TopicSpec {
        extra: vec![("message.timestamp.after.max.ms".into(), i64::MAX.to_string())],
        ..TopicSpec::new(kafka::unique("same"), CODECS.len() as i32)
    };
    reader.admin().create(&spec).expect("a topic");
    let partitions = (0..spec.partitions).map(|index| TopicPartition::new(spec.name.clone(), index));
    let partitions: Vec<_> = partitions.collect();
    let nobody = GroupToken::alone("writer");
    for (codec, tp) in CODECS.iter().zip(&partitions) {
        let mut sink = connect(codec).sink(&SinkConfig::default()).expect("a sink");
        let to = sink.open(tp).expect("a partition");
        for (index, record) in records.iter().enumerate() {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            sink.append(to, record.timestamp, key, value, &record.headers)
                .expect("append");
            if index % 97 == 0 {
                sink.send().expect("send");
            }
            if index % 601 == 600 {
                sink.commit(&nobody, &mut |_| Vec::new()).expect("commit");
            }
        }
        sink.commit(&nobody, &mut |_| Vec::new()).expect("commit");
    }
    (reader, partitions)
}

/// As this client writes it: librdkafka takes a timestamp of 0 for "now", so it gets 1.
fn as_written(client: KafkaProduce, mut records: Vec<Read>) -> Vec<Read> {
    if client == KafkaProduce::Librdkafka {
        records
            .iter_mut()
            .filter(|record| record.timestamp == 0)
            .for_each(|record| record.timestamp = 1);
    }
    records
}

fn any_record_comes_back_byte_for_byte(client: KafkaProduce) {
    let Some(server) = kafka::shared() else { return };
    let records = history(1, Alphabet::Bytes);
    let (reader, partitions) = write(client, server.bootstrap(), &records);
    let expected = as_written(client, records);
    for (codec, read) in CODECS.iter().zip(read_back(&reader, &partitions)) {
        assert_eq!(read.len(), expected.len(), "{codec}");
        let differs = read.iter().zip(&expected).find(|(read, expected)| read != expected);
        assert_eq!(differs, None, "{codec}: what was read, and what was written");
    }
}

fn java_reads_what_was_written(client: KafkaProduce) {
    let Some(server) = kafka::shared() else { return };
    let records = history(2, Alphabet::Letters);
    let (_, partitions) = write(client, server.bootstrap(), &records);
    let records = as_written(client, records);
    let Some(seen) = readers::java(server.bootstrap(), &partitions[0].topic, CODECS.len() * RECORDS) else {
        return eprintln!("no JDK or Maven beside the given broker");
    };
    let shown = |text: &Option<Vec<u8>>| {
        let text = text.clone().unwrap_or_else(|| b"null".to_vec());
        String::from_utf8(text).expect("letters")
    };
    let mut expected = Vec::new();
    for tp in &partitions {
        expected.extend(records.iter().map(|record| readers::Seen {
            partition: tp.partition,
            timestamp: record.timestamp,
            key: shown(&record.key),
            value: shown(&record.value),
        }));
    }
    expected.sort();
    assert_eq!(seen.len(), expected.len());
    assert!(seen == expected, "Java reads something else");
}
