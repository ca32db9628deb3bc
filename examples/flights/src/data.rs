//! The data set: two compressed CSV files, compiled in, and the messages they turn into.
//!
//! Order matters here: a message leaves the aircraft when it really departs, so [`Flights::messages`] goes by arrival
//! time while the messages speak of scheduled departures. That is where the job's out-of-order input comes from.

use std::io::Read;

use crate::event::Plane;
use crate::parse::{self, BadMessage};

const FLIGHTS: &[u8] = include_bytes!("../data/flights.csv.xz");
const PLANES: &[u8] = include_bytes!("../data/planes.csv.xz");

/// Rows of `flights.csv`, the header not counted.
pub const FLIGHT_COUNT: usize = 336_776;

/// The record timestamp of every plane, 2012-12-31T00:00:00Z: before the first flight, so that the planes are read first.
pub const PLANES_TIMESTAMP: i64 = 1_356_912_000_000;

/// Why the data set could not be read: it is compiled in, so each of these means a damaged build.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The compressed file is damaged.
    #[error("cannot decompress {file}: {source}; restore examples/flights/data from the repository and build again")]
    Damaged {
        /// The file's name.
        file: &'static str,
        /// What the decompressor said.
        source: std::io::Error,
    },
    /// A row is not what the README of the data says.
    #[error("line {line} of {file}: {source}; restore examples/flights/data from the repository and build again")]
    Row {
        /// The file's name.
        file: &'static str,
        /// Counted from 1, the header included.
        line: usize,
        /// What is wrong with it.
        source: BadMessage,
    },
}

/// The text of `flights.csv`, header included.
pub fn flights_csv() -> Result<String, DataError> {
    decompress("flights.csv.xz", FLIGHTS, 32 << 20)
}

/// The text of `planes.csv`, header included.
pub fn planes_csv() -> Result<String, DataError> {
    decompress("planes.csv.xz", PLANES, 256 << 10)
}

fn decompress(file: &'static str, packed: &[u8], size: usize) -> Result<String, DataError> {
    let mut text = String::with_capacity(size);
    lzma_rust2::XzReader::new(packed, false)
        .read_to_string(&mut text)
        .map_err(|source| DataError::Damaged { file, source })?;
    Ok(text)
}

/// One message of `flights.raw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// When the message came in: its key and its record timestamp.
    pub arrival: i64,
    /// The CSV line, without line end.
    pub line: &'a str,
}

impl Message<'_> {
    /// The record's key: the arrival time, big-endian, as Kafka's `LongSerializer` writes it.
    pub fn key(&self) -> [u8; 8] {
        self.arrival.to_be_bytes()
    }
}

/// The header every message of `flights.raw` carries.
pub const DEVICE_TYPE: (&str, &[u8]) = ("device-type", b"aircraft");

/// All flights of the year, ready to be produced.
pub struct Flights {
    text: String,
    /// Arrival, and where the line lies in `text`; in arrival order, equal arrivals in file order.
    order: Vec<(i64, u32, u32)>,
}

impl Flights {
    /// Decompresses the data and puts it in arrival order (half a second, 45 MB while it is held).
    pub fn load() -> Result<Self, DataError> {
        let text = flights_csv()?;
        let mut order = Vec::with_capacity(FLIGHT_COUNT);
        let mut start = 0u32;
        for (index, row) in text.split_inclusive('\n').enumerate() {
            let line = row.trim_end_matches('\n');
            if index > 0 {
                let arrival = parse::arrival(line).map_err(|source| DataError::Row {
                    file: "flights.csv",
                    line: index + 1,
                    source,
                })?;
                order.push((arrival, start, line.len() as u32));
            }
            start += row.len() as u32;
        }
        order.sort_by_key(|&(arrival, ..)| arrival);
        Ok(Self { text, order })
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none (there always are some).
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The messages in arrival order.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        self.order.iter().map(|&(arrival, start, len)| {
            let line = self
                .text
                .get(start as usize..(start + len) as usize)
                .unwrap_or_default();
            Message { arrival, line }
        })
    }
}

/// All planes of the registry, in file order.
pub fn planes() -> Result<Vec<Plane>, DataError> {
    let rows = planes_csv()?;
    let rows = rows.lines().enumerate().skip(1);
    rows.map(|(index, line)| {
        parse::plane(line).map_err(|source| DataError::Row {
            file: "planes.csv",
            line: index + 1,
            source,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_is_complete_and_in_arrival_order() {
        let flights = Flights::load().unwrap();
        assert_eq!(flights.len(), FLIGHT_COUNT);
        let messages: Vec<_> = flights.messages().collect();
        assert!(messages.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
        assert_eq!(
            messages.iter().map(|message| message.line.split(',').count()).max(),
            Some(19)
        );
    }

    #[test]
    fn every_plane_is_there() {
        let planes = planes().unwrap();
        assert_eq!(planes.len(), 3_322);
        assert_eq!(planes[0].tail, *"N10156");
        assert_eq!(planes[0].manufacturer.as_deref(), Some("EMBRAER"));
        assert_eq!(planes[0].speed, None);
    }
}
