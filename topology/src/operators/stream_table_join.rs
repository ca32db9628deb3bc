//! Enriching a stream from a table, inner and left: each row is joined with the table as of that row.
//!
//! Only the stream side makes results; the table side never does. Null rules are Kafka Streams': a null value is dropped
//! and counted; a null key is dropped and counted by an inner join, and joined with nothing by a left join.

use std::rc::Rc;
use std::sync::Arc;

use millstream_state::{data::Key, overlay::Slot};

use super::nulls::NullValues;
use super::table::TableRows;
use crate::{
    error::Result,
    node::{Ctx, Node},
    policy::Reason,
    record::{Batch, Data},
    wiring::{Inbox, Outlet},
};

/// A stream key that can be looked up in a table with keys `K`: the same type, or an `Option` of it.
pub trait JoinKey<K>: Data {
    /// The key to look up; `None` is a null key.
    fn join_key(&self) -> Option<&K>;
}

impl<K: Key> JoinKey<K> for K {
    #[inline]
    fn join_key(&self) -> Option<&K> {
        Some(self)
    }
}

impl<K: Key> JoinKey<K> for Option<K> {
    #[inline]
    fn join_key(&self) -> Option<&K> {
        self.as_ref()
    }
}

/// Makes a result of a row and what the table holds for its key; `None` makes no result.
pub(crate) type Joiner<S, V, T, W> = Arc<dyn Fn(&S, V, Option<&T>) -> Option<W> + Send + Sync>;

/// The joining node. It runs after the table's node in each round, because it was made after it.
pub(crate) struct StreamTableJoin<S, K: Key, V, T: Data, W> {
    pub input: Inbox<Batch<S, V>>,
    pub output: Outlet<Batch<S, W>>,
    pub table: Rc<TableRows<K, T>>,
    pub joiner: Joiner<S, V, T, W>,
    pub left: bool,
    pub nulls: NullValues<V>,
    pub slots: Vec<Slot>,
}

impl<S: JoinKey<K>, K: Key, V: Data, T: Data, W: Data> StreamTableJoin<S, K, V, T, W> {
    fn drop_nulls(&self, batch: &mut Batch<S, V>, cx: &mut Ctx<'_>) {
        self.nulls.drop_from(batch, Reason::UnusableValue, cx);
        if !self.left {
            let arrived = batch.rows.len();
            batch.rows.retain(|row| row.key.join_key().is_some());
            cx.drop_rows(Reason::UnusableKey, (arrived - batch.rows.len()) as u64);
        }
    }
}

impl<S: JoinKey<K>, K: Key, V: Data, T: Data, W: Data> Node for StreamTableJoin<S, K, V, T, W> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(mut batch) = self.input.take() {
            self.drop_nulls(&mut batch, cx);
            self.table.resolve(
                cx,
                batch.rows.iter().filter_map(|row| row.key.join_key()),
                &mut self.slots,
            )?;
            let table = self.table.look(cx.round());
            let mut slots = self.slots.iter();
            let mut rows = Vec::with_capacity(batch.rows.len());
            for row in batch.rows {
                let found = match row.key.join_key() {
                    Some(_) => slots.next().and_then(|slot| table.as_of(*slot, row.seq)),
                    None => None,
                };
                if found.is_none() && !self.left {
                    continue;
                }
                if let Some(value) = (self.joiner)(&row.key, row.value, found) {
                    let (timestamp, offset, seq) = (row.timestamp, row.offset, row.seq);
                    rows.push(crate::record::Row {
                        key: row.key,
                        value,
                        timestamp,
                        offset,
                        seq,
                    });
                }
            }
            if !rows.is_empty() {
                self.output.send(Batch {
                    origin: batch.origin,
                    rows,
                });
            }
        }
        Ok(())
    }
}
