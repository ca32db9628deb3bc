//! Grouping a stream by key, and aggregating without windows.

use std::sync::Arc;

use millstream_state::data::Key;

use crate::{
    aggregate::{Aggregate, ByAggregate, ByReducer, Count, Folding},
    builder::StreamBuilder,
    graph::NodeSpec,
    operators::{aggregate::AggregateByKey, nulls::NullValues},
    options::{Grouped, Materialized, Named},
    record::Data,
    stream::Stream,
    table::{Table, table_rows},
    windowed::WindowedStream,
    windows::TimeWindows,
};

/// Grouping.
impl<K: Key, V: Data> Stream<K, V> {
    /// Groups rows by their key. Where a step before changed keys, rows go through a repartition topic first.
    pub fn group_by_key(&self, grouped: Grouped<K, V>) -> GroupedStream<K, V> {
        GroupedStream {
            stream: self.clone(),
            grouped,
            named: Named::default(),
        }
    }
}

impl<K: Data, V: Data> Stream<K, V> {
    /// Groups rows by a key of their own, through a repartition topic.
    ///
    /// ```
    /// # use millstream_topology::{StreamBuilder, options::{Consumed, Grouped, Materialized, Produced}};
    /// # use millstream_state::codec::I64;
    /// let builder = StreamBuilder::new();
    /// builder
    ///     .stream::<i64, i64>("prices", Consumed::with(I64, I64))
    ///     .group_by(|_item, price| price / 100, Grouped::with(I64, I64).named("by-price"))
    ///     .count(Materialized::with(I64, I64).named("how-many"))
    ///     .to("how-many", Produced::with(I64, I64));
    /// assert!(builder.build("shop")?.describe().contains("by-price-repartition"));
    /// # Ok::<(), millstream_topology::TopologyErrors>(())
    /// ```
    pub fn group_by<L: Key>(
        &self,
        key: impl Fn(&K, &V) -> L + Send + Sync + 'static,
        grouped: Grouped<L, V>,
    ) -> GroupedStream<L, V> {
        self.select_key(key).group_by_key(grouped)
    }
}

/// Rows grouped by key: what [`Stream::group_by_key`] and [`Stream::group_by`] give.
pub struct GroupedStream<K, V> {
    stream: Stream<K, V>,
    grouped: Grouped<K, V>,
    named: Named,
}

impl<K, V> Clone for GroupedStream<K, V> {
    fn clone(&self) -> Self {
        GroupedStream {
            stream: self.stream.clone(),
            grouped: self.grouped.clone(),
            named: self.named.clone(),
        }
    }
}

impl<K: Key, V: Data> GroupedStream<K, V> {
    /// Names the aggregating node.
    pub fn named(&self, name: impl Into<Named>) -> Self {
        GroupedStream {
            named: name.into(),
            ..self.clone()
        }
    }

    /// The number of rows of each key.
    pub fn count(&self, materialized: Materialized<K, i64>) -> Table<K, i64> {
        self.fold(Arc::new(ByAggregate::new::<K, V>(Count)), materialized, "AGGREGATE")
    }

    /// Combines the values of each key, two at a time; the first value is the result as it is.
    pub fn reduce(
        &self,
        reduce: impl Fn(&V, V) -> V + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> Table<K, V> {
        self.fold(Arc::new(ByReducer(reduce)), materialized, "REDUCE")
    }

    /// Folds the values of each key; see [`Aggregate`].
    pub fn aggregate<G: Aggregate<K, V>>(
        &self,
        aggregate: G,
        materialized: Materialized<K, G::Acc>,
    ) -> Table<K, G::Acc> {
        self.fold(Arc::new(ByAggregate::new(aggregate)), materialized, "AGGREGATE")
    }

    /// Groups by time as well.
    pub fn windowed_by(&self, windows: TimeWindows) -> WindowedStream<K, V> {
        WindowedStream::new(self.clone(), windows)
    }

    fn fold<A: Data>(
        &self,
        folding: Arc<dyn Folding<K, V, A>>,
        materialized: Materialized<K, A>,
        what: &str,
    ) -> Table<K, A> {
        let builder = self.stream.builder();
        let (store, name) = self.names(what, &materialized.named);
        let stream = self.by_key(&store);
        builder.add_key_value_store(&store, &materialized);
        let (input, own) = (stream.edge(), store.clone());
        let codecs = self.grouped.codecs.clone();
        let spec = NodeSpec::new(&name, [input.id()]).with_store(&store);
        let edge = builder.add_node(spec, move |w, out| {
            Ok(AggregateByKey {
                input: w.input(input),
                output: w.output(out),
                rows: table_rows(w, &own, &materialized)?,
                folding: folding.clone(),
                null_keys: NullValues::of(&codecs.key),
                null_values: NullValues::of(&codecs.value),
                slots: Vec::new(),
            })
        });
        Table::new(builder.clone(), edge, &store, &name)
    }

    /// The names of store and node, generated as Kafka Streams does and in its order.
    pub(crate) fn names(&self, what: &str, store: &Named) -> (String, String) {
        let builder = self.stream.builder();
        let store = builder.name(&format!("KSTREAM-{what}-STATE-STORE-"), store);
        let name = builder.name(&format!("KSTREAM-{what}-"), &self.named);
        (store, name)
    }

    /// The rows where all of a key are in one place.
    pub(crate) fn by_key(&self, store: &str) -> Stream<K, V> {
        self.stream
            .by_key(self.grouped.named.get().unwrap_or(store), &self.grouped.codecs)
    }

    pub(crate) fn builder(&self) -> &StreamBuilder {
        self.stream.builder()
    }

    pub(crate) fn null_keys(&self) -> NullValues<K> {
        NullValues::of(&self.grouped.codecs.key)
    }
}
