//! Each workload, on a few thousand records, against a pass over them that knows nothing of the engine.

#![allow(clippy::expect_used)] // a test may stop at the first surprise

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millstream_benches::replay::Result;
use millstream_benches::workloads::{Topics, Workload, data};
use millstream_state::codec::BytesCodec;
use millstream_topology::driver::{Options, TestDriver};
use millstream_topology::record::Chunk;

const RECORDS: usize = 20_000;
const TOPICS: Topics<'_> = Topics {
    input: "in",
    table: "table",
    output: "out",
};

type Chunks = Vec<Arc<Chunk>>;
/// The last value of each key.
type Latest = BTreeMap<Vec<u8>, Vec<u8>>;

/// All records: key, value, timestamp.
fn records(chunks: &Chunks) -> impl Iterator<Item = (&[u8], &[u8], i64)> + Clone {
    chunks.iter().flat_map(|chunk| {
        let read = |part: Option<_>| part.expect("neither key nor value is null");
        chunk
            .records()
            .iter()
            .map(move |r| (read(chunk.key(r)), read(chunk.value(r)), r.timestamp))
    })
}

/// What the workload writes, in order. It commits (and so emits) each 1,000 records.
fn run<'a>(name: &str, input: impl IntoIterator<Item = (&'a [u8], &'a [u8], i64)>) -> Result<Vec<(Bytes, Bytes, i64)>> {
    let workload = Workload::find(name).ok_or("no such workload")?;
    let options = Options {
        batch: 100,
        commit_every: 1_000,
        ..Options::default()
    };
    let driver = TestDriver::with(&workload.plan("test", &TOPICS)?, options)?;
    if workload.inputs == 2 {
        let table = driver.raw_input(TOPICS.table);
        let campaigns = data::campaigns(TOPICS.table);
        records(&campaigns).try_for_each(|(key, value, _)| table.pipe(Some(key), Some(value), 0))?;
        driver.commit()?;
    }
    let topic = driver.raw_input(TOPICS.input);
    let mut input = input.into_iter();
    input.try_for_each(|(key, value, timestamp)| topic.pipe(Some(key), Some(value), timestamp))?;
    driver.commit()?;
    assert_eq!(driver.dropped(), 0);
    Ok(driver.output(TOPICS.output, BytesCodec, BytesCodec).read_all()?)
}

fn latest(output: Vec<(Bytes, Bytes, i64)>) -> Latest {
    output
        .into_iter()
        .map(|(key, value, _)| (key.to_vec(), value.to_vec()))
        .collect()
}

/// Adds up what `rows` maps each key to, and writes it as 8 bytes.
fn counted(rows: impl Iterator<Item = Vec<u8>>) -> Latest {
    let mut counts = BTreeMap::<_, i64>::new();
    rows.for_each(|key| *counts.entry(key).or_default() += 1);
    counts
        .into_iter()
        .map(|(key, count)| (key, count.to_be_bytes().to_vec()))
        .collect()
}

/// The key of a window that starts then.
fn windowed(key: &[u8], start: i64) -> Vec<u8> {
    [key, &start.to_be_bytes()].concat()
}

/// Starts of all windows of `size` ms, one each `advance` ms, that hold `timestamp`.
fn starts(timestamp: i64, size: i64, advance: i64) -> impl Iterator<Item = i64> {
    (timestamp - size + 1..=timestamp).filter(move |start| start % advance == 0)
}

#[test]
fn what_is_passed_through_is_the_input() -> Result<()> {
    let input = data::uniform(TOPICS.input, RECORDS, data::KEYS);
    for name in ["W1", "S1"] {
        let output = run(name, records(&input))?;
        let same = output
            .iter()
            .map(|(key, value, at)| (&key[..], &value[..], *at))
            .eq(records(&input));
        assert!(same, "{name}");
    }
    Ok(())
}

#[test]
fn bids_are_filtered_by_price_and_cut_to_four_fields() -> Result<()> {
    let input = data::large_bids(TOPICS.input, RECORDS);
    let mut expected = Vec::new();
    for (key, value, timestamp) in records(&input) {
        assert_eq!(value.len(), 300);
        let bid: serde_json::Value = serde_json::from_slice(value)?;
        if bid["price"].as_i64() >= Some(1_000_000) {
            let text = format!(
                r#"{{"auction":{},"bidder":{},"price":{},"dateTime":{}}}"#,
                bid["auction"], bid["bidder"], bid["price"], bid["dateTime"]
            );
            expected.push((Bytes::copy_from_slice(key), Bytes::from(text), timestamp));
        }
    }
    assert!((RECORDS / 4..RECORDS / 2).contains(&expected.len()), "a third passes");
    assert_eq!(run("W2", records(&input))?, expected);
    assert_eq!(run("L1", records(&input))?, expected);
    Ok(())
}

#[test]
fn records_are_counted_by_key() -> Result<()> {
    for (name, keys) in [("W3", 500), ("W3b", 4_000_000)] {
        let input = data::uniform(TOPICS.input, RECORDS, keys);
        let expected = counted(records(&input).map(|(key, _, _)| key.to_vec()));
        assert_eq!(latest(run(name, records(&input))?), expected, "{name}");
    }
    Ok(())
}

#[test]
fn readings_have_statistics_of_each_minute() -> Result<()> {
    let chunks = data::readings(TOPICS.input, RECORDS, 500);
    // A hundred times slower: three minutes.
    let start = millstream_benches::data::START;
    let input = records(&chunks).map(|(key, value, at)| (key, value, start + (at - start) * 100));
    let mut minutes = BTreeMap::<Vec<u8>, Vec<f64>>::new();
    for (key, value, timestamp) in input.clone() {
        let number = f64::from_be_bytes(value[8..].try_into()?);
        let start = timestamp / 60_000 * 60_000;
        minutes.entry(windowed(key, start)).or_default().push(number);
    }
    let of_minute = |values: &Vec<f64>| {
        let (count, sum) = (values.len() as i64, values.iter().sum::<f64>());
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        [
            count.to_be_bytes(),
            sum.to_be_bytes(),
            sorted[0].to_be_bytes(),
            sorted[sorted.len() - 1].to_be_bytes(),
        ]
        .concat()
    };
    let expected: Latest = minutes
        .iter()
        .map(|(key, values)| (key.clone(), of_minute(values)))
        .collect();
    assert!(expected.len() > 1_000, "{} minutes", expected.len());
    assert_eq!(latest(run("W4", input)?), expected);
    Ok(())
}

#[test]
fn records_are_counted_in_each_window_they_lie_in() -> Result<()> {
    let (uniform, skewed) = (
        data::uniform(TOPICS.input, RECORDS, 300),
        data::auctions(TOPICS.input, RECORDS),
    );
    for (name, input, size, advance) in [
        ("W5a", &skewed, 10_000, 2_000),
        ("W5b", &skewed, 60_000, 1_000),
        ("W5i", &uniform, 10_000, 2_000),
    ] {
        let windows =
            |(key, _, at): (&[u8], _, i64)| starts(at, size, advance).map(|s| windowed(key, s)).collect::<Vec<_>>();
        let expected = counted(records(input).flat_map(windows));
        assert_eq!(latest(run(name, records(input))?), expected, "{name}");
    }
    Ok(())
}

#[test]
fn views_are_joined_with_campaigns_and_counted() -> Result<()> {
    // Some keys have no campaign: their views are left out.
    let input = data::uniform(TOPICS.input, RECORDS, data::KEYS + 1_000);
    let joined: Vec<(i32, i64)> = records(&input)
        .map(|(key, _, at)| Ok((i32::from_be_bytes(key.try_into()?), at / 10_000 * 10_000)))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter(|(ad, _)| (*ad as u64) < data::KEYS)
        .collect();
    assert!(joined.len() < RECORDS);
    let by_ad = counted(joined.iter().map(|(ad, start)| windowed(&ad.to_be_bytes(), *start)));
    assert_eq!(latest(run("W8", records(&input))?), by_ad);
    let campaign = |ad: i32| (ad % data::CAMPAIGNS as i32).to_be_bytes();
    let by_campaign = counted(joined.iter().map(|(ad, start)| windowed(&campaign(*ad), *start)));
    assert_eq!(latest(run("W8r", records(&input))?), by_campaign);
    Ok(())
}

#[test]
fn the_latest_value_of_each_key_is_kept() -> Result<()> {
    let input = data::uniform(TOPICS.input, RECORDS, 500);
    let expected: Latest = records(&input)
        .map(|(key, value, _)| (key.to_vec(), value.to_vec()))
        .collect();
    assert_eq!(latest(run("R1", records(&input))?), expected);
    Ok(())
}

#[test]
fn every_workload_has_a_name_of_its_own_and_says_what_it_reads() -> Result<()> {
    let names: BTreeSet<_> = millstream_benches::workloads::WORKLOADS
        .iter()
        .map(|w| w.name)
        .collect();
    assert_eq!(names.len(), millstream_benches::workloads::WORKLOADS.len());
    for workload in millstream_benches::workloads::WORKLOADS {
        let text = workload.plan("test", &TOPICS)?.describe();
        assert_eq!(
            text.contains("topics: [table]"),
            workload.inputs == 2,
            "{}: {text}",
            workload.name
        );
    }
    Ok(())
}
