//! What the job has found, for people: read back from its output topics, as any other reader would.

use std::collections::BTreeMap;
use std::io::Write;

use chrono::DateTime;
use millstream_flights::aggregates::{DailyRow, RollingRow};
use millstream_flights::topology::{DAILY, DEAD, ENRICHED, EVENTS, LATE, RAW, ROLLING, ROLLING_1H};
use millstream_processor::broker::{Broker, TopicPartition};
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::place::Place;
use crate::reader::Reader;

/// Rows of each table.
const TOP: usize = 5;
/// A window in which fewer flights left says nothing about an airport.
const MANY: u64 = 30;

/// Prints the summary.
pub fn print(broker: &dyn Broker, place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    worst_windows(broker, out)?;
    busiest_manufacturers(broker, out)?;
    counts(broker, out)?;
    where_to_look(broker, place, out)
}

fn worst_windows(broker: &dyn Broker, out: &mut dyn Write) -> Result<(), Failure> {
    let mut rows: Vec<RollingRow> = Vec::new();
    each(broker, ROLLING, |row: RollingRow| {
        if row.flights - row.cancelled >= MANY {
            rows.push(row);
        }
    })?;
    let mean = |row: &RollingRow| row.mean_dep_delay.unwrap_or(f64::MIN);
    rows.sort_by(|a, b| {
        mean(b)
            .total_cmp(&mean(a))
            .then_with(|| a.window_start.cmp(&b.window_start))
    });
    writeln!(
        out,
        "\nWorst six hours by mean departure delay, one window per airport and day ({ROLLING})"
    )?;
    writeln!(
        out,
        "  origin  from (UTC)        flights  cancelled  mean delay  longest  aircraft"
    )?;
    let mut seen = Vec::new();
    for row in &rows {
        // Windows overlap: the neighbours of the worst would fill the table.
        let day = (row.origin.clone(), row.window_start.div_euclid(86_400_000));
        if seen.contains(&day) {
            continue;
        }
        seen.push(day);
        let (from, mean, max) = (
            minute(row.window_start),
            mean(row),
            row.max_dep_delay.unwrap_or_default(),
        );
        let RollingRow {
            origin,
            flights,
            cancelled,
            aircraft,
            ..
        } = row;
        writeln!(
            out,
            "  {origin:6}  {from}  {flights:7}  {cancelled:9}  {mean:6.0} min  {max:3} min  {aircraft:8}"
        )?;
        if seen.len() == TOP {
            break;
        }
    }
    Ok(())
}

fn busiest_manufacturers(broker: &dyn Broker, out: &mut dyn Write) -> Result<(), Failure> {
    let mut all: BTreeMap<String, DailyRow> = BTreeMap::new();
    each(broker, DAILY, |row: DailyRow| match all.get_mut(&*row.manufacturer) {
        Some(sum) => {
            sum.flights += row.flights;
            sum.flown += row.flown;
            sum.distance += row.distance;
        }
        None => {
            all.insert(row.manufacturer.to_string(), row);
        }
    })?;
    let mut rows: Vec<DailyRow> = all.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.flights));
    writeln!(out, "\nBusiest manufacturers, the days of {DAILY} added up")?;
    writeln!(out, "  manufacturer             flights    flown        miles")?;
    for DailyRow {
        manufacturer,
        flights,
        flown,
        distance,
        ..
    } in rows.iter().take(TOP)
    {
        writeln!(out, "  {manufacturer:22}  {flights:8} {flown:8}  {distance:11}")?;
    }
    Ok(())
}

fn counts(broker: &dyn Broker, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "\nRecords")?;
    let what = [
        (RAW, "messages as they came in"),
        (EVENTS, "parsed"),
        (DEAD, "could not be parsed; headers tell why and from where"),
        (ENRICHED, "events with what is known of the aircraft"),
        (ROLLING, "6 h windows every hour by airport, final, grace 24 h"),
        (DAILY, "24 h windows by manufacturer, final, grace 24 h"),
        (ROLLING_1H, "as fleet.rolling, grace 1 h"),
        (LATE, "too late for a window of the former, once for each window missed"),
    ];
    for (topic, text) in what {
        writeln!(out, "  {topic:23} {:8}  {text}", records(broker, topic)?)?;
    }
    Ok(())
}

fn where_to_look(broker: &dyn Broker, place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "\nThe topics are in the {}. To look further:", broker.describe())?;
    writeln!(out, "  millstream topics{place}")?;
    writeln!(out, "  millstream cat {ROLLING}{place} --limit 3")?;
    writeln!(out, "  millstream cat {DEAD}{place} --limit 3")?;
    writeln!(out, "  millstream describe")?;
    Ok(out.flush()?)
}

/// How many records a topic has.
pub fn records(broker: &dyn Broker, topic: &str) -> Result<i64, Failure> {
    let Some(info) = broker.admin().describe(topic)? else {
        return Ok(0);
    };
    let partitions: Vec<_> = (0..info.partitions).map(|p| TopicPartition::new(topic, p)).collect();
    let starts = broker.admin().start_offsets(&partitions)?;
    let ends = broker.admin().end_offsets(&partitions)?;
    Ok(ends.iter().zip(&starts).map(|(end, start)| end - start).sum())
}

fn each<T: DeserializeOwned>(broker: &dyn Broker, topic: &str, mut take: impl FnMut(T)) -> Result<(), Failure> {
    let mut reader = Reader::open(broker, topic)?;
    while !reader.at_end() {
        for chunk in reader.poll()? {
            for record in chunk.records() {
                let value = chunk.value(record).unwrap_or_default();
                take(serde_json::from_slice(value).map_err(|error| {
                    let (partition, offset) = (chunk.partition(), record.offset);
                    Failure::damaged(format!(
                        "record {offset} of {topic}-{partition} is not a row of this job: {error}"
                    ))
                })?);
            }
        }
    }
    Ok(())
}

/// `2013-03-08 14:00`.
pub fn minute(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map_or_else(|| ms.to_string(), |time| time.format("%Y-%m-%d %H:%M").to_string())
}
