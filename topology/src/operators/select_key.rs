//! Select key: another key for each row, computed from the row.

use std::sync::Arc;

use crate::{
    operators::apply::BatchFn,
    record::{Batch, Data, Row},
};

pub(crate) fn step<K: Data, V: Data, L: Data>(f: impl Fn(&K, &V) -> L + Send + Sync + 'static) -> BatchFn<K, V, L, V> {
    Arc::new(move |Batch { origin, rows }, _| {
        let select = |row: Row<K, V>| {
            let key = f(&row.key, &row.value);
            Row {
                key,
                value: row.value,
                timestamp: row.timestamp,
                offset: row.offset,
                seq: row.seq,
            }
        };
        Ok(Batch {
            origin,
            rows: rows.into_iter().map(select).collect(),
        })
    })
}
