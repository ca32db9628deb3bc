//! Plans as text, byte for byte as Kafka Streams prints them. `UPDATE_GOLDEN=1` writes the files anew.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise

use std::path::Path;

use millstream_state::{
    codec::{I64, Utf8},
    text::Str,
};
use millstream_topology::{
    StreamBuilder,
    operators::parse::Parsed,
    options::{Consumed, Grouped, Joined, Materialized, Produced, Repartitioned},
};

/// Compares with `tests/golden/<name>.txt`.
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        golden,
        "{} differs; UPDATE_GOLDEN=1 writes it anew",
        path.display()
    );
}

fn strings(builder: &StreamBuilder, topic: &str) -> millstream_topology::Stream<Str, Str> {
    builder.stream(topic, Consumed::with(Utf8, Utf8))
}

#[test]
fn a_pipe() {
    let builder = StreamBuilder::new();
    strings(&builder, "streams-plaintext-input").to("streams-pipe-output", Produced::with(Utf8, Utf8));
    check("pipe", &builder.build("app").unwrap().describe());
}

#[test]
fn branches_merges_and_names() {
    let builder = StreamBuilder::new();
    let orders = strings(&builder, "orders");
    let branches = orders
        .named("by-size-")
        .split()
        .branch_named("big", |_, v| v.len() > 10)
        .branch(|_, v| v.len() > 5)
        .default_branch();
    branches[0]
        .merge(&branches[2])
        .named("note")
        .peek(|_, _| ())
        .to("ends", Produced::with(Utf8, Utf8));
    branches[1].to_by(|k, _| k.to_string(), Produced::with(Utf8, Utf8).named("by-key"));
    check("branches", &builder.build("app").unwrap().describe());
}

#[test]
fn repartitioning_cuts_the_topology() {
    let builder = StreamBuilder::new();
    let changed = strings(&builder, "in")
        .flat_map_values(|_, v| [v])
        .select_key(|_, v| v.clone());
    changed
        .repartition(Repartitioned::with(Utf8, Utf8))
        .to("generated", Produced::with(Utf8, Utf8));
    changed
        .repartition(Repartitioned::with(Utf8, Utf8).named("hop"))
        .to("named", Produced::with(Utf8, Utf8));
    let plan = builder.build("app").unwrap();
    check("repartition", &plan.describe());
    let topics: Vec<&str> = plan
        .subtopologies()
        .iter()
        .flat_map(|s| &s.sources)
        .map(|s| s.topic.as_str())
        .collect();
    assert_eq!(
        topics,
        [
            "in",
            "app-KSTREAM-REPARTITION-0000000003-repartition",
            "app-hop-repartition"
        ]
    );
}

#[test]
fn raw_topics_and_parsers() {
    let builder = StreamBuilder::new();
    builder
        .raw_stream("raw", "raw-in")
        .parse(Parsed::named("parse").dead_letters_to("dead"), |m, emit| {
            emit.event(Str::from(m.topic()), m.offset(), m.timestamp());
            Ok(())
        })
        .to("events", Produced::with(Utf8, I64));
    let plan = builder.build("app").unwrap();
    check("parse", &plan.describe());
    let sinks: Vec<&str> = plan.subtopologies()[0].sinks.iter().map(|s| s.topic.as_str()).collect();
    assert_eq!(sinks, ["dead", "events"]);
}

#[test]
fn word_count_as_kafka_prints_it() {
    let builder = StreamBuilder::new();
    strings(&builder, "streams-plaintext-input")
        .flat_map_values(|_, line| [line])
        .group_by(|_, word| word.clone(), Grouped::with(Utf8, Utf8))
        .count(Materialized::with(Utf8, I64).named("counts-store"))
        .to("streams-wordcount-output", Produced::with(Utf8, I64));
    check("word_count", &builder.build("app").unwrap().describe());
}

#[test]
fn a_join_reads_the_table_and_the_repartitioned_stream() {
    let builder = StreamBuilder::new();
    let planes = builder.table::<Str, Str>("planes", Consumed::with(Utf8, Utf8), Materialized::with(Utf8, Utf8));
    let joined = strings(&builder, "flights").select_key(|_, v| v.clone());
    joined
        .left_join(&planes, Joined::with(Utf8, Utf8), |_, flight, _| flight)
        .to("enriched", Produced::with(Utf8, Utf8));
    let plan = builder.build("app").unwrap();
    check("join", &plan.describe());
    let counts = |planes: i32| {
        let partitions = plan.partitions(move |t| Some(if t == "planes" { planes } else { 3 }));
        partitions.map(|p| p.into_iter().map(|(t, n)| format!("{t} {n}")).collect::<Vec<_>>())
    };
    assert_eq!(
        counts(5).unwrap(),
        [
            "app-KSTREAM-KEY-SELECT-0000000004-repartition 5",
            "flights 3",
            "planes 5"
        ]
    );
    let missing = plan.partitions(|_| None).unwrap_err().to_string();
    assert!(
        missing.contains("flights: the topology reads this topic, but it does not exist"),
        "{missing}"
    );
}

#[test]
fn what_is_joined_must_have_the_same_number_of_partitions() {
    let builder = StreamBuilder::new();
    let planes = builder.table::<Str, Str>("planes", Consumed::with(Utf8, Utf8), Materialized::with(Utf8, Utf8));
    strings(&builder, "flights")
        .join(&planes, Joined::with(Utf8, Utf8), |_, flight, _| flight)
        .to("enriched", Produced::with(Utf8, Utf8));
    let plan = builder.build("app").unwrap();
    let error = plan
        .partitions(|t| Some(if t == "planes" { 2 } else { 3 }))
        .unwrap_err()
        .to_string();
    assert!(error.contains("flights has 3, planes has 2"), "{error}");
    assert!(plan.partitions(|_| Some(3)).is_ok());
}
