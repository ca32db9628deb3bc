//! Seeded input: the same bytes in every run and on every machine.
//!
//! Event time starts at [`START`] and goes on by 10,000 records a second, as in the Nexmark benchmark.

use bytes::Bytes;
use millstream_topology::record::{Chunk, RawRecord, Span};
use std::sync::Arc;

/// Event time of the first record, ms.
pub const START: i64 = 1_700_000_000_000;
/// Records per second of event time.
pub const RATE: i64 = 10_000;
/// Records in a chunk: what a task is fed at once.
pub const BATCH: usize = 512;
/// Distinct keys, where a case does not say otherwise.
pub const KEYS: u64 = 10_000;
/// Length of a JSON bid.
pub const BID_BYTES: usize = 200;
/// Bids below this price are filtered out: a quarter of them.
pub const LEAST_PRICE: i64 = 2_500;

/// Small, fast and repeatable: SplitMix64.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Seeded(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of a product: no division, and no bias worth speaking of.
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }
}

/// Which record: its place in the input and its event time.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Number of the record from 0: its offset.
    pub index: u64,
    /// Event time.
    pub timestamp: i64,
}

/// Packs `count` records into chunks of [`BATCH`]. `write` appends the key, then (second call) the value of a record.
pub fn chunks(topic: &str, count: usize, mut write: impl FnMut(Place, Part, &mut Vec<u8>)) -> Vec<Arc<Chunk>> {
    let topic: Arc<str> = topic.into();
    let places: Vec<Place> = (0..count as u64).map(place).collect();
    let pack = |places: &[Place]| {
        let mut buffer = Vec::new();
        let mut records = Vec::with_capacity(places.len());
        for &place in places {
            let mut part = |part| {
                let start = buffer.len();
                write(place, part, &mut buffer);
                Span {
                    start: start as u32,
                    len: (buffer.len() - start) as u32,
                }
            };
            let (key, value) = (part(Part::Key), part(Part::Value));
            let (offset, timestamp) = (place.index as i64, place.timestamp);
            records.push(RawRecord {
                offset,
                timestamp,
                key,
                value,
                headers: Span::EMPTY,
            });
        }
        Arc::new(Chunk::new(topic.clone(), 0, Bytes::from(buffer), records))
    };
    places.chunks(BATCH).map(pack).collect()
}

/// What [`chunks`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The key's bytes.
    Key,
    /// The value's bytes.
    Value,
}

fn place(index: u64) -> Place {
    Place {
        index,
        timestamp: START + index as i64 * 1000 / RATE,
    }
}

/// Key and value 8 bytes each, big-endian; keys uniform below `keys`.
pub fn numbers(topic: &str, count: usize, keys: u64) -> Vec<Arc<Chunk>> {
    let mut seeded = Seeded::new(1);
    chunks(topic, count, |place, part, out| {
        let number = match part {
            Part::Key => seeded.below(keys),
            Part::Value => place.index,
        };
        out.extend_from_slice(&number.to_be_bytes());
    })
}

/// Auctions as in Nexmark: each second bid is for the hottest of the hundred auctions in flight, and an auction in fifteen
/// bids is new. Value 8 bytes.
pub fn auctions(topic: &str, count: usize) -> Vec<Arc<Chunk>> {
    let mut seeded = Seeded::new(2);
    chunks(topic, count, |place, part, out| {
        let number = match part {
            Part::Key => {
                let newest = 1000 + place.index * 6 / 92;
                let hot = newest / 100 * 100;
                if seeded.below(2) == 0 {
                    hot
                } else {
                    newest - seeded.below(100)
                }
            }
            Part::Value => place.index,
        };
        out.extend_from_slice(&number.to_be_bytes());
    })
}

/// JSON bids of [`BID_BYTES`] bytes with seven fields, of which jobs use three; no key. Bidders uniform over [`KEYS`].
pub fn bids(topic: &str, count: usize) -> Vec<Arc<Chunk>> {
    let mut seeded = Seeded::new(3);
    chunks(topic, count, |place, part, out| match part {
        Part::Key => {}
        Part::Value => bid(&mut seeded, place, out),
    })
}

fn bid(seeded: &mut Seeded, place: Place, out: &mut Vec<u8>) {
    let (auction, price) = (1000 + seeded.below(100_000), seeded.below(10_000));
    let channel = ["Google", "Facebook", "Baidu", "Apple"][seeded.below(4) as usize];
    let bidder = bidder(seeded.below(KEYS));
    let from = out.len();
    let head = format!(
        r#"{{"auction":{auction},"bidder":"{bidder}","price":{price},"channel":"{channel}","url":"https://www.nexmark.com/item.htm?query=1","dateTime":{},"extra":""#,
        place.timestamp
    );
    out.extend_from_slice(head.as_bytes());
    while out.len() < from + BID_BYTES - 2 {
        out.push(b'a' + seeded.below(26) as u8);
    }
    out.extend_from_slice(b"\"}");
}

/// A key of 14 bytes.
pub fn bidder(number: u64) -> String {
    format!("bidder-{number:07}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bids_are_as_long_as_they_say_and_of_the_same_bytes_each_time() {
        let (once, again) = (bids("bids", 1000), bids("bids", 1000));
        for (a, b) in once.iter().zip(&again) {
            assert_eq!(a.buffer(), b.buffer());
            for record in a.records() {
                let value = a.value(record).expect("a value");
                assert_eq!(value.len(), BID_BYTES);
                serde_json::from_slice::<serde_json::Value>(value).expect("JSON");
            }
        }
        assert_eq!(once.iter().map(|c| c.records().len()).sum::<usize>(), 1000);
    }
}
