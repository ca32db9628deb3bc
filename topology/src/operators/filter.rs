//! Filter: rows for which the predicate holds go on.

use std::sync::Arc;

use crate::{operators::apply::BatchFn, record::Data};

pub(crate) fn step<K: Data, V: Data>(keep: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> BatchFn<K, V, K, V> {
    Arc::new(move |mut batch, _| {
        batch.rows.retain(|row| keep(&row.key, &row.value));
        Ok(batch)
    })
}
