//! Any cut into batches equals record by record: what a batch is must not be seen from outside.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise

use millstream_state::codec::{I64, Nullable};
use millstream_topology::{
    Plan, StreamBuilder, TestDriver,
    driver::Options,
    options::{Consumed, Produced, Repartitioned},
    policy::{Doors, Policy},
    task::TaskConfig,
};
use proptest::prelude::*;

/// Two sources that meet, a diamond, fan-out, a split, refusals and a repartitioning (whose far side meets nobody: how the
/// rows of two sub-topologies interleave is not a matter of batches but of when each runs).
fn plan() -> Plan {
    let builder = StreamBuilder::new();
    let consumed = || Consumed::with(I64, I64);
    let produced = || Produced::with(I64, I64);
    let a = builder.stream::<i64, i64>("a", consumed());
    let b = builder.stream::<i64, i64>("b", consumed());
    let both = a.map_values(|k, v| k + v).merge(&b.filter(|_, v| v % 7 != 0));
    let diamond = both
        .filter(|_, v| v % 2 == 0)
        .merge(&both.flat_map_values(|_, v| [v, v + 1]));
    diamond.to("diamond", produced());
    let branches = diamond
        .merge(&a)
        .split()
        .branch(|_, v| v % 3 == 0)
        .branch(|k, _| k % 2 == 0)
        .default_branch();
    for (i, branch) in branches.iter().enumerate() {
        branch.to(&format!("branch-{i}"), produced());
    }
    branches[0]
        .try_map_values(Policy::DeadLetterTo("refused".into()), |_, v| {
            if v % 5 == 0 { Err("fifth") } else { Ok(v) }
        })
        .select_key(|k, v| k * 31 + v)
        .repartition(Repartitioned::with(I64, I64).named("again"))
        .to_by(|k, _| format!("by-{}", k % 2), produced());
    builder.build("law").unwrap()
}

type Input = (bool, Option<i64>, i64, i64);
/// A topic and its records.
type Topic = (String, Vec<(Option<i64>, Option<i64>, i64)>);

/// Everything every topic holds, byte for byte.
fn run(plan: &Plan, inputs: &[Input], batch: usize) -> Vec<Topic> {
    let doors = Doors {
        read: Policy::DeadLetterTo("bad".into()),
        ..Doors::default()
    };
    let config = TaskConfig {
        doors,
        ..TaskConfig::default()
    };
    let driver = TestDriver::with(
        plan,
        Options {
            batch,
            config,
            ..Options::default()
        },
    )
    .unwrap();
    let (a, b) = (
        driver.input("a", Nullable(I64), Nullable(I64)),
        driver.input("b", Nullable(I64), Nullable(I64)),
    );
    for (to_a, key, value, timestamp) in inputs {
        let input = if *to_a { &a } else { &b };
        input.pipe(key, &Some(*value), *timestamp).unwrap();
    }
    driver.commit().unwrap();
    let mut topics: Vec<_> = driver
        .topics()
        .into_iter()
        .filter(|t| t != "a" && t != "b")
        .map(|t| {
            (
                t.clone(),
                driver.output(&t, Nullable(I64), Nullable(I64)).read_all().unwrap(),
            )
        })
        .collect();
    topics.sort();
    // Two sources write dead letters there, and only what one node writes has an order.
    topics
        .iter_mut()
        .filter(|(topic, _)| topic == "bad")
        .for_each(|(_, records)| records.sort());
    topics
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_cut_into_batches_equals_record_by_record(
        mut inputs in proptest::collection::vec((any::<bool>(), proptest::option::weighted(0.9, 0i64..9), 0i64..100, 0i64..1000), 0..60),
        batch in 2usize..70,
    ) {
        // The driver takes what it is given at once; across partitions order is by event time, so event time must ascend.
        inputs.sort_by_key(|i| (i.3, !i.0));
        let plan = plan();
        prop_assert_eq!(run(&plan, &inputs, batch), run(&plan, &inputs, 1));
    }
}
