//! The handle on a stream of events. Each method adds one node.

use std::{fmt::Display, sync::Arc};

use crate::{
    builder::StreamBuilder,
    codecs::Codecs,
    error::Result,
    graph::{NodeKind, NodeSpec, OffsetReset, SinkTopic, SourceKind, TopicName},
    operators::{
        apply::{self, BatchFn},
        filter, flat_map, map, merge,
        parse::{self, Emit, ParseError, Parsed, RawMessage},
        peek, repartition, select_key, sink,
        split::Split,
    },
    options::{Named, Produced, Repartitioned},
    policy::{Door, Policy},
    record::{Batch, Data, RawBatch},
    wiring::Edge,
};

/// A stream of events: every record counts for itself.
///
/// A handle is cheap to clone; reading it twice fans out. Steps that change the key mark the stream, and the next step that
/// needs all records of a key in one place (grouping, joining) sends it through a repartition topic.
pub struct Stream<K, V> {
    builder: StreamBuilder,
    edge: Edge<Batch<K, V>>,
    key_changed: bool,
    node: Arc<str>,
    named: Named,
}

impl<K, V> Clone for Stream<K, V> {
    fn clone(&self) -> Self {
        Stream {
            builder: self.builder.clone(),
            edge: self.edge,
            key_changed: self.key_changed,
            node: self.node.clone(),
            named: self.named.clone(),
        }
    }
}

/// For operators of other files and rooms.
impl<K: Data, V: Data> Stream<K, V> {
    /// A stream of what flows on `edge`, which the node `node` writes. `key_changed` says that records of one key may lie
    /// in several partitions.
    pub fn from_edge(builder: StreamBuilder, edge: Edge<Batch<K, V>>, node: &str, key_changed: bool) -> Self {
        Stream {
            builder,
            edge,
            key_changed,
            node: node.into(),
            named: Named::default(),
        }
    }

    /// The topology this stream belongs to.
    pub fn builder(&self) -> &StreamBuilder {
        &self.builder
    }

    /// The edge its rows flow on.
    pub fn edge(&self) -> Edge<Batch<K, V>> {
        self.edge
    }

    /// The node that writes it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether a step since the last topic may have changed keys.
    pub fn key_changed(&self) -> bool {
        self.key_changed
    }

    /// The name of the next node: what [`Stream::named`] set, else a generated one.
    pub fn node_name(&self, prefix: &str) -> String {
        self.builder.name(prefix, &self.named)
    }

    /// A stream of what the node `name` writes to `edge`, downstream of this one.
    pub fn next<L: Data, W: Data>(&self, edge: Edge<Batch<L, W>>, name: &str, changes_key: bool) -> Stream<L, W> {
        Stream::from_edge(self.builder.clone(), edge, name, self.key_changed || changes_key)
    }

    /// Adds a step that turns one batch into another.
    pub fn apply<L: Data, W: Data>(&self, prefix: &str, changes_key: bool, step: BatchFn<K, V, L, W>) -> Stream<L, W> {
        let (name, input) = (self.node_name(prefix), self.edge);
        let spec = NodeSpec::new(&name, [input.id()]);
        let edge = self
            .builder
            .add_node(spec, move |w, out| apply::make(w, input, out, step.clone()));
        self.next(edge, &name, changes_key)
    }

    /// This stream with all records of a key in one partition: through a repartition topic called after `base` where a step
    /// changed keys, else as it is.
    pub fn by_key(&self, base: &str, codecs: &Codecs<K, V>) -> Stream<K, V> {
        if self.key_changed {
            self.through(base, codecs, None)
        } else {
            self.clone()
        }
    }

    fn through(&self, base: &str, codecs: &Codecs<K, V>, partitions: Option<i32>) -> Stream<K, V> {
        let names = repartition::Names::new(base, |prefix| self.builder.next_name(prefix));
        let topic = TopicName::Internal(names.topic);
        let (input, rows) = (self.edge, codecs.rows.clone());
        let spec = NodeSpec::new(&names.filter, [input.id()]);
        let keyed = self.builder.add_node(spec, move |w, out| {
            apply::make(w, input, out, repartition::drop_null_keys(rows.clone()))
        });
        let kind = NodeKind::Sink {
            topic: SinkTopic::Fixed(topic.clone()),
            partitions,
        };
        self.add_sink(
            NodeSpec::new(&names.sink, [keyed.id()]).with_kind(kind),
            keyed,
            codecs,
            topic.clone(),
        );
        // What we wrote ourselves must be readable: anything else is a bug to stop at, not data to skip.
        let (kind, reset) = (SourceKind::Repartition, OffsetReset::Earliest);
        let edge = self
            .builder
            .add_source(names.source.clone(), vec![topic], kind, codecs, reset, Policy::Fail);
        Stream::from_edge(self.builder.clone(), edge, &names.source, false)
    }

    fn add_sink(&self, spec: NodeSpec, input: Edge<Batch<K, V>>, codecs: &Codecs<K, V>, topic: TopicName) {
        let rows = codecs.rows.clone();
        self.builder.add_fan(spec, 0, move |w, _: &[Edge<()>]| {
            let topic = w.topic(&topic);
            sink::make(w, input, rows.clone(), topic)
        });
    }
}

/// The steps.
impl<K: Data, V: Data> Stream<K, V> {
    /// Names the node of the next step, once.
    ///
    /// ```
    /// # use millstream_topology::{StreamBuilder, options::{Consumed, Produced}};
    /// # use millstream_state::codec::I64;
    /// let builder = StreamBuilder::new();
    /// let numbers = builder.stream::<i64, i64>("numbers", Consumed::with(I64, I64));
    /// numbers.named("only-even").filter(|_, n| n % 2 == 0).to("even", Produced::with(I64, I64));
    /// assert!(builder.build("app")?.describe().contains("Processor: only-even (stores: [])"));
    /// # Ok::<(), millstream_topology::TopologyErrors>(())
    /// ```
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Stream {
            named: name.into(),
            ..self.clone()
        }
    }

    /// Rows for which `keep` holds.
    pub fn filter(&self, keep: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.apply("KSTREAM-FILTER-", false, filter::step(keep))
    }

    /// Rows for which `leave_out` does not hold.
    pub fn filter_not(&self, leave_out: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.apply("KSTREAM-FILTER-", false, filter::step(move |k, v| !leave_out(k, v)))
    }

    /// Another key and value for each row. Marks the stream for repartitioning; prefer [`Stream::map_values`] when the key
    /// stays.
    pub fn map<L: Data, W: Data>(&self, f: impl Fn(K, V) -> (L, W) + Send + Sync + 'static) -> Stream<L, W> {
        self.apply("KSTREAM-MAP-", true, map::step(f))
    }

    /// Another value for each row.
    pub fn map_values<W: Data>(&self, f: impl Fn(&K, V) -> W + Send + Sync + 'static) -> Stream<K, W> {
        self.apply("KSTREAM-MAPVALUES-", false, map::values(f))
    }

    /// Another value for each row, or a reason why there is none: door 2, with this policy.
    pub fn try_map_values<W: Data, E: Display>(
        &self,
        on_bad: Policy,
        f: impl Fn(&K, V) -> Result<W, E> + Clone + Send + Sync + 'static,
    ) -> Stream<K, W> {
        let (name, input) = (self.node_name("KSTREAM-MAPVALUES-"), self.edge);
        let mut spec = NodeSpec::new(&name, [input.id()]);
        if let Policy::DeadLetterTo(topic) = &on_bad {
            spec = spec.with_side_topic(&**topic);
        }
        let edge = self.builder.add_node(spec, move |w, out| {
            let on_bad = w.on_bad(Door::Process, &on_bad)?;
            apply::make(w, input, out, map::try_values(f.clone(), on_bad))
        });
        self.next(edge, &name, false)
    }

    /// Zero or more keys and values for each row. Marks the stream for repartitioning.
    pub fn flat_map<L: Data, W: Data, I: IntoIterator<Item = (L, W)>>(
        &self,
        f: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> Stream<L, W> {
        self.apply("KSTREAM-FLATMAP-", true, flat_map::step(f))
    }

    /// Zero or more values for each row.
    pub fn flat_map_values<W: Data, I: IntoIterator<Item = W>>(
        &self,
        f: impl Fn(&K, V) -> I + Send + Sync + 'static,
    ) -> Stream<K, W> {
        self.apply("KSTREAM-FLATMAPVALUES-", false, flat_map::values(f))
    }

    /// Another key for each row. Marks the stream for repartitioning.
    pub fn select_key<L: Data>(&self, f: impl Fn(&K, &V) -> L + Send + Sync + 'static) -> Stream<L, V> {
        self.apply("KSTREAM-KEY-SELECT-", true, select_key::step(f))
    }

    /// Looks at every row: for logs and tests. Runs again for rows that are processed again.
    pub fn peek(&self, look: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        self.apply("KSTREAM-PEEK-", false, peek::step(look))
    }

    /// This stream and another as one, in the order their records are picked.
    pub fn merge(&self, other: &Stream<K, V>) -> Self {
        let (name, inputs) = (self.node_name("KSTREAM-MERGE-"), [self.edge, other.edge]);
        let spec = NodeSpec::new(&name, inputs.map(Edge::id));
        let edge = self.builder.add_node(spec, move |w, out| merge::make(w, &inputs, out));
        self.next(edge, &name, other.key_changed)
    }

    /// Several streams, each row to the first branch that takes it.
    pub fn split(&self) -> Split<K, V> {
        Split::new(self.clone())
    }

    /// Through a repartition topic, whether keys changed or not.
    pub fn repartition(&self, options: Repartitioned<K, V>) -> Self {
        let base = self.builder.name("KSTREAM-REPARTITION-", &options.named);
        if let Some(n) = options.partitions.filter(|n| *n < 1) {
            self.builder
                .problem(&base, format!("asks for {n} partitions"), "ask for one or more");
        }
        self.through(&base, &options.codecs, options.partitions)
    }

    /// Writes every row to a topic.
    pub fn to(&self, topic: &str, produced: Produced<K, V>) {
        let named = if produced.named.get().is_some() {
            &produced.named
        } else {
            &self.named
        };
        let name = self.builder.name("KSTREAM-SINK-", named);
        let topic = TopicName::External(topic.to_owned());
        let kind = NodeKind::Sink {
            topic: SinkTopic::Fixed(topic.clone()),
            partitions: None,
        };
        let spec = NodeSpec::new(name, [self.edge.id()]).with_kind(kind);
        self.add_sink(spec, self.edge, &produced.codecs, topic);
    }

    /// Writes every row to the topic that `topic` chooses. The topics must exist.
    pub fn to_by<S: AsRef<str>>(&self, topic: impl Fn(&K, &V) -> S + Send + Sync + 'static, produced: Produced<K, V>) {
        let named = if produced.named.get().is_some() {
            &produced.named
        } else {
            &self.named
        };
        let name = self.builder.name("KSTREAM-SINK-", named);
        let kind = NodeKind::Sink {
            topic: SinkTopic::ByRecord,
            partitions: None,
        };
        let spec = NodeSpec::new(name, [self.edge.id()]).with_kind(kind);
        let (input, rows, choose) = (self.edge, produced.codecs.rows.clone(), sink::topic_fn(topic));
        self.builder.add_fan(spec, 0, move |w, _: &[Edge<()>]| {
            sink::make_by(w, input, rows.clone(), choose.clone())
        });
    }
}

/// A topic's messages as they were fetched, to be parsed.
#[derive(Clone)]
pub struct RawStream {
    builder: StreamBuilder,
    edge: Edge<RawBatch>,
}

impl RawStream {
    pub(crate) fn new(builder: StreamBuilder, edge: Edge<RawBatch>) -> Self {
        RawStream { builder, edge }
    }

    /// Turns every message into zero or more events; the parser gives each its key and event time. A message it refuses
    /// goes by the policy in `parsed`: this is the first door for bad data.
    ///
    /// ```
    /// # use millstream_topology::{StreamBuilder, options::Produced, operators::parse::Parsed};
    /// # use millstream_state::{codec::{I64, Utf8}, text::Str};
    /// let builder = StreamBuilder::new();
    /// builder
    ///     .raw_stream("readings.raw", "readings")
    ///     .parse(Parsed::named("parse-reading").dead_letters_to("readings.dead"), |message, emit| {
    ///         let text = std::str::from_utf8(message.value().ok_or("no value")?)?;
    ///         let (device, reading) = text.split_once('=').ok_or("expected device=reading")?;
    ///         emit.event(Str::from(device), reading.parse::<i64>()?, message.timestamp());
    ///         Ok(())
    ///     })
    ///     .to("readings", Produced::with(Utf8, I64));
    /// # builder.build("app")?;
    /// # Ok::<(), millstream_topology::TopologyErrors>(())
    /// ```
    pub fn parse<K: Data, V: Data>(
        &self,
        parsed: impl Into<Parsed>,
        parse: impl Fn(&RawMessage<'_>, &mut Emit<'_, K, V>) -> Result<(), ParseError> + Send + Sync + 'static,
    ) -> Stream<K, V> {
        let Parsed { named, on_bad } = parsed.into();
        let (name, input) = (self.builder.name("KSTREAM-PARSE-", &named), self.edge);
        let mut spec = NodeSpec::new(&name, [input.id()]);
        if let Policy::DeadLetterTo(topic) = &on_bad {
            spec = spec.with_side_topic(&**topic);
        }
        let step = parse::batch_fn(parse);
        let edge = self
            .builder
            .add_node(spec, move |w, out| parse::make(w, (input, out), step.clone(), &on_bad));
        Stream::from_edge(self.builder.clone(), edge, &name, true)
    }
}
