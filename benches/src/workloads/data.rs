//! Seeded input in the formats of the workloads' topics, in one partition: what tests and instruction counts replay. The
//! topics of the comparison itself, hundreds of times larger, come from the generator in `benches/peer`.

use std::io::Write;
use std::sync::Arc;

use millstream_topology::record::Chunk;

use crate::data::{self, Part, Place, Seeded};

/// Advertisements, auctions and other integer keys of 4 bytes are below this.
pub const KEYS: u64 = 10_000;
/// Campaigns that the advertisements belong to.
pub const CAMPAIGNS: u64 = 1_000;
/// Sensors.
pub const SENSORS: u64 = 100_000;

/// `u10k`: keys `i32` uniform below `keys`, bids of 100 bytes.
pub fn uniform(topic: &str, records: usize, keys: u64) -> Vec<Arc<Chunk>> {
    let mut seeded = Seeded::new(11);
    data::chunks(topic, records, |place, part, out| match part {
        Part::Key => out.extend_from_slice(&(seeded.below(keys) as i32).to_be_bytes()),
        Part::Value => small_bid(&mut seeded, place, 0, out),
    })
}

/// `nexbid`: half of the bids are for the hottest auction, the others over the newest hundred; bids of 100 bytes.
pub fn auctions(topic: &str, records: usize) -> Vec<Arc<Chunk>> {
    let mut seeded = Seeded::new(12);
    let mut auction = 0;
    data::chunks(topic, records, |place, part, out| match part {
        Part::Key => {
            let newest = 1000 + place.index * 6 / 92;
            auction = match seeded.below(2) {
                0 => newest / 100 * 100,
                _ => newest - seeded.below(100),
            };
            out.extend_from_slice(&auction.to_be_bytes());
        }
        Part::Value => small_bid(&mut seeded, place, auction, out),
    })
}

/// `bid300`: bids of 300 bytes with seven fields, by auction.
pub fn large_bids(topic: &str, records: usize) -> Vec<Arc<Chunk>> {
    let mut seeded = Seeded::new(13);
    let mut auction = 0;
    data::chunks(topic, records, |place, part, out| match part {
        Part::Key => {
            auction = 1000 + seeded.below(100_000);
            out.extend_from_slice(&auction.to_be_bytes());
        }
        Part::Value => large_bid(&mut seeded, place, auction, out),
    })
}

/// `sensor`: keys `i32` uniform below `sensors`; time and value, 16 bytes.
pub fn readings(topic: &str, records: usize, sensors: u64) -> Vec<Arc<Chunk>> {
    let mut seeded = Seeded::new(14);
    data::chunks(topic, records, |place, part, out| match part {
        Part::Key => out.extend_from_slice(&(seeded.below(sensors) as i32).to_be_bytes()),
        Part::Value => {
            out.extend_from_slice(&place.timestamp.to_be_bytes());
            // Quarters: sums are exact, in any order.
            let value = seeded.below(4_000) as f64 / 4.0;
            out.extend_from_slice(&value.to_be_bytes());
        }
    })
}

/// `dim10k`: the campaign of each of the [`KEYS`] advertisements.
pub fn campaigns(topic: &str) -> Vec<Arc<Chunk>> {
    data::chunks(topic, KEYS as usize, |place, part, out| match part {
        Part::Key => out.extend_from_slice(&(place.index as i32).to_be_bytes()),
        Part::Value => {
            let campaign = place.index % CAMPAIGNS;
            let from = out.len();
            text(
                out,
                format_args!(r#"{{"campaign":{campaign},"name":"campaign number {campaign} "#),
            );
            pad(out, from + 87, b'.');
        }
    })
}

fn small_bid(seeded: &mut Seeded, place: Place, auction: u64, out: &mut Vec<u8>) {
    let (bidder, price, from) = (1000 + seeded.below(10_000), price(seeded), out.len());
    let time = place.timestamp;
    text(
        out,
        format_args!(r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"dateTime":{time},"x":""#),
    );
    pad(out, from + 100, b'x');
}

fn large_bid(seeded: &mut Seeded, place: Place, auction: u64, out: &mut Vec<u8>) {
    let (bidder, price, from) = (1000 + seeded.below(10_000), price(seeded), out.len());
    let (channel, time) = (seeded.below(10_000), place.timestamp);
    text(
        out,
        format_args!(
            r#"{{"auction":{auction},"bidder":{bidder},"price":{price},"channel":"channel-{channel}","url":"https://www.nexmark.com/{}/item.htm?query=1&channel_id={channel}","dateTime":{time},"extra":""#,
            seeded.next_u64()
        ),
    );
    while out.len() < from + 298 {
        out.push(b'a' + seeded.below(26) as u8);
    }
    out.extend_from_slice(b"\"}");
}

/// As in Nexmark from a hundred to a hundred million, each order of magnitude as often as the others.
fn price(seeded: &mut Seeded) -> u64 {
    100 * 10u64.pow(seeded.below(6) as u32) * (10 + seeded.below(90)) / 10
}

fn text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(text);
}

/// Fills a JSON text up to this length, with the end of its last string and of the object.
fn pad(out: &mut Vec<u8>, to: usize, with: u8) {
    out.resize((to - 2).max(out.len()), with);
    out.extend_from_slice(b"\"}");
}
