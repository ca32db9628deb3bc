//! Compares what the fleet job wrote with what it had to write, row by row.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fleet_oracle::{Daily, Dead, Expected, Rolling};

/// A record of an output topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its timestamp.
    pub timestamp: i64,
    /// Its headers, names read as UTF-8.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What a guarantee promises about rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Every row is there once and equal.
    Exact,
    /// No row is missing and no count is too low: records may have been counted again after a crash.
    AtLeastOnce,
}

/// What the job wrote: all records of its last topics.
#[derive(Default)]
pub struct Written {
    /// `fleet.rolling`.
    pub rolling: Vec<Record>,
    /// `fleet.daily`.
    pub daily: Vec<Record>,
    /// `flights.dead`.
    pub dead: Vec<Record>,
    /// `fleet.rolling_1h_grace`.
    pub strict: Vec<Record>,
    /// `fleet.late`.
    pub late: Vec<Record>,
}

/// Compares everything.
///
/// # Panics
/// With the first differences, if there are any.
pub fn check(written: &Written, expected: &Expected, promise: Promise) {
    let mut wrong = compare("fleet.rolling", &written.rolling, rolling_rows(expected), promise);
    wrong.extend(compare("fleet.daily", &written.daily, daily_rows(expected), promise));
    wrong.extend(compare_dead(&written.dead, &expected.dead, promise));
    wrong.extend(compare_late(written, expected, promise));
    let count = wrong.len();
    wrong.truncate(10);
    assert!(
        wrong.is_empty(),
        "{count} rows differ from the batch pass, the first of them:\n{}",
        wrong.join("\n")
    );
}

/// Key text and window start of a row.
type Place = (String, i64);
/// Timestamp and value of a row.
type Content = (i64, Value);

/// As it reads back from a topic: the JSON parser may round the last bit of a number, so both sides go through it.
fn read_back(value: Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or(value)
}

fn rolling_rows(expected: &Expected) -> BTreeMap<Place, Content> {
    let row = |((origin, start), row): (&Place, &Rolling)| {
        let value = json!({
            "origin": origin, "window_start": start, "window_end": row.window_end, "flights": row.flights,
            "cancelled": row.cancelled, "mean_dep_delay": row.mean_dep_delay, "max_dep_delay": row.max_dep_delay,
            "aircraft": row.aircraft,
        });
        ((origin.clone(), *start), (row.timestamp, read_back(value)))
    };
    expected.rolling.iter().map(row).collect()
}

fn daily_rows(expected: &Expected) -> BTreeMap<Place, Content> {
    let row = |((maker, start), row): (&Place, &Daily)| {
        let value = json!({
            "manufacturer": maker, "window_start": start, "window_end": row.window_end, "flights": row.flights,
            "flown": row.flown, "distance": row.distance,
        });
        ((maker.clone(), *start), (row.timestamp, read_back(value)))
    };
    expected.daily.iter().map(row).collect()
}

fn compare(topic: &str, records: &[Record], expected: BTreeMap<Place, Content>, promise: Promise) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found: BTreeMap<Place, Content> = BTreeMap::new();
    for record in records {
        let Some(value) = record
            .value
            .as_deref()
            .and_then(|value| serde_json::from_slice::<Value>(value).ok())
        else {
            wrong.push(format!("{topic}: not JSON: {record:?}"));
            continue;
        };
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        let place = (key, value["window_start"].as_i64().unwrap_or(i64::MIN));
        let before = found.insert(place.clone(), (record.timestamp, value));
        if promise == Promise::Exact && before.is_some() {
            wrong.push(format!("{topic}: {place:?} is there twice"));
        }
    }
    for (place, content) in &expected {
        match found.remove(place) {
            None => wrong.push(format!("{topic}: {place:?} is missing; expected {content:?}")),
            Some(got) if promise == Promise::Exact && got != *content => {
                wrong.push(format!(
                    "{topic}: {place:?}\n  expected {content:?}\n  found    {got:?}"
                ));
            }
            Some((_, got)) if got["flights"].as_u64() < content.1["flights"].as_u64() => {
                wrong.push(format!(
                    "{topic}: {place:?} counts too few\n  expected {content:?}\n  found    {got:?}"
                ));
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        found
            .iter()
            .map(|(place, content)| format!("{topic}: {place:?} should not be there: {content:?}")),
    );
    wrong
}

fn compare_dead(records: &[Record], expected: &BTreeMap<(i32, i64), Dead>, promise: Promise) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found: BTreeMap<(i32, i64), Record> = BTreeMap::new();
    for record in records {
        let header = |name: &str| {
            let value = record
                .headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.as_slice());
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        let number = |name: &str| header(name).parse::<i64>().unwrap_or(-1);
        let told = ["topic", "reason", "node"].map(|name| header(&format!("__streams.errors.{name}")));
        if told != ["flights.raw", "parse", "parse"] || header("device-type") != "aircraft" {
            wrong.push(format!("flights.dead: headers of {record:?}"));
        }
        let place = (
            number("__streams.errors.partition") as i32,
            number("__streams.errors.offset"),
        );
        if found.insert(place, record.clone()).is_some() && promise == Promise::Exact {
            wrong.push(format!("flights.dead: {place:?} is there twice"));
        }
    }
    for (place, dead) in expected {
        let same = |record: &Record| {
            record.key.as_ref() == Some(&dead.key)
                && record.value.as_ref() == Some(&dead.value)
                && record.timestamp == dead.timestamp
        };
        match found.remove(place) {
            None => wrong.push(format!("flights.dead: {place:?} is missing")),
            Some(record) if !same(&record) => {
                wrong.push(format!("flights.dead: {place:?} is not as it came: {record:?}"))
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        found
            .keys()
            .map(|place| format!("flights.dead: {place:?} should not be there")),
    );
    wrong
}

/// Which records are late with one hour of grace depends on the order in which partitions were read. But each event counts
/// for six windows, or is late for those it does not count for.
fn compare_late(written: &Written, expected: &Expected, promise: Promise) -> Option<String> {
    let flights = |record: &Record| {
        let row: Value = serde_json::from_slice(record.value.as_deref().unwrap_or_default()).unwrap_or_default();
        row["flights"].as_u64().unwrap_or(0)
    };
    let counted: u64 = written.strict.iter().map(flights).sum();
    let late = written.late.len() as u64;
    let (found, due) = (counted + late, 6 * expected.events);
    let kept = if promise == Promise::Exact {
        found == due
    } else {
        found >= due
    };
    (!kept)
        .then(|| format!("fleet.rolling_1h_grace counts {counted}, fleet.late has {late}: together {found}, not {due}"))
}
