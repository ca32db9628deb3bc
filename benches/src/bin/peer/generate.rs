//! The input: seeded, so that it is the same in every run and on every machine.
//!
//! Four partitions by murmur2 of the key, in order within each; create time = event time.

use crate::Result;
use crate::batch::Writer;
use crate::wire::Client;
use millstream_benches::data::{START, Seeded};
use std::io::Write as _;

/// Partitions of every topic.
pub const PARTITIONS: usize = 4;
/// A batch is sent when it has so many bytes: about a thousand records of 100 bytes, as a good producer makes them.
const BATCH_BYTES: usize = 128 << 10;
/// Requests without an answer, at most.
const WINDOW: usize = 8;
/// Text that padding is cut from, at random: longer than the window of any compression.
const PADDING_BYTES: u64 = 1 << 20;
/// Longest padding.
const LONGEST: u64 = 512;

/// What lies in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// JSON bids of 100 bytes under keys (`i32`) uniform below the number.
    Uniform(u64),
    /// JSON bids of 300 bytes under their auction (`i64`).
    Bid300,
    /// JSON bids of 100 bytes under their auction (`i64`), as skewed as Nexmark's: each second one is for the hot auction.
    Auctions,
    /// Readings of 100,000 sensors: time `i64`, value `f64`.
    Sensor,
    /// What is known of the keys of `Uniform(10_000)`: a campaign and a name, JSON.
    Campaigns,
    /// Distinct keys of 16 bytes with text of 100 bytes: a changelog.
    Changelog,
    /// One bid for each partition.
    One,
    /// Nothing yet.
    Empty,
}

impl Data {
    /// Records in a second of event time.
    fn rate(self) -> u64 {
        match self {
            Data::Sensor => 50_000,
            _ => 10_000,
        }
    }

    /// The short name of topics with it.
    pub fn name(self) -> String {
        match self {
            Data::Uniform(4_000_000) => "u4m".to_owned(),
            Data::Uniform(keys) => format!("u{}k", keys / 1000),
            Data::Bid300 => "bid300".to_owned(),
            Data::Auctions => "nexbid".to_owned(),
            Data::Sensor => "sensor".to_owned(),
            Data::Campaigns => "dim10k".to_owned(),
            Data::Changelog => "changelog".to_owned(),
            Data::One => "one".to_owned(),
            Data::Empty => "empty".to_owned(),
        }
    }
}

/// Creates a topic and fills it; a topic that is there already is left as it is.
pub fn load(client: &mut Client, topic: &str, data: Data, count: u64) -> Result<()> {
    if client.topics()?.iter().any(|(name, _)| name == topic) {
        return Ok(());
    }
    let cleanup = if data == Data::Changelog { "compact" } else { "delete" };
    client.create_topic(topic, PARTITIONS, &[("cleanup.policy", cleanup)])?;
    let count = match data {
        Data::Empty => 0,
        Data::One => u64::MAX, // until each partition has one
        _ => count,
    };
    let mut source = Source::new(data);
    let mut writers: Vec<Writer> = (0..PARTITIONS).map(|_| Writer::new()).collect();
    for index in 0..count {
        let time = source.next(index);
        let partition = partition(&source.key);
        let Some(writer) = writers.get_mut(partition) else {
            continue;
        };
        if data == Data::One {
            if writer.is_empty() {
                writer.add(time, &source.key, &source.value);
            }
            if writers.iter().all(|w| !w.is_empty()) {
                break;
            }
            continue;
        }
        writer.add(time, &source.key, &source.value);
        if writer.len() >= BATCH_BYTES {
            client.produce(topic, &[(partition, writer.finish())], WINDOW)?;
            writer.clear();
        }
    }
    for (partition, writer) in writers.iter_mut().enumerate() {
        if !writer.is_empty() {
            client.produce(topic, &[(partition, writer.finish())], WINDOW)?;
        }
    }
    client.flush()
}

/// One record after the other.
pub struct Source {
    data: Data,
    seeded: Seeded,
    padding: Vec<u8>,
    /// Key of the present record.
    pub key: Vec<u8>,
    /// Value of the present record.
    pub value: Vec<u8>,
}

impl Source {
    /// From the beginning.
    pub fn new(data: Data) -> Self {
        let mut seeded = Seeded::new(data.name().bytes().fold(7, |seed, b| seed * 31 + u64::from(b)));
        let letters = (0..PADDING_BYTES + LONGEST).map(|_| b'a' + seeded.below(26) as u8);
        let padding = letters.collect();
        Source {
            data,
            seeded,
            padding,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Makes record `index`, and returns its event time.
    pub fn next(&mut self, index: u64) -> i64 {
        self.key.clear();
        self.value.clear();
        let time = START + (index * 1000 / self.data.rate()) as i64;
        match self.data {
            Data::Uniform(keys) => {
                let key = self.seeded.below(keys);
                self.key.extend((key as i32).to_be_bytes());
                let _price = self.bid(key, time, 100);
            }
            Data::Bid300 | Data::Auctions | Data::One => {
                let auction = self.auction(index);
                self.key.extend(auction.to_be_bytes());
                let length = if self.data == Data::Bid300 { 300 } else { 100 };
                let _price = self.bid(auction, time, length);
            }
            Data::Sensor => {
                self.key.extend((self.seeded.below(100_000) as i32).to_be_bytes());
                self.value.extend(time.to_be_bytes());
                // Sixty-fourths: their sums are exact, so that the order of additions does not show.
                self.value
                    .extend((self.seeded.below(1 << 20) as f64 / 64.0).to_be_bytes());
            }
            Data::Campaigns => {
                self.key.extend((index as i32).to_be_bytes());
                let _ = write!(self.value, r#"{{"campaign":{},"name":""#, index % 1000);
                self.pad(87);
                return START - 1000;
            }
            Data::Changelog => {
                self.key.extend(self.seeded.next_u64().to_be_bytes());
                self.key.extend(index.to_be_bytes());
                self.text(100);
                return START;
            }
            Data::Empty => {}
        }
        time
    }

    /// Half of the bids are for the hot auction, the first of the last hundred; ids advance by 6 in 92 bids.
    fn auction(&mut self, index: u64) -> u64 {
        let newest = 1000 + index * 6 / 92;
        match self.seeded.below(2) {
            0 => newest / 100 * 100,
            _ => newest - self.seeded.below(100),
        }
    }

    /// Prices are spread over six decades; a third is 1,000,000 or more.
    fn price(&mut self) -> u64 {
        let decade = self.seeded.below(6) as u32;
        100 * 10_u64.pow(decade) * (100 + self.seeded.below(900)) / 100
    }

    /// A bid whose `dateTime` is `time`, of `length` bytes; returns its price.
    pub fn bid(&mut self, auction: u64, time: i64, length: usize) -> u64 {
        let (bidder, price) = (1000 + self.seeded.below(10_000), self.price());
        let out = &mut self.value;
        out.extend_from_slice(b"{\"auction\":");
        number(out, auction);
        out.extend_from_slice(b",\"bidder\":");
        number(out, bidder);
        out.extend_from_slice(b",\"price\":");
        number(out, price);
        if length < 300 {
            out.extend_from_slice(b",\"dateTime\":");
            number(out, time.unsigned_abs());
            out.extend_from_slice(b",\"x\":\"");
        } else {
            let channel = self.seeded.below(10_000);
            out.extend_from_slice(b",\"channel\":\"channel-");
            number(out, channel);
            out.extend_from_slice(b"\",\"url\":\"https://www.nexmark.com/item.htm?query=1&channel_id=");
            number(out, channel);
            out.extend_from_slice(b"\",\"dateTime\":");
            number(out, time.unsigned_abs());
            out.extend_from_slice(b",\"extra\":\"");
        }
        self.pad(length);
        price
    }

    /// Text up to `length` bytes in all, and the end of the JSON.
    fn pad(&mut self, length: usize) {
        self.text((length - 2).saturating_sub(self.value.len()));
        self.value.extend_from_slice(b"\"}");
    }

    fn text(&mut self, length: usize) {
        let from = self.seeded.below(PADDING_BYTES) as usize;
        self.value
            .extend_from_slice(self.padding.get(from..from + length).unwrap_or_default());
    }
}

fn number(out: &mut Vec<u8>, n: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), n);
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (rest % 10) as u8;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// The partition that Kafka's own clients send this key to.
pub fn partition(key: &[u8]) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % PARTITIONS
}

fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (at, byte) in tail.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * at);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Kafka's own test of its partitioner.
    #[test]
    fn keys_are_hashed_as_kafka_does() {
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn values_have_the_sizes_that_the_table_gives() {
        for (data, key, value) in [
            (Data::Uniform(10_000), 4, 100),
            (Data::Uniform(4_000_000), 4, 100),
            (Data::Bid300, 8, 300),
            (Data::Auctions, 8, 100),
            (Data::Sensor, 4, 16),
            (Data::Campaigns, 4, 87),
            (Data::Changelog, 16, 100),
        ] {
            let mut source = Source::new(data);
            for index in 0..10_000 {
                source.next(index);
                assert_eq!((source.key.len(), source.value.len()), (key, value), "{data:?}");
                if matches!(data, Data::Uniform(_) | Data::Bid300 | Data::Auctions | Data::Campaigns) {
                    let parsed = serde_json::from_slice::<serde_json::Value>(&source.value);
                    assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(&source.value));
                }
            }
        }
    }

    #[test]
    fn a_third_of_the_bids_is_dear() {
        let mut source = Source::new(Data::Bid300);
        let dear = (0..30_000).filter(|_| source.price() >= 1_000_000).count();
        assert!((9_500..10_500).contains(&dear), "{dear}");
    }
}
