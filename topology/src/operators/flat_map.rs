//! Flat map: zero or more rows for each row. They share its timestamp, offset and place.

use std::sync::Arc;

use crate::{
    operators::apply::BatchFn,
    record::{Batch, Data, Row},
};

/// Key and value may change.
pub(crate) fn step<K: Data, V: Data, L: Data, W: Data, I: IntoIterator<Item = (L, W)>>(
    f: impl Fn(K, V) -> I + Send + Sync + 'static,
) -> BatchFn<K, V, L, W> {
    Arc::new(move |Batch { origin, rows }, _| {
        let mut out = Vec::with_capacity(rows.len());
        for Row {
            key,
            value,
            timestamp,
            offset,
            seq,
        } in rows
        {
            out.extend(f(key, value).into_iter().map(|(key, value)| Row {
                key,
                value,
                timestamp,
                offset,
                seq,
            }));
        }
        Ok(Batch { origin, rows: out })
    })
}

/// Only the value may change.
pub(crate) fn values<K: Data, V: Data, W: Data, I: IntoIterator<Item = W>>(
    f: impl Fn(&K, V) -> I + Send + Sync + 'static,
) -> BatchFn<K, V, K, W> {
    Arc::new(move |Batch { origin, rows }, _| {
        let mut out = Vec::with_capacity(rows.len());
        for Row {
            key,
            value,
            timestamp,
            offset,
            seq,
        } in rows
        {
            let values = f(&key, value).into_iter();
            out.extend(values.map(|value| Row {
                key: key.clone(),
                value,
                timestamp,
                offset,
                seq,
            }));
        }
        Ok(Batch { origin, rows: out })
    })
}
