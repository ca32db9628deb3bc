//! Peek: looks at every row and lets it pass.

use std::sync::Arc;

use crate::{operators::apply::BatchFn, record::Data};

pub(crate) fn step<K: Data, V: Data>(look: impl Fn(&K, &V) + Send + Sync + 'static) -> BatchFn<K, V, K, V> {
    Arc::new(move |batch, _| {
        for row in &batch.rows {
            look(&row.key, &row.value);
        }
        Ok(batch)
    })
}
