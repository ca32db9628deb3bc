//! Stateful operators against what Kafka Streams does: the scenarios in `vectors/`, fed record by record, committed after each.
//!
//! Scenarios that this version does not run are listed with the reason; the test fails when one of them could run after all,
//! or when a scenario is neither run nor listed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)] // a test may stop at the first surprise

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_state::codec::{Json, Nullable, Utf8};
use millstream_topology::{
    Data, EmitStrategy, Stream, StreamBuilder, TestDriver, TimeWindows, Window, WindowedKey, WindowedTable,
    aggregate::{Count, Fold},
    driver::Restart,
    options::{Consumed, Grouped, Joined, Materialized, Produced},
};
use serde_json::{Map, Value, json};

type Key = Option<String>;
type Scenario = Map<String, Value>;

/// Why a scenario does not run; `None` when it does.
fn left_out(family: &str, s: &Scenario) -> Option<&'static str> {
    let op = &s["operator"];
    let text = |name: &str| op[name].as_str().unwrap_or_default();
    match (text("op"), text("window")) {
        ("table-table-join", _) => return Some("table-table joins come later"),
        ("chain", _) => return Some("stream-stream joins come later"),
        ("windowed-aggregate", "session") => return Some("session windows come later"),
        ("windowed-aggregate", "sliding") => return Some("sliding windows come later"),
        ("windowed-aggregate", "unlimited") => return Some("unlimited windows come later"),
        ("windows-for", _) if op["window"]["type"] == "unlimited" => return Some("unlimited windows come later"),
        ("window-overlap", _) if op["kind"] != "time" => return Some("session windows come later"),
        ("join-windows-grace", _) => return Some("stream-stream joins come later"),
        ("stream-table-join", _) if text("table_store") == "versioned" => return Some("versioned tables come later"),
        ("table-source", _) if op.get("send_old_values").is_some() => {
            return Some("old values serve table operators, later");
        }
        _ => {}
    }
    if op["emit_interval_ms"].as_i64().is_some_and(|ms| ms > 0) {
        return Some("differs on purpose: closed windows come out at once, not when the wall clock allows");
    }
    if family == "time-window-aggregate" || family == "emit-on-window-close" {
        let name = s["name"].as_str().unwrap_or_default();
        if name.ends_with("-store-cached") {
            return Some("differs on purpose: no read shows rows that have expired, whatever is cached");
        }
    }
    None
}

/// An output or stored row, as far as the scenario says.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    key: Value,
    window: Option<(i64, i64)>,
    value: Value,
    ts: i64,
}

fn rows(list: &Value) -> Vec<Map<String, Value>> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row.as_object().cloned())
        .collect()
}

/// A row that says less asserts less.
fn same(expected: &Map<String, Value>, row: &Row) -> bool {
    let window = row.window.map(|(start, end)| json!([start, end]));
    row.key == expected["key"]
        && row.value == expected["value"]
        && expected.get("ts").is_none_or(|ts| *ts == json!(row.ts))
        && expected.get("window").is_none_or(|w| Some(w) == window.as_ref())
}

fn assert_rows(at: &str, expected: &[Map<String, Value>], found: &[Row]) {
    let equal = expected.len() == found.len() && expected.iter().zip(found).all(|(e, f)| same(e, f));
    assert!(equal, "{at}\nexpected {expected:#?}\nfound {found:#?}");
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `agg + '+' + value` and its like.
fn formula(formula: &str, agg: &Value, value: &Value) -> Value {
    match formula {
        "agg + '+' + value" => json!(format!("{}+{}", text(agg), text(value))),
        "agg + length(value)" => json!(agg.as_i64().unwrap() + text(value).len() as i64),
        other => panic!("unknown formula {other}"),
    }
}

fn initial(op: &Value) -> Value {
    match op["initializer"].as_str().unwrap() {
        "0" => json!(0),
        quoted => json!(quoted.trim_matches('\'')),
    }
}

fn value_codec() -> Nullable<Json<Value>> {
    Nullable(Json::new())
}

fn source(builder: &StreamBuilder, topic: &str) -> Stream<Key, Option<Value>> {
    builder.stream(topic, Consumed::with(Nullable(Utf8), value_codec()))
}

fn stored<V: Data>(codec: impl millstream_state::codec::Codec<V>) -> Materialized<Key, V> {
    Materialized::with(Nullable(Utf8), codec).named("store")
}

fn folded(op: &Value) -> impl millstream_topology::Aggregate<Key, Option<Value>, Acc = Value> + use<> {
    let (init, add) = (initial(op), op["aggregator"].as_str().unwrap().to_owned());
    let add =
        move |acc: &mut Value, _: &Key, v: &Option<Value>| *acc = formula(&add, acc, &v.clone().unwrap_or(Value::Null));
    Fold::new(move || init.clone(), add)
}

fn reducer(op: &Value) -> Option<impl Fn(&Option<Value>, Option<Value>) -> Option<Value> + Send + Sync + use<>> {
    let formula_text = op["aggregator"].as_str()?.strip_prefix("reduce: ")?.to_owned();
    Some(move |a: &Option<Value>, b: Option<Value>| Some(formula(&formula_text, a.as_ref()?, b.as_ref()?)))
}

fn aggregate(b: &StreamBuilder, op: &Value, input: &str) {
    let grouped = source(b, input).group_by_key(Grouped::with(Nullable(Utf8), value_codec()));
    if op["aggregator"] == "count" {
        let table = grouped.count(stored(millstream_state::codec::I64));
        table.to("out", Produced::with(Nullable(Utf8), millstream_state::codec::I64));
    } else if let Some(reduce) = reducer(op) {
        grouped
            .reduce(reduce, stored(value_codec()))
            .to("out", Produced::with(Nullable(Utf8), value_codec()));
    } else {
        let table = grouped.aggregate(folded(op), stored(Json::new()));
        table.to("out", Produced::with(Nullable(Utf8), Json::new()));
    }
}

fn time_windows(op: &Value) -> TimeWindows {
    let ms = |name: &str| Duration::from_millis(op[name].as_u64().unwrap_or_default());
    TimeWindows::of_size(ms("size_ms"))
        .advance_by(ms("advance_ms"))
        .grace(ms("grace_ms"))
}

fn aggregate_windows(b: &StreamBuilder, op: &Value, input: &str) {
    fn out<A: Data + serde::Serialize>(table: WindowedTable<Key, A>) {
        let json = |_: &_, value: A| serde_json::to_value(value).unwrap();
        let key = |key: &millstream_topology::Windowed<Key>, _: &Value| key.clone();
        let rows = table.to_stream().map_values(json).select_key(key);
        // The key's size does not matter here: rows are read back with the same windows.
        let windows = TimeWindows::of_size(Duration::from_millis(1));
        rows.to(
            "out",
            Produced::with(WindowedKey::new(Nullable(Utf8), &windows), Json::new()),
        );
    }
    let emit = if op["emit"] == "close" {
        EmitStrategy::OnWindowClose
    } else {
        EmitStrategy::OnUpdate
    };
    let grouped = source(b, input).group_by_key(Grouped::with(Nullable(Utf8), value_codec()));
    let windowed = grouped.windowed_by(time_windows(op)).emit(emit);
    if op["aggregator"] == "count" {
        out(windowed.aggregate(Count, stored(millstream_state::codec::I64)));
    } else if let Some(reduce) = reducer(op) {
        out(windowed.reduce(reduce, stored(value_codec())));
    } else {
        out(windowed.aggregate(folded(op), stored(Json::new())));
    }
}

fn join(b: &StreamBuilder, op: &Value) {
    let consumed = Consumed::with(Utf8, Json::<Value>::new());
    let table = b.table::<String, Value>("table", consumed, Materialized::with(Utf8, Json::new()).named("store"));
    let stream = source(b, "stream");
    let separator = op["joiner"]["expr"]
        .as_str()
        .unwrap()
        .split('\'')
        .nth(1)
        .unwrap()
        .to_owned();
    let (inner_separator, joined) = (separator.clone(), || Joined::with(Nullable(Utf8), value_codec()));
    let plain = |v: Option<Value>| v.map_or_else(|| "null".to_owned(), |v| text(&v));
    let out = if op["type"] == "left" {
        stream.left_join(&table, joined(), move |_, v, t| {
            json!(plain(v) + &separator + &plain(t.cloned()))
        })
    } else {
        stream.join(&table, joined(), move |_, v, t| {
            json!(plain(v) + &inner_separator + &text(t))
        })
    };
    out.to("out", Produced::with(Nullable(Utf8), Json::new()));
}

fn table(b: &StreamBuilder, input: &str) {
    let consumed = Consumed::with(Utf8, Json::<Value>::new());
    let table = b.table::<String, Value>(input, consumed, Materialized::with(Utf8, Json::new()).named("store"));
    table.to("out", Produced::with(Utf8, Json::new()));
}

/// A scenario under way.
struct Run {
    name: String,
    op: Value,
    driver: TestDriver,
    seen: usize,
    all: Vec<Row>,
}

impl Run {
    fn start(family: &str, s: &Scenario) -> Self {
        let op = s["operator"].clone();
        let topics = s["steps"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(inputs)
            .map(|i| text(&i["topic"]));
        let input = topics.into_iter().next().unwrap();
        let b = StreamBuilder::new();
        match op["op"].as_str().unwrap() {
            "stream-aggregate" => aggregate(&b, &op, &input),
            "windowed-aggregate" => aggregate_windows(&b, &op, &input),
            "stream-table-join" => join(&b, &op),
            "table-source" => table(&b, &input),
            other => panic!("{family}: unknown operator {other}"),
        }
        let driver = TestDriver::new(&b.build("vectors").unwrap()).unwrap();
        Run {
            name: format!("{family}/{}", text(&s["name"])),
            op,
            driver,
            seen: 0,
            all: Vec::new(),
        }
    }

    fn is_windowed(&self) -> bool {
        self.op["op"] == "windowed-aggregate"
    }

    fn step(&mut self, step: &Value) {
        for record in inputs(step) {
            let key = (!record["key"].is_null()).then(|| record["key"].to_string());
            let value = (!record["value"].is_null()).then(|| record["value"].clone());
            let input = self
                .driver
                .input(&text(&record["topic"]), Nullable(Utf8), value_codec());
            input.pipe(&key, &value, record["ts"].as_i64().unwrap()).unwrap();
        }
        if step["restart"] == true {
            self.driver.restart(Restart::FromChangelog).unwrap();
        }
        if let Some(clock) = step["set_wall_clock_ms"].as_i64() {
            self.driver.advance(clock - self.driver.now()).unwrap();
        }
        let new = self.new_rows();
        if let Some(expected) = step.get("out") {
            assert_rows(&format!("{}: step {step}", self.name), &rows(expected), &new);
        }
        for lookup in rows(&step["lookups"]) {
            let found = self.stored().into_iter().find(|row| row.key == lookup["key"]);
            let absent = Row {
                key: lookup["key"].clone(),
                window: None,
                value: Value::Null,
                ts: 0,
            };
            assert!(
                same(&lookup, &found.clone().unwrap_or(absent)),
                "{}: {lookup:?} found {found:?}",
                self.name
            );
        }
        self.all.extend(new);
    }

    fn new_rows(&mut self) -> Vec<Row> {
        let all: Vec<Row> = if self.is_windowed() {
            let windows = time_windows(&self.op);
            let out = self
                .driver
                .output("out", WindowedKey::new(Utf8, &windows), value_codec());
            let row = |(key, value, ts): (millstream_topology::Windowed<String>, Option<Value>, i64)| {
                self.row(key.key, Some((key.window.start, key.window.end)), value, ts)
            };
            out.read_all().unwrap().into_iter().map(row).collect()
        } else if self.op["aggregator"] == "count" {
            let out = self.driver.output("out", Utf8, Nullable(millstream_state::codec::I64));
            let row = |(key, n, ts): (String, Option<i64>, i64)| self.row(key, None, n.map(Value::from), ts);
            out.read_all().unwrap().into_iter().map(row).collect()
        } else {
            let out = self.driver.output("out", Utf8, value_codec());
            let row = |(key, value, ts): (String, Option<Value>, i64)| self.row(key, None, value, ts);
            out.read_all().unwrap().into_iter().map(row).collect()
        };
        let new = all[self.seen..].to_vec();
        self.seen = all.len();
        new
    }

    fn row(&self, key: String, window: Option<(i64, i64)>, value: Option<Value>, ts: i64) -> Row {
        Row {
            key: serde_json::from_str(&key).unwrap(),
            window,
            value: value.unwrap_or(Value::Null),
            ts,
        }
    }

    fn stored(&self) -> Vec<Row> {
        let driver = &self.driver;
        let number = millstream_state::codec::I64;
        let counts = self.op["aggregator"] == "count";
        if self.is_windowed() {
            let size = time_windows(&self.op).size_ms();
            let row = |(start, key, value, ts): (i64, String, Value, i64)| {
                self.row(key, Some((start, start + size)), Some(value), ts)
            };
            if counts {
                let rows = driver.slices::<String, i64>("store", Utf8, number).unwrap();
                return rows
                    .into_iter()
                    .map(|(s, k, n, ts)| row((s, k, n.into(), ts)))
                    .collect();
            }
            return driver
                .slices("store", Utf8, Json::new())
                .unwrap()
                .into_iter()
                .map(row)
                .collect();
        }
        if counts {
            let rows = driver.key_values::<String, i64>("store", Utf8, number).unwrap();
            return rows
                .into_iter()
                .map(|(k, n, ts)| self.row(k, None, Some(n.into()), ts))
                .collect();
        }
        let rows = driver.key_values::<String, Value>("store", Utf8, Json::new()).unwrap();
        rows.into_iter()
            .map(|(k, v, ts)| self.row(k, None, Some(v), ts))
            .collect()
    }

    fn finish(mut self, s: &Scenario) {
        if let Some(expected) = s.get("final_out") {
            let mut expected = rows(expected);
            match s.get("final_out_mode").and_then(Value::as_str) {
                None => {}
                Some("set") => {
                    expected.sort_by_key(|row| format!("{} {}", row["key"], row["value"]));
                    self.all.sort_by_key(|row| format!("{} {}", row.key, row.value));
                }
                Some("latest_by_key") => {
                    let latest: BTreeMap<String, Row> = self
                        .all
                        .iter()
                        .map(|row| (format!("{} {:?}", row.key, row.window), row.clone()))
                        .collect();
                    self.all = latest.into_values().collect();
                    expected.sort_by_key(|row| format!("{} {}", row["key"], row.get("window").unwrap_or(&Value::Null)));
                    self.all
                        .sort_by_key(|row| format!("{} {}", row.key, json!(row.window.map(|w| [w.0, w.1]))));
                }
                Some(other) => panic!("{}: unknown mode {other}", self.name),
            }
            assert_rows(&format!("{}: all output", self.name), &expected, &self.all);
        }
        if let Some(expected) = s.get("final_store") {
            assert_rows(&format!("{}: store", self.name), &rows(expected), &self.stored());
        }
        if let Some(dropped) = s.get("dropped_records").and_then(Value::as_u64) {
            assert_eq!(self.driver.dropped(), dropped, "{}: dropped records", self.name);
        }
    }
}

fn inputs(step: &Value) -> Vec<&Value> {
    step.get("in")
        .into_iter()
        .chain(step["in_batch"].as_array().into_iter().flatten())
        .collect()
}

fn pure(family: &str, s: &Scenario) {
    let op = &s["operator"];
    let pair = |v: &Value| Window {
        start: v[0].as_i64().unwrap(),
        end: v[1].as_i64().unwrap(),
    };
    for step in s["steps"].as_array().unwrap() {
        if op["op"] == "windows-for" {
            let windows = time_windows(&op["window"]);
            let starts = windows.starts(step["ts"].as_i64().unwrap());
            let found: Vec<Window> = starts.map(|start| windows.window(start)).collect();
            let expected: Vec<Window> = step["windows"].as_array().unwrap().iter().map(pair).collect();
            assert_eq!(found, expected, "{family}: {step}");
        } else {
            let overlap = pair(&op["this"]).overlaps(&pair(&step["other"]));
            assert_eq!(json!(overlap), step["overlap"], "{family}: {step}");
        }
    }
}

/// Runs a family; says how many scenarios ran, and which did not, by reason.
fn run(family: &str, json: &str) -> (usize, BTreeMap<&'static str, usize>) {
    let file: Value = serde_json::from_str(json).unwrap();
    let (mut ran, mut left) = (0, BTreeMap::new());
    for s in file["scenarios"].as_array().unwrap() {
        let s = s.as_object().unwrap();
        if let Some(reason) = left_out(family, s) {
            *left.entry(reason).or_default() += 1;
            continue;
        }
        ran += 1;
        if family == "window-assignment" {
            pure(family, s);
            continue;
        }
        let mut run = Run::start(family, s);
        s["steps"].as_array().unwrap().iter().for_each(|step| run.step(step));
        run.finish(s);
    }
    (ran, left)
}

macro_rules! families {
    ($($name:ident $file:literal $ran:literal $left:expr;)*) => { $(
        #[test]
        fn $name() {
            let (ran, left) = run($file, include_str!(concat!("vectors/", $file, ".json")));
            assert_eq!((ran, left), ($ran, BTreeMap::from($left)));
        }
    )* };
}

families! {
    stream_aggregate "stream-aggregate" 5 [];
    time_window_aggregate "time-window-aggregate" 14 [
        ("differs on purpose: no read shows rows that have expired, whatever is cached", 3),
        ("stream-stream joins come later", 1),
        ("table-table joins come later", 1),
        ("unlimited windows come later", 1),
    ];
    emit_on_window_close "emit-on-window-close" 5 [
        ("differs on purpose: closed windows come out at once, not when the wall clock allows", 1),
        ("differs on purpose: no read shows rows that have expired, whatever is cached", 1),
        ("session windows come later", 6),
        ("sliding windows come later", 8),
        ("stream-stream joins come later", 1),
        ("table-table joins come later", 1),
    ];
    stream_table_join "stream-table-join" 9 [("versioned tables come later", 5)];
    table_source "table-source" 3 [("old values serve table operators, later", 2)];
    window_assignment "window-assignment" 2 [
        ("session windows come later", 1),
        ("stream-stream joins come later", 1),
        ("unlimited windows come later", 1),
    ];
}
