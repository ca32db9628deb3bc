//! The stateless operators against what Kafka Streams does (`vectors/stateless.json`).
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise

use std::error::Error;

use millstream_state::codec::{Json, Nullable};
use millstream_topology::{
    Plan, Stream, StreamBuilder, TestDriver,
    options::{Consumed, Produced, Repartitioned},
};
use serde_json::{Value, json};

type Any = Option<Value>;
type Steps = Vec<(Any, Any, i64)>;
/// A scenario's topology and the names of its outputs.
type Ready = (Plan, Vec<String>);

fn codec() -> Nullable<Json<Value>> {
    Nullable(Json::new())
}

fn int(value: &Any) -> i64 {
    value.as_ref().and_then(Value::as_i64).unwrap_or_default()
}

fn text(value: &Any) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "null".to_owned(),
    }
}

fn some(value: impl Into<Value>) -> Any {
    Some(value.into())
}

/// The operator of a scenario: each output stream with its name.
fn outputs(name: &str, operator: &Value, stream: Stream<Any, Any>) -> Option<Vec<(String, Stream<Any, Any>)>> {
    let one = |stream| Some(vec![("out".to_owned(), stream)]);
    match name {
        "flat-map" => one(stream.flat_map(|k, v| {
            let n = int(&k);
            (0..n)
                .map(move |i| (some((n * 10 + i).to_string()), v.clone()))
                .collect::<Vec<_>>()
        })),
        "flat-map-values" => one(stream.flat_map_values(|_, v| ["v", "V"].map(|c| some(format!("{c}{}", text(&v)))))),
        "flat-map-values-with-key" => {
            one(stream.flat_map_values(|k, v| [some(format!("v{}", text(&v))), some(format!("k{}", text(k)))]))
        }
        "map-values-length" => one(stream.map_values(|_, v| some(text(&v).len()))),
        "map-values-with-key" => one(stream.map_values(|k, v| some(text(&v).len() as i64 + int(k)))),
        "select-key" => {
            let mapper = operator["mapper"].clone();
            one(stream.select_key(move |_, v| mapper.get(text(v)).cloned()))
        }
        "filter-not" => one(stream.filter_not(|k, _| int(k) % 3 == 0)),
        "split-no-default" => {
            let branches = [2, 3, 5].into_iter().fold(stream.split(), |split, n| {
                split.branch_named(&format!("x{n}"), move |k, _| int(k) % n == 0)
            });
            let names = ["x2", "x3", "x5"].map(str::to_owned);
            Some(names.into_iter().zip(branches.no_default_branch()).collect())
        }
        // The partitioner itself is out of the test driver's reach: it has one partition.
        "repartition-custom-partitioner" => one(stream.repartition(Repartitioned::with(codec(), codec()).named("hop"))),
        _ => None,
    }
}

fn plan(name: &str, scenario: &Value) -> Result<Option<Ready>, Box<dyn Error>> {
    let builder = StreamBuilder::new();
    let stream = builder.stream::<Any, Any>("in", Consumed::with(codec(), codec()));
    let Some(outputs) = outputs(name, &scenario["operator"], stream) else {
        return Ok(None);
    };
    let names = outputs.iter().map(|(name, _)| name.clone()).collect();
    for (name, stream) in outputs {
        stream.to(&name, Produced::with(codec(), codec()));
    }
    Ok(Some((builder.build("vectors")?, names)))
}

fn steps(scenario: &Value) -> Steps {
    let step = |s: &Value| match &s["in_batch"] {
        Value::Array(batch) => batch.clone(),
        _ => vec![s["in"].clone()],
    };
    let nullable = |v: &Value| (!v.is_null()).then(|| v.clone());
    let steps = scenario["steps"].as_array().into_iter().flatten().flat_map(step);
    steps
        .map(|r| {
            (
                nullable(&r["key"]),
                nullable(&r["value"]),
                r["ts"].as_i64().unwrap_or_default(),
            )
        })
        .collect()
}

/// The expected rows with and without their timestamps, as they are given.
fn check(name: &str, output: &str, expected: &Value, got: &[(Any, Any, i64)]) {
    let Value::Array(rows) = expected else {
        panic!("{name}: {output}: no rows expected?")
    };
    let got: Vec<Value> = rows
        .iter()
        .map(|e| e.get("ts").is_some())
        .chain(std::iter::repeat(true))
        .zip(got)
        .map(|(with_ts, (k, v, ts))| match with_ts {
            true => json!({"key": k, "value": v, "ts": ts}),
            false => json!({"key": k, "value": v}),
        })
        .collect();
    assert_eq!(&got, rows, "{name}: {output}");
}

#[test]
fn as_kafka_streams_does() -> Result<(), Box<dyn Error>> {
    let file: Value = serde_json::from_str(include_str!("vectors/stateless.json"))?;
    let scenarios = file["scenarios"].as_array().ok_or("no scenarios")?;
    for scenario in scenarios {
        let name = scenario["name"].as_str().ok_or("no name")?;
        let (plan, names) = plan(name, scenario)?.ok_or(format!("nobody knows scenario {name}"))?;
        let driver = TestDriver::new(&plan)?;
        let input = driver.input("in", codec(), codec());
        for (key, value, timestamp) in steps(scenario) {
            input.pipe(&key, &value, timestamp)?;
        }
        for output in names {
            let got = driver.output::<Any, Any>(&output, codec(), codec()).read_all()?;
            if let Some(count) = scenario["final_out_count"].as_u64() {
                assert_eq!(got.len() as u64, count, "{name}");
                continue;
            }
            let expected = match &scenario["final_outs"] {
                Value::Null if scenario["final_out"].is_null() => &scenario["steps"][0]["out"],
                Value::Null => &scenario["final_out"],
                outs => &outs[&output],
            };
            check(name, &output, expected, &got);
        }
    }
    Ok(())
}
