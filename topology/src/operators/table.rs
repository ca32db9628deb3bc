//! The rows of a table: kept by the node that changes them, looked up by stream-table joins.
//!
//! A table node applies its whole batch at once. So that a reader still sees the table **as of its row**, the rows shared
//! here keep, for the current round, an undo list: what each change replaced, with the change's sequence number. A look-up
//! walks back over the changes that come after its own row. However the input is cut into batches, the result is the same
//! as one record at a time; changes and readers with the same number (one topic on both sides) see the change.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use hashbrown::HashMap;
use millstream_state::{
    Timestamp,
    data::Key,
    overlay::{Overlay, Slot},
    schema::{KeyValue, Stamped},
};

use crate::{
    error::Result,
    node::{Ctx, Flushed, Node},
    policy::Reason,
    record::{Batch, Data, Row},
    wiring::{Inbox, Outlet},
};

/// What a table notes with a row until it is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// Timestamp of the latest change: a deleted row has no value to carry one.
    timestamp: Timestamp,
    /// Not told downstream yet.
    pending: bool,
    /// Downstream was told of a value before: only then it need be told of a deletion.
    told: bool,
}

impl Change {
    /// A change at this time. Deleting what is not there is none.
    #[inline]
    fn note(&mut self, timestamp: Timestamp, was_there: bool, is_there: bool) {
        if was_there || is_there {
            let told = if self.pending { self.told } else { was_there };
            *self = Change {
                timestamp,
                pending: true,
                told,
            };
        }
    }
}

impl Default for Change {
    fn default() -> Self {
        Change {
            timestamp: Timestamp::MIN,
            pending: false,
            told: false,
        }
    }
}

/// The store behind a table.
pub(crate) type TableStore<K, V> = Rc<RefCell<Overlay<KeyValue<K, V, Change>>>>;

/// The rows of one table in one task.
pub(crate) struct TableRows<K: Key, V: Data> {
    store: TableStore<K, V>,
    undo: RefCell<Undo<V>>,
    looked_up: Cell<bool>,
    /// In a flush that is not over: of how many changed keys the readers were told.
    emitted: Cell<usize>,
}

/// What the changes of one round replaced.
struct Undo<V> {
    round: u64,
    newest: HashMap<Slot, u32, foldhash::fast::FixedState>,
    replaced: Vec<Replaced<V>>,
}

struct Replaced<V> {
    seq: u32,
    value: Option<Stamped<V>>,
    /// The change of the same row before this one.
    older: Option<u32>,
}

impl<K: Key, V: Data> TableRows<K, V> {
    pub fn new(store: TableStore<K, V>) -> Rc<Self> {
        let newest = HashMap::with_hasher(foldhash::fast::FixedState::with_seed(11));
        let undo = RefCell::new(Undo {
            round: 0,
            newest,
            replaced: Vec::new(),
        });
        Rc::new(TableRows {
            store,
            undo,
            looked_up: Cell::new(false),
            emitted: Cell::new(0),
        })
    }

    /// Says that somebody looks rows up, so that changes are remembered.
    pub fn will_be_looked_up(&self) {
        self.looked_up.set(true);
    }

    /// The places of these keys, loaded; one for each key, in order.
    pub fn resolve<'k>(&self, cx: &Ctx<'_>, keys: impl Iterator<Item = &'k K>, slots: &mut Vec<Slot>) -> Result<()> {
        let mut store = self.store.borrow_mut();
        slots.clear();
        slots.extend(keys.map(|key| store.slot_of(key)));
        store.load_missing(cx.engine()).map_err(|e| cx.state_error(e))
    }

    /// Changes rows of this round, one after the other in the order of their numbers.
    pub fn change(&self, round: u64, with: impl FnOnce(&mut Changing<'_, K, V>)) {
        let mut undo = self.undo.borrow_mut();
        if undo.round != round {
            undo.round = round;
            undo.newest.clear();
            undo.replaced.clear();
        }
        let undo = self.looked_up.get().then_some(&mut *undo);
        with(&mut Changing {
            store: &mut self.store.borrow_mut(),
            undo,
        });
    }

    /// Looks rows up as of a row of this round.
    pub fn look(&self, round: u64) -> Look<'_, K, V> {
        let undo = self.undo.borrow();
        let unchanged = undo.round != round || undo.replaced.is_empty();
        Look {
            store: self.store.borrow(),
            undo: (!unchanged).then_some(undo),
        }
    }

    /// Tells the readers of the table's changes: one row for each key that changed since the last time, for a portion
    /// of them at a time.
    pub fn emit(&self, portion: usize, output: &Outlet<Batch<K, Option<V>>>) -> Flushed {
        let mut store = self.store.borrow_mut();
        if !output.has_readers() {
            return Flushed::All;
        }
        let all = store.dirty().len();
        let from = self.emitted.get();
        let portion = from..all.min(from.saturating_add(portion));
        let is_last = portion.end == all;
        self.emitted.set(if is_last { 0 } else { portion.end });
        let mut rows = Vec::with_capacity(portion.len());
        for at in portion {
            let slot = store.dirty()[at];
            let mut changes = store.marks(slot).map(|(_, change)| change);
            let Some(change) = changes.find(|change| change.pending) else {
                continue;
            };
            change.pending = false;
            let Change { timestamp, told, .. } = *change;
            drop(changes);
            let value = store.get(slot, &());
            if value.is_none() && !told {
                continue;
            }
            // A live value knows the greatest timestamp in it; a deletion has only the change's own.
            let timestamp = value.map_or(timestamp, |v| v.timestamp);
            rows.push(Row::from_state(
                store.key(slot).clone(),
                value.map(|v| v.value.clone()),
                timestamp,
            ));
        }
        if !rows.is_empty() {
            output.send(Batch::from_state(rows));
        }
        if is_last { Flushed::All } else { Flushed::Part }
    }
}

/// Changes rows and remembers what they replaced.
pub(crate) struct Changing<'a, K: Key, V: Data> {
    store: &'a mut Overlay<KeyValue<K, V, Change>>,
    undo: Option<&'a mut Undo<V>>,
}

impl<K: Key, V: Data> Changing<'_, K, V> {
    /// Replaces a row; `None` deletes it.
    #[inline]
    pub fn put(&mut self, slot: Slot, seq: u32, timestamp: Timestamp, value: Option<V>) {
        let new = value.map(|v| Stamped::new(timestamp, v));
        let old = self.store.upsert(slot, (), |row, change| {
            let old = std::mem::replace(row, new);
            change.note(timestamp, old.is_some(), row.is_some());
            old
        });
        self.remember(slot, seq, old);
    }

    /// Changes a row in place.
    #[inline]
    pub fn update(&mut self, slot: Slot, seq: u32, timestamp: Timestamp, f: impl FnOnce(&mut Option<Stamped<V>>)) {
        let looked_up = self.undo.is_some();
        let old = self.store.upsert(slot, (), |row, change| {
            let old = if looked_up { row.clone() } else { None };
            let was_there = row.is_some();
            f(row);
            change.note(timestamp, was_there, row.is_some());
            old
        });
        self.remember(slot, seq, old);
    }

    #[inline]
    fn remember(&mut self, slot: Slot, seq: u32, value: Option<Stamped<V>>) {
        if let Some(undo) = &mut self.undo {
            let this = undo.replaced.len() as u32;
            let older = undo.newest.insert(slot, this);
            undo.replaced.push(Replaced { seq, value, older });
        }
    }
}

/// A view on the rows as of any row of the current round.
pub(crate) struct Look<'a, K: Key, V: Data> {
    store: Ref<'a, Overlay<KeyValue<K, V, Change>>>,
    undo: Option<Ref<'a, Undo<V>>>,
}

impl<K: Key, V: Data> Look<'_, K, V> {
    /// The value after all changes up to `seq`, and before those that come later.
    #[inline]
    pub fn as_of(&self, slot: Slot, seq: u32) -> Option<&V> {
        let now = self.store.get(slot, &());
        let value = match &self.undo {
            Some(undo) => undo.as_of(slot, seq).unwrap_or(now),
            None => now,
        };
        value.map(|v| &v.value)
    }
}

impl<V> Undo<V> {
    /// What the earliest change after `seq` replaced; `None` when there is no such change.
    fn as_of(&self, slot: Slot, seq: u32) -> Option<Option<&Stamped<V>>> {
        let mut next = self.newest.get(&slot).copied();
        let mut found = None;
        while let Some(replaced) = next.and_then(|at| self.replaced.get(at as usize)) {
            if replaced.seq <= seq {
                break;
            }
            found = Some(replaced.value.as_ref());
            next = replaced.older;
        }
        found
    }
}

/// The node of a table that is read from a topic: a null value deletes, a null key is dropped and counted, and the last
/// record to arrive wins whatever its timestamp.
pub(crate) struct TableSource<K: Key, V: Data> {
    pub input: Inbox<Batch<Option<K>, Option<V>>>,
    pub output: Outlet<Batch<K, Option<V>>>,
    pub rows: Rc<TableRows<K, V>>,
    pub slots: Vec<Slot>,
}

impl<K: Key, V: Data> Node for TableSource<K, V> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(mut batch) = self.input.take() {
            let arrived = batch.rows.len();
            batch.rows.retain(|row| row.key.is_some());
            cx.drop_rows(Reason::NullKey, (arrived - batch.rows.len()) as u64);
            self.rows.resolve(
                cx,
                batch.rows.iter().filter_map(|row| row.key.as_ref()),
                &mut self.slots,
            )?;
            self.rows.change(cx.round(), |table| {
                for (row, &slot) in batch.rows.into_iter().zip(&self.slots) {
                    table.put(slot, row.seq, row.timestamp, row.value);
                }
            });
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Ctx<'_>) -> Result<Flushed> {
        Ok(self.rows.emit(cx.portion(), &self.output))
    }
}
