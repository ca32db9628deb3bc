//! A random history of a topic, for tests that read it back by every client: several transactional producers and plain
//! ones, interleaved, with every compression, commits and aborts (feature `testing`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's tool stops where the cluster does not do its part"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::broker::TopicPartition;
use crate::broker::dice::Dice;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PATIENCE: Duration = Duration::from_secs(60);

/// What a history is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Brokers.
    pub bootstrap: String,
    /// Where it is written: a topic that exists and is empty.
    pub topic: String,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// The same seed writes the same records in the same transactions (offsets differ: producers race).
    pub seed: u64,
    /// How many times one of the producers writes something, or ends its transaction.
    pub steps: usize,
}

/// Writes it; returns the numbers of the records that readers of committed records must see, by partition. A record's
/// value begins with its number, in eight bytes, big-endian.
pub fn write(plan: &Plan) -> Vec<(TopicPartition, BTreeSet<u64>)> {
    let mut dice = Dice::new(plan.seed);
    let mut writers: Vec<Writer> = (0..2 * CODECS.len()).map(|number| Writer::new(plan, number)).collect();
    let mut seen = vec![BTreeSet::new(); plan.partitions as usize];
    let mut next = 0;
    for _ in 0..plan.steps {
        let writer = dice.below(writers.len());
        let writer = &mut writers[writer];
        if writer.open && dice.below(4) == 0 {
            writer.end(dice.below(5) < 3, &mut seen);
        } else {
            for _ in 0..=dice.below(40) {
                writer.write(plan, next, &mut dice, &mut seen);
                next += 1;
            }
            // Batches of several sizes, and records of different producers between each other's.
            if dice.below(3) == 0 {
                writer.flush();
            }
        }
    }
    for writer in &mut writers {
        writer.flush();
        if writer.open {
            writer.end(dice.below(2) == 0, &mut seen);
        }
    }
    let partition = |(index, seen)| (TopicPartition::new(plan.topic.as_str(), index as i32), seen);
    seen.into_iter().enumerate().map(partition).collect()
}

struct Writer {
    producer: BaseProducer,
    transactional: bool,
    open: bool,
    /// Partition and number of the records of the open transaction.
    pending: Vec<(usize, u64)>,
}

impl Writer {
    /// The first of each codec writes plainly, the second in transactions.
    fn new(plan: &Plan, number: usize) -> Self {
        let transactional = number >= CODECS.len();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &plan.bootstrap);
        config.set("compression.codec", CODECS[number % CODECS.len()]);
        config.set("linger.ms", "1");
        if transactional {
            config.set("transactional.id", format!("{}-{number}", plan.topic));
            // A test that ends early must not hold the topic's end back for long.
            config.set("transaction.timeout.ms", "30000");
        }
        let producer: BaseProducer = config.create().expect("a producer");
        if transactional {
            producer.init_transactions(PATIENCE).expect("transactions");
        }
        Self {
            producer,
            transactional,
            open: false,
            pending: Vec::new(),
        }
    }

    fn write(&mut self, plan: &Plan, number: u64, dice: &mut Dice, seen: &mut [BTreeSet<u64>]) {
        if self.transactional && !self.open {
            self.producer.begin_transaction().expect("begin a transaction");
            self.open = true;
        }
        let partition = dice.below(plan.partitions as usize);
        let mut value = number.to_be_bytes().to_vec();
        // Some values are large, some compress well, some not at all.
        let len = if dice.below(50) == 0 { 20_000 } else { 100 };
        match dice.below(2) {
            0 => value.resize(8 + dice.below(len), b'x'),
            _ => value.extend((0..dice.below(len)).map(|_| dice.number() as u8)),
        }
        let key = dice.number().to_le_bytes();
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&plan.topic)
            .partition(partition as i32)
            .timestamp(1_700_000_000_000 + dice.below(1_000_000) as i64)
            .payload(&value);
        if dice.below(4) > 0 {
            record = record.key(&key[..dice.below(9)]);
        }
        if dice.below(5) == 0 {
            let value = (dice.below(2) == 0).then_some("value");
            let header = Header { key: "name", value };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        self.producer.send(record).map_err(|(error, _)| error).expect("send");
        match self.transactional {
            true => self.pending.push((partition, number)),
            false => drop(seen[partition].insert(number)),
        }
    }

    fn flush(&self) {
        self.producer.flush(PATIENCE).expect("flush");
    }

    fn end(&mut self, commit: bool, seen: &mut [BTreeSet<u64>]) {
        // What is aborted is on the log too.
        self.flush();
        match commit {
            true => self.producer.commit_transaction(PATIENCE).expect("commit"),
            false => self.producer.abort_transaction(PATIENCE).expect("abort"),
        }
        for (partition, number) in self.pending.drain(..) {
            if commit {
                seen[partition].insert(number);
            }
        }
        self.open = false;
    }
}
