//! What the fleet job must write, computed the plain way: all rows in memory, one pass, ordered maps.
//!
//! Nothing here is shared with the engine or with the job: the CSV is read by column name, windows are enumerated one by
//! one, times are worked out from the calendar, and the partitioner is written again from Kafka's definition.

use std::collections::{BTreeMap, BTreeSet};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const PARTITIONS: i32 = 4;

/// A row of `fleet.rolling`, under (origin, window start).
#[derive(Clone, Debug, PartialEq)]
pub struct Rolling {
    /// Record timestamp: the latest flight counted.
    pub timestamp: i64,
    /// End of the window.
    pub window_end: i64,
    /// All flights of the window.
    pub flights: u64,
    /// Those that never left.
    pub cancelled: u64,
    /// Mean over those that left.
    pub mean_dep_delay: Option<f64>,
    /// Maximum over those that left.
    pub max_dep_delay: Option<i64>,
    /// Distinct tail numbers.
    pub aircraft: u64,
}

/// A row of `fleet.daily`, under (manufacturer, window start).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Daily {
    /// Record timestamp: the latest flight counted.
    pub timestamp: i64,
    /// End of the window.
    pub window_end: i64,
    /// All flights of the window.
    pub flights: u64,
    /// Those that left.
    pub flown: u64,
    /// Miles of those that left.
    pub distance: u64,
}

/// A record of `flights.dead`, under its place in `flights.raw` (partition, offset).
#[derive(Clone, Debug, PartialEq)]
pub struct Dead {
    /// Key bytes as produced.
    pub key: Vec<u8>,
    /// Value bytes as produced.
    pub value: Vec<u8>,
    /// Record timestamp as produced.
    pub timestamp: i64,
}

/// All that is expected, and a few figures to judge the data by.
#[derive(Default)]
pub struct Expected {
    /// `fleet.rolling`.
    pub rolling: BTreeMap<(String, i64), Rolling>,
    /// `fleet.daily`.
    pub daily: BTreeMap<(String, i64), Daily>,
    /// `flights.dead`.
    pub dead: BTreeMap<(i32, i64), Dead>,
    /// The same by place in the order of arrival.
    pub dead_in_order: BTreeMap<i64, Dead>,
    /// Messages in each partition of `flights.raw`.
    pub produced: [i64; PARTITIONS as usize],
    /// Flights with a tail number.
    pub events: u64,
    /// Of these, flights whose plane is in the registry.
    pub known_planes: u64,
    /// Largest (arrival - event time) in milliseconds.
    pub out_of_order: i64,
}

impl Expected {
    /// The same for a topic with one partition: dead letters stand where they were in order of arrival.
    pub fn in_one_partition(mut self) -> Self {
        self.dead = self
            .dead_in_order
            .iter()
            .map(|(offset, dead)| ((0, *offset), dead.clone()))
            .collect();
        self
    }
}

struct Flight {
    arrival: i64,
    event_time: i64,
    line: String,
    tail: Option<String>,
    origin: String,
    departed: bool,
    dep_delay: Option<i64>,
    distance: u64,
}

#[derive(Default)]
struct Window {
    flights: u64,
    cancelled: u64,
    delays: Vec<i64>,
    tails: BTreeSet<String>,
    latest: i64,
}

/// Computes everything from the text of `flights.csv` and `planes.csv`.
pub fn expected(flights_csv: &str, planes_csv: &str) -> Expected {
    let makers: BTreeMap<String, Option<String>> = table(planes_csv)
        .map(|row| {
            (
                row["tailnum"].to_string(),
                Some(row["manufacturer"].to_string()).filter(|name| name != "NA"),
            )
        })
        .collect();
    let mut flights: Vec<Flight> = flights_csv.lines().skip(1).zip(table(flights_csv)).map(read).collect();
    flights.sort_by_key(|flight| flight.arrival);

    let mut result = Expected::default();
    let mut rolling: BTreeMap<(String, i64), Window> = BTreeMap::new();
    for (place, flight) in flights.iter().enumerate() {
        let key = flight.arrival.to_be_bytes().to_vec();
        let partition = (murmur2(&key) & 0x7fff_ffff) as i32 % PARTITIONS;
        let offset = result.produced[partition as usize];
        result.produced[partition as usize] += 1;
        result.out_of_order = result.out_of_order.max(flight.arrival - flight.event_time);
        let Some(tail) = &flight.tail else {
            let dead = Dead {
                key,
                value: flight.line.clone().into_bytes(),
                timestamp: flight.arrival,
            };
            result.dead_in_order.insert(place as i64, dead.clone());
            result.dead.insert((partition, offset), dead);
            continue;
        };
        result.events += 1;
        result.known_planes += u64::from(makers.contains_key(tail));
        count_rolling(&mut rolling, flight, tail);
        let maker = makers.get(tail).cloned().flatten().unwrap_or("unknown".to_string());
        count_daily(&mut result.daily, flight, maker);
    }
    result.rolling = rolling
        .into_iter()
        .map(|(key, window)| (key.clone(), close(key.1, window)))
        .collect();
    result
}

fn count_rolling(rolling: &mut BTreeMap<(String, i64), Window>, flight: &Flight, tail: &str) {
    let last = flight.event_time - flight.event_time.rem_euclid(HOUR);
    for start in (0..6).map(|back| last - back * HOUR).filter(|&start| start >= 0) {
        let window = rolling.entry((flight.origin.clone(), start)).or_default();
        window.flights += 1;
        window.cancelled += u64::from(!flight.departed);
        window.delays.extend(flight.dep_delay);
        window.tails.insert(tail.to_string());
        window.latest = window.latest.max(flight.event_time);
    }
}

fn count_daily(daily: &mut BTreeMap<(String, i64), Daily>, flight: &Flight, maker: String) {
    let start = flight.event_time - flight.event_time.rem_euclid(24 * HOUR);
    let row = daily.entry((maker, start)).or_default();
    row.window_end = start + 24 * HOUR;
    row.timestamp = row.timestamp.max(flight.event_time);
    row.flights += 1;
    if flight.departed {
        row.flown += 1;
        row.distance += flight.distance;
    }
}

fn close(start: i64, window: Window) -> Rolling {
    let departed = window.delays.len();
    Rolling {
        timestamp: window.latest,
        window_end: start + 6 * HOUR,
        flights: window.flights,
        cancelled: window.cancelled,
        mean_dep_delay: (departed > 0).then(|| window.delays.iter().sum::<i64>() as f64 / departed as f64),
        max_dep_delay: window.delays.iter().copied().max(),
        aircraft: window.tails.len() as u64,
    }
}

fn table(csv: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().expect("a header line").split(',').collect();
    lines.map(move |line| names.iter().copied().zip(line.split(',')).collect())
}

fn read((line, row): (&str, BTreeMap<&str, &str>)) -> Flight {
    let number = |name: &str| row[name].parse::<i64>().ok();
    let event_time = epoch_ms(row["time_hour"]) + row["minute"].parse::<i64>().expect("a minute") * MINUTE;
    let departed = row["dep_time"] != "NA";
    Flight {
        arrival: if departed {
            event_time + number("dep_delay").expect("a delay") * MINUTE
        } else {
            event_time
        },
        event_time,
        line: line.to_string(),
        tail: Some(row["tailnum"].to_string()).filter(|tail| tail != "NA"),
        origin: row["origin"].to_string(),
        departed,
        dep_delay: number("dep_delay"),
        distance: row["distance"].parse().expect("a distance"),
    }
}

/// `2013-01-01T10:00:00Z` to epoch milliseconds, by counting the days of the years and months before.
fn epoch_ms(text: &str) -> i64 {
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().expect("a number in a time");
    let (year, month) = (part(0, 4), part(5, 7));
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut days: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months = [
        31,
        if leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    days += months.iter().take(month as usize - 1).sum::<i64>() + part(8, 10) - 1;
    days * 24 * HOUR + part(11, 13) * HOUR + part(14, 16) * MINUTE + part(17, 19) * 1000
}

/// Kafka's murmur2 (seed 0x9747b28c).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_data_set() {
        let flights = millstream_flights::data::flights_csv().unwrap();
        let planes = millstream_flights::data::planes_csv().unwrap();
        let expected = expected(&flights, &planes);
        println!(
            "rolling {}, daily {}, dead {}, events {}, known planes {}, out of order {:.2} h, produced {:?}",
            expected.rolling.len(),
            expected.daily.len(),
            expected.dead.len(),
            expected.events,
            expected.known_planes,
            expected.out_of_order as f64 / HOUR as f64,
            expected.produced,
        );
        assert_eq!(expected.produced.iter().sum::<i64>(), 336_776);
        assert_eq!((expected.dead.len(), expected.events), (2_512, 334_264));
        assert_eq!(expected.out_of_order, 1301 * MINUTE, "the flight that left 21.7 h late");
    }

    #[test]
    fn times_and_partitions_are_kafkas() {
        assert_eq!(epoch_ms("2013-01-01T10:00:00Z"), 1_357_034_400_000);
        assert_eq!(epoch_ms("2000-03-01T00:00:00Z"), 951_868_800_000);
        // From Kafka's own UtilsTest.
        assert_eq!(murmur2(b"21") as i32, -973_932_308);
        assert_eq!(murmur2(b"foobar") as i32, -790_332_482);
        assert_eq!(murmur2(b"abc") as i32, 479_470_107);
    }
}
