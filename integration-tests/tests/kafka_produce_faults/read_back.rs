//! What is in a topic in the end.

use std::time::{Duration, Instant};

use millstream_processor::broker::{Broker, FetchConfig, FetchEvent, TopicPartition};

use crate::writer::PATIENCE;

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<u8>,
}

/// All records of each of these partitions.
pub(crate) fn read_back(broker: &dyn Broker, partitions: &[TopicPartition]) -> Vec<Vec<Read>> {
    let ends = broker.admin().end_offsets(partitions).expect("end offsets");
    let mut fetch = broker.fetch(&FetchConfig::default()).expect("a reader");
    let starts: Vec<_> = partitions.iter().map(|tp| (tp.clone(), Some(0))).collect();
    fetch.assign(&starts).expect("assign");
    let (mut read, mut nexts) = (vec![Vec::new(); partitions.len()], vec![0; partitions.len()]);
    let deadline = Instant::now() + PATIENCE;
    while nexts.iter().zip(&ends).any(|(next, end)| next < end) {
        assert!(Instant::now() < deadline, "read up to {nexts:?} of {ends:?}");
        let mut events = Vec::new();
        fetch.poll(Duration::from_secs(1), &mut events).expect("poll");
        for event in events {
            let FetchEvent::Chunk {
                partition, chunk, next, ..
            } = event
            else {
                panic!("{event:?}");
            };
            let index = partitions.iter().position(|tp| *tp == partition);
            let index = index.expect("a partition that was assigned");
            nexts[index] = next;
            read[index].extend(chunk.records().iter().map(|record| Read {
                offset: record.offset,
                timestamp: record.timestamp,
                key: chunk.key(record).map(<[u8]>::to_vec),
                value: chunk.value(record).map(<[u8]>::to_vec),
                headers: chunk.header_block(record).to_vec(),
            }));
        }
    }
    read
}
