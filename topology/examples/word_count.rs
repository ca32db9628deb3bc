//! Counts words, on the test driver: no broker, no C library.
//!
//! `cargo run -p millstream-topology --no-default-features --example word_count`

use std::error::Error;

use millstream_state::{
    codec::{I64, Nullable, Utf8},
    text::Str,
};
use millstream_topology::{
    Plan, StreamBuilder, TestDriver, TopologyErrors,
    options::{Consumed, Grouped, Materialized, Produced},
};

/// Lines have no key, so their key type has a null. Words become keys, so equal words must meet: the plan sends them through
/// a repartition topic.
fn word_count() -> Result<Plan, TopologyErrors> {
    let builder = StreamBuilder::new();
    builder
        .stream::<Option<Str>, Str>("lines", Consumed::with(Nullable(Utf8), Utf8))
        .flat_map_values(|_, line| words(&line))
        .group_by(|_, word| word.clone(), Grouped::with(Utf8, Utf8))
        .count(Materialized::with(Utf8, I64).named("counts"))
        .to("word-counts", Produced::with(Utf8, I64));
    builder.build("word-count")
}

fn words(line: &Str) -> Vec<Str> {
    let words = line
        .as_str()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(|word| Str::from(word.to_lowercase().as_str())).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let plan = word_count()?;
    println!("{}", plan.describe());

    let driver = TestDriver::new(&plan)?;
    let lines = driver.input::<Option<Str>, Str>("lines", Nullable(Utf8), Utf8);
    let text = ["The mill grinds", "what the stream brings", "to the mill"];
    for (time, line) in text.iter().enumerate() {
        lines.pipe(&None, &Str::from(*line), time as i64)?;
    }

    println!("every update:");
    for (word, count, _) in driver.output::<Str, i64>("word-counts", Utf8, I64).read_all()? {
        println!("  {word} {count}");
    }
    println!("the store:");
    for (word, count, time) in driver.key_values::<Str, i64>("counts", Utf8, I64)? {
        println!("  {word} {count} (last at {time})");
    }
    Ok(())
}
