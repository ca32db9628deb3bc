//! The handle on a table, and joining a stream with it.
//!
//! A table is the latest value of each key. Changes are kept in a store at once and told downstream at each commit: one row
//! for each key that changed, with `None` for a key that was deleted.

use std::rc::Rc;
use std::sync::Arc;

use millstream_state::{
    codec::{Codec, DecodeError, Nullable, Raw},
    data::Key,
    schema::KeyValue,
    spec::{StoreKind, StoreSpec},
};

use crate::{
    builder::StreamBuilder,
    codecs::Codecs,
    error::{Result, TaskError},
    graph::{NodeSpec, SourceKind, TopicName},
    operators::{
        nulls::NullValues,
        stream_table_join::{JoinKey, Joiner, StreamTableJoin},
        table::{TableRows, TableSource, TableStore},
    },
    options::{Consumed, Joined, Materialized, Produced},
    record::{Batch, Data},
    stream::Stream,
    wiring::{Edge, Wiring},
};

/// The latest value of each key. Made by [`StreamBuilder::table`] and by aggregations.
pub struct Table<K, V> {
    builder: StreamBuilder,
    edge: Edge<Batch<K, Option<V>>>,
    store: Arc<str>,
    node: Arc<str>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Table {
            builder: self.builder.clone(),
            edge: self.edge,
            store: self.store.clone(),
            node: self.node.clone(),
        }
    }
}

impl<K: Key, V: Data> Table<K, V> {
    pub(crate) fn new(builder: StreamBuilder, edge: Edge<Batch<K, Option<V>>>, store: &str, node: &str) -> Self {
        Table {
            builder,
            edge,
            store: store.into(),
            node: node.into(),
        }
    }

    /// The store behind it.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The table's changes as a stream: at each commit, one row for each key that changed; `None` for a deleted key.
    pub fn to_stream(&self) -> Stream<K, Option<V>> {
        let changes = Stream::from_edge(self.builder.clone(), self.edge, &self.node, false);
        changes.apply("KTABLE-TOSTREAM-", false, Arc::new(|batch, _cx| Ok(batch)))
    }

    /// Writes the table's changes to a topic; a deleted key as a null value.
    pub fn to(&self, topic: &str, produced: Produced<K, V>) {
        let Produced { codecs, named } = produced;
        self.to_stream().to(
            topic,
            Produced {
                codecs: nullable_values(&codecs),
                named,
            },
        );
    }
}

impl StreamBuilder {
    /// Reads a topic as a table: the latest value of each key, the last record to arrive winning whatever its timestamp. A
    /// null value deletes the key; a record with a null key is dropped and counted.
    ///
    /// ```
    /// # use millstream_topology::{StreamBuilder, options::{Consumed, Joined, Materialized, Produced}};
    /// # use millstream_state::codec::I64;
    /// let builder = StreamBuilder::new();
    /// let limits = builder.table::<i64, i64>("limits", Consumed::with(I64, I64), Materialized::with(I64, I64));
    /// let readings = builder.stream::<i64, i64>("readings", Consumed::with(I64, I64));
    /// readings
    ///     .join(&limits, Joined::with(I64, I64), |_device, reading, limit| reading - limit)
    ///     .filter(|_device, excess| *excess > 0)
    ///     .to("alarms", Produced::with(I64, I64));
    /// # builder.build("app")?;
    /// # Ok::<(), millstream_topology::TopologyErrors>(())
    /// ```
    pub fn table<K: Key, V: Data>(
        &self,
        topic: &str,
        consumed: Consumed<K, V>,
        materialized: Materialized<K, V>,
    ) -> Table<K, V> {
        let store = self.name(&format!("{topic}-STATE-STORE-"), &materialized.named);
        let Consumed {
            codecs,
            named,
            reset,
            on_bad,
        } = consumed;
        let source = match named.get() {
            Some(name) => format!("{name}-source"),
            None => self.next_name("KSTREAM-SOURCE-"),
        };
        let name = self.name("KTABLE-SOURCE-", &named);
        let topics = vec![TopicName::External(topic.to_owned())];
        let nullable = nullable(&codecs);
        let rows = self.add_source(source, topics, SourceKind::Table, &nullable, reset, on_bad);
        self.add_key_value_store(&store, &materialized);
        let (schema, own) = (materialized, store.clone());
        let spec = NodeSpec::new(&name, [rows.id()]).with_store(&store);
        let edge = self.add_node(spec, move |w, out| {
            Ok(TableSource {
                input: w.input(rows),
                output: w.output(out),
                rows: table_rows(w, &own, &schema)?,
                slots: Vec::new(),
            })
        });
        Table::new(self.clone(), edge, &store, &name)
    }

    pub(crate) fn add_key_value_store<K: Data, V: Data>(&self, name: &str, materialized: &Materialized<K, V>) {
        self.add_store(StoreSpec {
            name: name.to_owned(),
            kind: StoreKind::KeyValue,
            logged: materialized.logged,
            retention_ms: None,
        });
    }
}

/// Opens the store of a table and shares its rows with the nodes that will look them up.
pub(crate) fn table_rows<K: Key, V: Data>(
    w: &mut Wiring<'_>,
    name: &str,
    materialized: &Materialized<K, V>,
) -> Result<Rc<TableRows<K, V>>> {
    let schema = || KeyValue::new(materialized.key.clone(), materialized.value.clone());
    let store: TableStore<K, V> = w.store(name, schema)?;
    let rows = TableRows::new(store);
    w.share(&shared_name(name), rows.clone());
    Ok(rows)
}

fn shared_name(store: &str) -> String {
    format!("table {store}")
}

/// Joining with a table.
impl<S: Data, V: Data> Stream<S, V> {
    /// Enriches each row with what the table holds for its key at that moment; a row without a match makes no result.
    ///
    /// "At that moment" is exact, however records are batched: the join sees the table as if records were processed one by
    /// one in the order they were picked. Changes of the table make no results. A row with a null key or a null value is
    /// dropped and counted.
    pub fn join<K: Key, T: Data, W: Data>(
        &self,
        table: &Table<K, T>,
        joined: Joined<S, V>,
        join: impl Fn(&S, V, &T) -> W + Send + Sync + 'static,
    ) -> Stream<S, W>
    where
        S: JoinKey<K>,
    {
        let joiner: Joiner<S, V, T, W> = Arc::new(move |key, value, found| found.map(|found| join(key, value, found)));
        self.join_table(table, joined, joiner, "KSTREAM-JOIN-", false)
    }

    /// As [`Stream::join`], but a row without a match (or with a null key) is joined with `None`.
    pub fn left_join<K: Key, T: Data, W: Data>(
        &self,
        table: &Table<K, T>,
        joined: Joined<S, V>,
        join: impl Fn(&S, V, Option<&T>) -> W + Send + Sync + 'static,
    ) -> Stream<S, W>
    where
        S: JoinKey<K>,
    {
        let joiner: Joiner<S, V, T, W> = Arc::new(move |key, value, found| Some(join(key, value, found)));
        self.join_table(table, joined, joiner, "KSTREAM-LEFTJOIN-", true)
    }

    fn join_table<K: Key, T: Data, W: Data>(
        &self,
        table: &Table<K, T>,
        joined: Joined<S, V>,
        joiner: Joiner<S, V, T, W>,
        prefix: &str,
        left: bool,
    ) -> Stream<S, W>
    where
        S: JoinKey<K>,
    {
        let builder = self.builder();
        let base = joined.named.get().unwrap_or(self.node());
        let stream = self.by_key(base, &joined.codecs);
        let name = builder.name(prefix, &joined.named);
        let (input, store) = (stream.edge(), table.store.clone());
        let value = joined.codecs.value;
        let spec = NodeSpec::new(&name, [input.id()])
            .with_store(&*store)
            .with_copartition();
        let edge = builder.add_node(spec, move |w, out| {
            let rows: Rc<TableRows<K, T>> = w.shared(&shared_name(&store)).ok_or_else(|| {
                TaskError::Misuse(format!(
                    "node {}: table {store} belongs to another topology: join it there",
                    w.name()
                ))
            })?;
            rows.will_be_looked_up();
            Ok(StreamTableJoin {
                input: w.input(input),
                output: w.output(out),
                table: rows,
                joiner: joiner.clone(),
                left,
                nulls: NullValues::of(&value),
                slots: Vec::new(),
            })
        });
        stream.next(edge, &name, false)
    }
}

/// Streams whose types allow nulls.
impl<K: Data, V: Data> Stream<K, Option<V>> {
    /// Leaves out null values, and with them the `Option`.
    pub fn non_null(&self) -> Stream<K, V> {
        let step = |batch: Batch<K, Option<V>>, _cx: &mut crate::node::Ctx<'_>| {
            let kept = batch.rows.into_iter().filter_map(|mut row| {
                let value = row.value.take()?;
                let (timestamp, offset, seq) = (row.timestamp, row.offset, row.seq);
                Some(crate::record::Row {
                    key: row.key,
                    value,
                    timestamp,
                    offset,
                    seq,
                })
            });
            Ok(Batch {
                rows: kept.collect(),
                origin: batch.origin,
            })
        };
        self.apply("KSTREAM-FILTER-", false, Arc::new(step))
    }
}

/// A codec behind a shared handle.
pub(crate) struct SharedCodec<T>(pub Arc<dyn Codec<T>>);

impl<T: 'static> Codec<T> for SharedCodec<T> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) {
        self.0.encode(value, out);
    }

    fn partition_part<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        self.0.partition_part(encoded)
    }

    fn decode(&self, raw: Raw<'_>) -> Result<T, DecodeError> {
        self.0.decode(raw)
    }

    fn is_null(&self, value: &T) -> bool {
        self.0.is_null(value)
    }

    fn decode_null(&self) -> Result<T, DecodeError> {
        self.0.decode_null()
    }
}

/// Reads values that are kept: a copy of what would be a handle on the fetched batch.
struct Owned<T>(Arc<dyn Codec<T>>);

impl<T: 'static> Codec<T> for Owned<T> {
    fn encode(&self, value: &T, out: &mut Vec<u8>) {
        self.0.encode(value, out);
    }

    fn decode(&self, raw: Raw<'_>) -> Result<T, DecodeError> {
        self.0.decode(Raw::plain(raw.bytes()))
    }
}

/// The same codecs with `None` for null keys and values. They still read the same bytes, so the name stays.
fn nullable<K: Data, V: Data>(codecs: &Codecs<K, V>) -> Codecs<Option<K>, Option<V>> {
    let key = Nullable(SharedCodec(codecs.key.clone()));
    let value = Nullable(Owned(codecs.value.clone()));
    Codecs {
        name: codecs.name,
        ..Codecs::new(key, value)
    }
}

fn nullable_values<K: Data, V: Data>(codecs: &Codecs<K, V>) -> Codecs<K, Option<V>> {
    let (key, value) = (
        SharedCodec(codecs.key.clone()),
        Nullable(SharedCodec(codecs.value.clone())),
    );
    Codecs {
        name: codecs.name,
        ..Codecs::new(key, value)
    }
}
