//! Map: one row for each row.

use std::{fmt::Display, sync::Arc};

use crate::{
    node::OnBad,
    operators::apply::BatchFn,
    policy::Reason,
    record::{Batch, Data, Row},
};

/// Key and value may change.
pub(crate) fn step<K: Data, V: Data, L: Data, W: Data>(
    f: impl Fn(K, V) -> (L, W) + Send + Sync + 'static,
) -> BatchFn<K, V, L, W> {
    Arc::new(move |Batch { origin, rows }, _| {
        let map = |row: Row<K, V>| {
            let Row {
                key,
                value,
                timestamp,
                offset,
                seq,
            } = row;
            let (key, value) = f(key, value);
            Row {
                key,
                value,
                timestamp,
                offset,
                seq,
            }
        };
        Ok(Batch {
            origin,
            rows: rows.into_iter().map(map).collect(),
        })
    })
}

/// Only the value may change.
pub(crate) fn values<K: Data, V: Data, W: Data>(f: impl Fn(&K, V) -> W + Send + Sync + 'static) -> BatchFn<K, V, K, W> {
    Arc::new(move |Batch { origin, rows }, _| {
        let map = |row: Row<K, V>| {
            let Row {
                key,
                value,
                timestamp,
                offset,
                seq,
            } = row;
            let value = f(&key, value);
            Row {
                key,
                value,
                timestamp,
                offset,
                seq,
            }
        };
        Ok(Batch {
            origin,
            rows: rows.into_iter().map(map).collect(),
        })
    })
}

/// Only the value may change, and the step may refuse it: door 2.
pub(crate) fn try_values<K: Data, V: Data, W: Data, E: Display>(
    f: impl Fn(&K, V) -> Result<W, E> + Send + Sync + 'static,
    on_bad: OnBad,
) -> BatchFn<K, V, K, W> {
    Arc::new(move |Batch { origin, rows }, cx| {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let at = row.at();
            let Row {
                key,
                value,
                timestamp,
                offset,
                seq,
            } = row;
            match f(&key, value) {
                Ok(value) => out.push(Row {
                    key,
                    value,
                    timestamp,
                    offset,
                    seq,
                }),
                Err(why) => cx.reject(on_bad, &origin, at, Reason::Process, why)?,
            }
        }
        Ok(Batch { origin, rows: out })
    })
}
