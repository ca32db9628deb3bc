//! Named options instead of overloads: how topics are read and written, how operators, stores and topics are called.

use std::sync::Arc;

use millstream_state::codec::Codec;

use crate::{codecs::Codecs, graph::OffsetReset, policy::Policy, record::Data};

/// The name of a node. Without one, nodes are named as Kafka Streams would name them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named(pub(crate) Option<String>);

impl Named {
    /// This name.
    pub fn new(name: impl Into<String>) -> Self {
        Named(Some(name.into()))
    }

    /// A generated name.
    pub fn generated() -> Self {
        Named(None)
    }

    /// The name, if one was given.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl From<&str> for Named {
    fn from(name: &str) -> Self {
        Named::new(name)
    }
}

impl From<String> for Named {
    fn from(name: String) -> Self {
        Named::new(name)
    }
}

/// How a topic is read.
pub struct Consumed<K, V> {
    pub(crate) codecs: Codecs<K, V>,
    pub(crate) named: Named,
    pub(crate) reset: OffsetReset,
    pub(crate) on_bad: Policy,
}

impl<K: Data, V: Data> Consumed<K, V> {
    /// Keys and values by these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Consumed {
            codecs: Codecs::new(key, value),
            named: Named::default(),
            reset: OffsetReset::default(),
            on_bad: Policy::default(),
        }
    }

    /// Names the source node.
    pub fn named(mut self, name: impl Into<Named>) -> Self {
        self.named = name.into();
        self
    }

    /// Where reading starts when nothing was committed.
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.reset = reset;
        self
    }

    /// What happens to records the codecs refuse (door 1).
    pub fn on_bad(mut self, policy: Policy) -> Self {
        self.on_bad = policy;
        self
    }
}

/// How a topic is written.
pub struct Produced<K, V> {
    pub(crate) codecs: Codecs<K, V>,
    pub(crate) named: Named,
}

impl<K: Data, V: Data> Produced<K, V> {
    /// Keys and values by these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Produced {
            codecs: Codecs::new(key, value),
            named: Named::default(),
        }
    }

    /// Names the sink node.
    pub fn named(mut self, name: impl Into<Named>) -> Self {
        self.named = name.into();
        self
    }
}

/// How a stream is repartitioned.
pub struct Repartitioned<K, V> {
    pub(crate) codecs: Codecs<K, V>,
    pub(crate) named: Named,
    pub(crate) partitions: Option<i32>,
}

impl<K: Data, V: Data> Repartitioned<K, V> {
    /// Keys and values by these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Repartitioned {
            codecs: Codecs::new(key, value),
            named: Named::default(),
            partitions: None,
        }
    }

    /// Names the topic: `<application.id>-<name>-repartition`.
    pub fn named(mut self, name: impl Into<Named>) -> Self {
        self.named = name.into();
        self
    }

    /// A fixed number of partitions; else the greatest number upstream.
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }
}

/// How a stream is grouped: its name is that of the repartition topic, where one is needed.
pub struct Grouped<K, V> {
    pub(crate) codecs: Codecs<K, V>,
    pub(crate) named: Named,
}

impl<K, V> Clone for Grouped<K, V> {
    fn clone(&self) -> Self {
        Grouped {
            codecs: self.codecs.clone(),
            named: self.named.clone(),
        }
    }
}

impl<K: Data, V: Data> Grouped<K, V> {
    /// Keys and values by these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Grouped {
            codecs: Codecs::new(key, value),
            named: Named::default(),
        }
    }

    /// Names the repartition topic: `<application.id>-<name>-repartition`.
    pub fn named(mut self, name: impl Into<Named>) -> Self {
        self.named = name.into();
        self
    }
}

/// How the stream side of a join is repartitioned, where it must be, and what the join is called.
pub struct Joined<K, V> {
    pub(crate) codecs: Codecs<K, V>,
    pub(crate) named: Named,
}

impl<K: Data, V: Data> Joined<K, V> {
    /// Stream keys and values by these codecs.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Joined {
            codecs: Codecs::new(key, value),
            named: Named::default(),
        }
    }

    /// Names the join and its repartition topic.
    pub fn named(mut self, name: impl Into<Named>) -> Self {
        self.named = name.into();
        self
    }
}

/// How a store is called, kept and logged.
pub struct Materialized<K, V> {
    pub(crate) key: Arc<dyn Codec<K>>,
    pub(crate) value: Arc<dyn Codec<V>>,
    pub(crate) named: Named,
    pub(crate) logged: bool,
    pub(crate) retention_ms: Option<i64>,
}

impl<K, V> Clone for Materialized<K, V> {
    fn clone(&self) -> Self {
        Materialized {
            key: self.key.clone(),
            value: self.value.clone(),
            named: self.named.clone(),
            logged: self.logged,
            retention_ms: self.retention_ms,
        }
    }
}

impl<K: Data, V: Data> Materialized<K, V> {
    /// Keys and values by these codecs, under a generated name.
    pub fn with(key: impl Codec<K>, value: impl Codec<V>) -> Self {
        Materialized {
            key: Arc::new(key),
            value: Arc::new(value),
            named: Named::default(),
            logged: true,
            retention_ms: None,
        }
    }

    /// Names the store, and with it its changelog topic.
    pub fn named(mut self, name: impl Into<Named>) -> Self {
        self.named = name.into();
        self
    }

    /// No changelog: after a loss, the store is rebuilt by reading its input again.
    pub fn without_logging(mut self) -> Self {
        self.logged = false;
        self
    }

    /// How long rows of a window store live, in ms; at least window size and grace, which is the default.
    pub fn retention_ms(mut self, ms: i64) -> Self {
        self.retention_ms = Some(ms);
        self
    }
}
