//! All problems of a topology are reported at once, each with where it is and what to do.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at the first surprise

use millstream_state::{
    codec::{I64, Utf8},
    spec::{StoreKind, StoreSpec},
    text::Str,
};
use millstream_topology::{
    Batch, Ctx, Edge, Node, Stream, StreamBuilder,
    error::Result,
    graph::NodeSpec,
    operators::parse::Parsed,
    options::{Consumed, Produced, Repartitioned},
    wiring::Inbox,
};

fn numbers(builder: &StreamBuilder, topic: &str) -> Stream<Str, i64> {
    builder.stream(topic, Consumed::with(Utf8, I64))
}

struct Reader(Inbox<Batch<Str, i64>>);

impl Node for Reader {
    fn run(&mut self, _: &mut Ctx<'_>) -> Result<()> {
        while self.0.take().is_some() {}
        Ok(())
    }
}

#[test]
fn everything_at_once() {
    let builder = StreamBuilder::new();
    let a = numbers(&builder, "a");
    builder
        .stream::<Str, Str>("a", Consumed::with(Utf8, Utf8))
        .named("same")
        .filter(|_, _| true);
    a.named("same").filter(|_, _| true);
    a.to("no spaces", Produced::with(Utf8, I64));
    a.repartition(Repartitioned::with(Utf8, I64).named("hop"));
    a.named("twice")
        .repartition(Repartitioned::with(Utf8, I64).named("hop").partitions(0));
    a.to("app-hop-repartition", Produced::with(Utf8, I64));
    builder
        .raw_stream("raw", "raw")
        .parse::<Str, i64>(Parsed::named("parse").dead_letters_to("raw"), |_, _| Ok(()));
    let store = || StoreSpec {
        name: "counts".to_owned(),
        kind: StoreKind::KeyValue,
        logged: true,
        retention_ms: None,
    };
    builder.add_store(store());
    builder.add_store(store());
    let input = a.edge();
    let spec = NodeSpec::new("reader", [input.id()]).with_store("count");
    builder.add_node(spec, move |w, _: Edge<()>| Ok(Reader(w.input(input))));
    let errors = builder.build("app").err().map(|e| e.to_string()).unwrap_or_default();
    let golden = include_str!("golden/problems.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/problems.txt"),
            &errors,
        )
        .unwrap();
    }
    assert_eq!(errors, golden.trim_end());
}

#[test]
fn an_empty_topology_and_a_bad_application_id() {
    let errors = StreamBuilder::new()
        .build("my app")
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    let expected = "the topology has 2 problems:\n  \
        application.id: \"my app\" cannot be part of a topic name\n    \
        fix: use 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'\n  \
        topology: it reads no topic\n    \
        fix: add a source with stream, raw_stream or table";
    assert_eq!(errors, expected);
}

/// Every stream thread makes its own tasks from one plan.
#[test]
fn plans_go_to_other_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<millstream_topology::Plan>();
}
