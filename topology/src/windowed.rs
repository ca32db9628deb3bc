//! Aggregating by key and window, and the handle on the result.

use std::sync::Arc;

use millstream_state::{
    Timestamp,
    codec::{Codec, DecodeError, Raw},
    data::HeapBytes,
    data::Key,
    keys,
    schema::Slices,
    spec::{StoreKind, StoreSpec},
};

use crate::{
    aggregate::{Aggregate, ByAggregate, ByReducer, Count, Folding},
    builder::StreamBuilder,
    codecs::Codecs,
    graph::{NodeSpec, TopicName},
    grouped::GroupedStream,
    operators::{
        late::LateRecords,
        window_aggregate::{Parts, WindowAggregate},
    },
    options::{Materialized, Named, Produced},
    record::{Batch, Data},
    stream::Stream,
    table::SharedCodec,
    windows::{TimeWindows, Window, Windowed},
    wiring::Edge,
};

/// When the results of windows are emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmitStrategy {
    /// At each commit, every window that changed since the last one.
    #[default]
    OnUpdate,
    /// Each window once, when stream time passes its end and its grace: the result is final.
    OnWindowClose,
}

/// Rows grouped by key and window: what [`GroupedStream::windowed_by`] gives.
///
/// ```
/// use std::time::Duration;
/// # use millstream_topology::{StreamBuilder, options::{Consumed, Grouped, Materialized, Produced}};
/// # use millstream_topology::{windowed::EmitStrategy, windows::TimeWindows};
/// # use millstream_state::codec::I64;
/// let builder = StreamBuilder::new();
/// let hour = Duration::from_secs(3600);
/// builder
///     .stream::<i64, i64>("readings", Consumed::with(I64, I64))
///     .group_by_key(Grouped::with(I64, I64))
///     .windowed_by(TimeWindows::of_size(6 * hour).advance_by(hour).grace(hour))
///     .emit(EmitStrategy::OnWindowClose)
///     .late_to("readings.late", Produced::with(I64, I64))
///     .count(Materialized::with(I64, I64).named("rolling"))
///     .to("rolling", Produced::with(I64, I64));
/// # builder.build("app")?;
/// # Ok::<(), millstream_topology::TopologyErrors>(())
/// ```
pub struct WindowedStream<K, V> {
    grouped: GroupedStream<K, V>,
    windows: TimeWindows,
    emit: EmitStrategy,
    late: Option<(Arc<str>, Codecs<K, V>)>,
}

impl<K, V> Clone for WindowedStream<K, V> {
    fn clone(&self) -> Self {
        WindowedStream {
            grouped: self.grouped.clone(),
            windows: self.windows,
            emit: self.emit,
            late: self.late.clone(),
        }
    }
}

impl<K: Key, V: Data> WindowedStream<K, V> {
    pub(crate) fn new(grouped: GroupedStream<K, V>, windows: TimeWindows) -> Self {
        WindowedStream {
            grouped,
            windows,
            emit: EmitStrategy::default(),
            late: None,
        }
    }

    /// When results are emitted; on update unless said otherwise.
    pub fn emit(mut self, strategy: EmitStrategy) -> Self {
        self.emit = strategy;
        self
    }

    /// Names the aggregating node.
    pub fn named(mut self, name: impl Into<Named>) -> Self {
        self.grouped = self.grouped.named(name);
        self
    }

    /// Writes late records to a topic, once for each window they missed, with their own headers and
    /// [what they missed](crate::operators::late::late_headers). They are counted in any case.
    pub fn late_to(mut self, topic: &str, produced: Produced<K, V>) -> Self {
        self.late = Some((topic.into(), produced.codecs));
        self
    }

    /// The number of rows of each key and window. Rows with a null value count.
    pub fn count(&self, materialized: Materialized<K, i64>) -> WindowedTable<K, i64> {
        self.fold(Arc::new(ByAggregate::new::<K, V>(Count)), materialized, "AGGREGATE")
    }

    /// Combines the values of each key and window, two at a time; the first value is the result as it is. Windows are kept
    /// one by one, for a reducer may depend on the order of arrival; an [`Aggregate`] with a merge is cheaper where windows
    /// overlap.
    pub fn reduce(
        &self,
        reduce: impl Fn(&V, V) -> V + Send + Sync + 'static,
        materialized: Materialized<K, V>,
    ) -> WindowedTable<K, V> {
        self.fold(Arc::new(ByReducer(reduce)), materialized, "REDUCE")
    }

    /// Folds the values of each key and window; see [`Aggregate`].
    pub fn aggregate<G: Aggregate<K, V>>(
        &self,
        aggregate: G,
        materialized: Materialized<K, G::Acc>,
    ) -> WindowedTable<K, G::Acc> {
        self.fold(Arc::new(ByAggregate::new(aggregate)), materialized, "AGGREGATE")
    }

    fn fold<A: Data>(
        &self,
        folding: Arc<dyn Folding<K, V, A>>,
        materialized: Materialized<K, A>,
        what: &str,
    ) -> WindowedTable<K, A> {
        let builder = self.grouped.builder();
        let (store, name) = self.grouped.names(what, &materialized.named);
        for (what, fix) in self.windows.problems() {
            builder.problem(&name, what, fix);
        }
        let stream = self.grouped.by_key(&store);
        let retention_ms = materialized.retention_ms.unwrap_or(0).max(self.windows.retention_ms());
        builder.add_store(StoreSpec {
            name: store.clone(),
            kind: StoreKind::Window,
            logged: materialized.logged,
            retention_ms: Some(retention_ms),
        });
        let mut spec = NodeSpec::new(&name, [stream.edge().id()]).with_store(&store);
        if let Some((topic, _)) = &self.late {
            spec = spec.with_side_topic(&**topic);
        }
        let (input, windows, emit, late) = (stream.edge(), self.windows, self.emit, self.late.clone());
        let null_keys = self.grouped.null_keys();
        let edge = builder.add_node(spec, move |w, out| {
            let late = late.as_ref().map(|(topic, codecs)| {
                let topic = TopicName::External(topic.to_string());
                (w.topic(&topic), codecs.clone())
            });
            let schema = || Slices::new(materialized.key.clone(), materialized.value.clone());
            Ok(WindowAggregate::new(Parts {
                input: w.input(input),
                output: w.output(out),
                store: w.store(&store, schema)?,
                folding: folding.clone(),
                windows,
                emit,
                retention_ms,
                late: LateRecords::new(w.name(), late),
                null_keys: null_keys.clone(),
            }))
        });
        WindowedTable {
            builder: builder.clone(),
            edge,
            node: name.into(),
            windows: self.windows,
        }
    }
}

/// The result of each key and window.
pub struct WindowedTable<K, A> {
    builder: StreamBuilder,
    edge: Edge<Batch<Windowed<K>, A>>,
    node: Arc<str>,
    windows: TimeWindows,
}

impl<K: Key, A: Data> WindowedTable<K, A> {
    /// The results as a stream, as the [`EmitStrategy`] lets them out.
    pub fn to_stream(&self) -> Stream<Windowed<K>, A> {
        let results = Stream::from_edge(self.builder.clone(), self.edge, &self.node, false);
        results.apply("KTABLE-TOSTREAM-", false, Arc::new(|batch, _cx| Ok(batch)))
    }

    /// Writes the results to a topic, with keys in Kafka Streams' layout ([`WindowedKey`]).
    pub fn to(&self, topic: &str, produced: Produced<K, A>) {
        let Produced { codecs, named } = produced;
        let key = WindowedKey {
            inner: SharedCodec(codecs.key),
            size_ms: self.windows.size_ms(),
        };
        let codecs = Codecs::new(key, SharedCodec(codecs.value));
        self.to_stream().to(topic, Produced { codecs, named });
    }
}

/// Keys of windowed tables on topics, as Kafka Streams writes them: `[key][start 8]`. The end is not written, so a reader
/// must know the size of the windows.
#[derive(Debug, Clone)]
pub struct WindowedKey<C> {
    inner: C,
    size_ms: i64,
}

impl<C> WindowedKey<C> {
    /// Keys by this codec, in windows like these.
    pub fn new(inner: C, windows: &TimeWindows) -> Self {
        WindowedKey {
            inner,
            size_ms: windows.size_ms(),
        }
    }
}

impl<K: 'static, C: Codec<K>> Codec<Windowed<K>> for WindowedKey<C> {
    fn encode(&self, value: &Windowed<K>, out: &mut Vec<u8>) {
        self.inner.encode(&value.key, out);
        keys::put_windowed(value.window.start, out);
    }

    /// All windows of a key lie in the key's own partition, as in Kafka Streams.
    fn partition_part<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        let key = keys::split_windowed(encoded).map_or(encoded, |(key, _)| key);
        self.inner.partition_part(key)
    }

    fn decode(&self, raw: Raw<'_>) -> Result<Windowed<K>, DecodeError> {
        let bytes = raw.bytes();
        let (key, start) = keys::split_windowed(bytes).ok_or_else(|| {
            DecodeError::Malformed(format!(
                "expected a windowed key of 8 bytes or more, found {}",
                bytes.len()
            ))
        })?;
        let key = self.inner.decode(raw.part(key))?;
        let end = start.checked_add(self.size_ms).unwrap_or(Timestamp::MAX);
        Ok(Windowed {
            key,
            window: Window { start, end },
        })
    }
}

impl<K: HeapBytes> HeapBytes for Windowed<K> {
    fn heap_bytes(&self) -> usize {
        self.key.heap_bytes()
    }
}

impl<K: Key> Key for Windowed<K> {
    fn detach(&self) -> Self {
        Windowed {
            key: self.key.detach(),
            window: self.window,
        }
    }
}
