//! Aggregating all values of a key, without windows: count, reduce, aggregate.
//!
//! The result is a table: one row per changed key is emitted at each commit. Its timestamp is the greatest of the records
//! in it. Rows with a null key or a null value are dropped and counted, as in Kafka Streams.

use std::rc::Rc;
use std::sync::Arc;

use millstream_state::{data::Key, overlay::Slot, schema::Stamped};

use super::nulls::NullValues;
use super::table::TableRows;
use crate::{
    aggregate::Folding,
    error::Result,
    node::{Ctx, Flushed, Node},
    policy::Reason,
    record::{Batch, Data, Row},
    wiring::{Inbox, Outlet},
};

/// The aggregating node.
pub(crate) struct AggregateByKey<K: Key, V, A: Data> {
    pub input: Inbox<Batch<K, V>>,
    pub output: Outlet<Batch<K, Option<A>>>,
    pub rows: Rc<TableRows<K, A>>,
    pub folding: Arc<dyn Folding<K, V, A>>,
    pub null_keys: NullValues<K>,
    pub null_values: NullValues<V>,
    pub slots: Vec<Slot>,
}

impl<K: Key, V: Data, A: Data> Node for AggregateByKey<K, V, A> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(mut batch) = self.input.take() {
            self.null_keys.drop_keys_from(&mut batch, Reason::UnusableKey, cx);
            self.null_values.drop_from(&mut batch, Reason::UnusableValue, cx);
            self.rows
                .resolve(cx, batch.rows.iter().map(|row| &row.key), &mut self.slots)?;
            let folding = &*self.folding;
            self.rows.change(cx.round(), |table| {
                for (row, &slot) in batch.rows.into_iter().zip(&self.slots) {
                    table.update(slot, row.seq, row.timestamp, |result| fold(folding, result, row));
                }
            });
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Ctx<'_>) -> Result<Flushed> {
        Ok(self.rows.emit(cx.portion(), &self.output))
    }
}

#[inline]
fn fold<K, V, A>(folding: &dyn Folding<K, V, A>, result: &mut Option<Stamped<A>>, row: Row<K, V>) {
    let keep = match result {
        Some(acc) => {
            folding.add(&mut acc.value, &row.key, row.value);
            acc.timestamp = acc.timestamp.max(row.timestamp);
            folding.keep(&acc.value)
        }
        None => {
            let first = folding.first(&row.key, row.value);
            let keep = folding.keep(&first);
            *result = Some(Stamped::new(row.timestamp, first));
            keep
        }
    };
    if !keep {
        *result = None;
    }
}
