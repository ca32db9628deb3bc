//! Repartition: rows leave through an internal topic and come back where their key lives.
//!
//! Three nodes, as in Kafka Streams: a filter for keys that are written as null (nobody could group or join by them), a
//! sink, and a source in the next sub-topology.

use std::sync::Arc;

use crate::{codecs::RowCodec, operators::apply::BatchFn, policy::Reason, record::Data};

pub(crate) fn drop_null_keys<K: Data, V: Data>(codec: Arc<dyn RowCodec<K, V>>) -> BatchFn<K, V, K, V> {
    Arc::new(move |mut batch, cx| {
        let before = batch.rows.len();
        codec.retain_keyed(&mut batch.rows);
        let dropped = before - batch.rows.len();
        if dropped > 0 {
            cx.drop_rows(Reason::UnusableKey, dropped as u64);
        }
        Ok(batch)
    })
}

/// Node names and topic of a repartitioning.
pub(crate) struct Names {
    pub topic: String,
    pub filter: String,
    pub sink: String,
    pub source: String,
}

impl Names {
    /// `base` is the name of a store, an operator or the user's; `generated` makes the next three node names, which are
    /// taken even when unused, so that numbers do not depend on names.
    pub fn new(base: &str, mut generated: impl FnMut(&str) -> String) -> Self {
        let topic = if base.ends_with("-repartition") {
            base.to_owned()
        } else {
            format!("{base}-repartition")
        };
        let (sink, filter, source) = (
            generated("KSTREAM-SINK-"),
            generated("KSTREAM-FILTER-"),
            generated("KSTREAM-SOURCE-"),
        );
        if is_generated(base) {
            return Names {
                topic,
                filter,
                sink,
                source,
            };
        }
        Names {
            filter: format!("{topic}-filter"),
            sink: format!("{topic}-sink"),
            source: format!("{topic}-source"),
            topic,
        }
    }
}

/// Whether a name was made by counting: `KSTREAM...-0000000003`.
fn is_generated(name: &str) -> bool {
    let number = name.rsplit('-').next().unwrap_or_default();
    name.starts_with("KSTREAM") && number.len() == 10 && number.bytes().all(|b| b.is_ascii_digit())
}
