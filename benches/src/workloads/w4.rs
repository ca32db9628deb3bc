//! W4: count, sum, least and greatest of each sensor in each minute.

use std::time::Duration;

use millstream_state::codec::{Codec, DecodeError, I32, Raw};
use millstream_topology::StreamBuilder;
use millstream_topology::aggregate::Fold;
use millstream_topology::options::{Consumed, Grouped, Materialized, Produced};
use millstream_topology::windows::TimeWindows;

use super::Topics;

pub(super) fn add(builder: &StreamBuilder, topics: &Topics<'_>) {
    let statistics = Fold::new(Statistics::none, |sum: &mut Statistics, _sensor: &i32, value: &f64| {
        sum.add(*value);
    });
    builder
        .stream(topics.input, Consumed::with(I32, Reading))
        .group_by_key(Grouped::with(I32, Reading))
        .windowed_by(TimeWindows::of_size(Duration::from_secs(60)))
        .aggregate(
            statistics.merging(Statistics::merge),
            Materialized::with(I32, StatisticsCodec).named("minutes"),
        )
        .to(topics.output, Produced::with(I32, StatisticsCodec));
}

/// A reading as it is sent, 16 bytes: when it was taken (its record has the same timestamp), and its value.
#[derive(Debug, Clone, Copy)]
struct Reading;

impl Codec<f64> for Reading {
    fn encode(&self, value: &f64, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&value.to_be_bytes());
    }

    fn decode(&self, raw: Raw<'_>) -> Result<f64, DecodeError> {
        match raw.bytes().as_chunks::<8>() {
            ([_time, value], []) => Ok(f64::from_be_bytes(*value)),
            _ => Err(wrong_length("a reading", 16, raw)),
        }
    }
}

/// What is known of a sensor's minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Readings.
    pub count: i64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Statistics {
    /// Of no readings.
    pub const fn none() -> Self {
        Statistics {
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// One more reading.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// 32 bytes, big-endian: count, sum, min, max.
#[derive(Debug, Clone, Copy)]
pub struct StatisticsCodec;

impl Codec<Statistics> for StatisticsCodec {
    fn encode(&self, value: &Statistics, out: &mut Vec<u8>) {
        out.extend_from_slice(&value.count.to_be_bytes());
        for number in [value.sum, value.min, value.max] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn decode(&self, raw: Raw<'_>) -> Result<Statistics, DecodeError> {
        match raw.bytes().as_chunks::<8>() {
            ([count, sum, min, max], []) => Ok(Statistics {
                count: i64::from_be_bytes(*count),
                sum: f64::from_be_bytes(*sum),
                min: f64::from_be_bytes(*min),
                max: f64::from_be_bytes(*max),
            }),
            _ => Err(wrong_length("statistics", 32, raw)),
        }
    }
}

#[cold]
fn wrong_length(what: &str, expected: usize, raw: Raw<'_>) -> DecodeError {
    let found = raw.bytes().len();
    DecodeError::Malformed(format!("expected {what} ({expected} bytes), found {found} bytes"))
}
