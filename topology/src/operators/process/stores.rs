//! Stores of custom operators: declared on the builder, opened in each task.

use std::ops::RangeInclusive;

use millstream_state::{
    StateError, Timestamp,
    data::Key,
    overlay::Slot,
    schema::{KeyValue, Schema, Slices, Stamped},
    spec::{StoreKind, StoreSpec},
    stores::Shared,
};

use super::ProcessCtx;
use crate::{builder::StreamBuilder, error::Result, options::Materialized, record::Data, wiring::Wiring};

/// The stores of an operator whose rows expire.
#[derive(Default)]
pub struct Expiring(Vec<Box<dyn Fn(Timestamp)>>);

impl Expiring {
    /// Drops the rows that are too old at this stream time.
    pub(super) fn expire(&self, stream_time: Timestamp) {
        self.0.iter().for_each(|expire| expire(stream_time));
    }
}

/// A declared key-value store: one value per key.
pub struct KeyValueStore<K, V>(Declared<K, V>);

/// A declared window store: one value per key and start time; rows older than the retention expire.
pub struct WindowStore<K, V> {
    declared: Declared<K, V>,
    retention_ms: i64,
}

struct Declared<K, V> {
    name: String,
    materialized: Materialized<K, V>,
}

impl<K, V> Clone for Declared<K, V> {
    fn clone(&self) -> Self {
        Declared {
            name: self.name.clone(),
            materialized: self.materialized.clone(),
        }
    }
}

impl<K, V> Clone for KeyValueStore<K, V> {
    fn clone(&self) -> Self {
        KeyValueStore(self.0.clone())
    }
}

impl<K, V> Clone for WindowStore<K, V> {
    fn clone(&self) -> Self {
        WindowStore {
            declared: self.declared.clone(),
            retention_ms: self.retention_ms,
        }
    }
}

impl StreamBuilder {
    /// Declares a key-value store for custom operators. Operators that use the same store run in the same task.
    pub fn key_value_store<K: Key, V: Data>(&self, materialized: Materialized<K, V>) -> KeyValueStore<K, V> {
        let name = self.name("STATE-STORE-", &materialized.named);
        self.add_key_value_store(&name, &materialized);
        KeyValueStore(Declared { name, materialized })
    }

    /// Declares a window store for custom operators. It needs a [retention](Materialized::retention_ms).
    pub fn window_store<K: Key, V: Data>(&self, materialized: Materialized<K, V>) -> WindowStore<K, V> {
        let name = self.name("STATE-STORE-", &materialized.named);
        if materialized.retention_ms.is_none_or(|ms| ms < 1) {
            self.problem(
                &name,
                "a window store without retention would grow for ever",
                "give a retention in Materialized",
            );
        }
        let retention_ms = materialized.retention_ms.unwrap_or_default();
        let spec = StoreSpec {
            name: name.clone(),
            kind: StoreKind::Window,
            logged: materialized.logged,
            retention_ms: Some(retention_ms),
        };
        self.add_store(spec);
        WindowStore {
            declared: Declared { name, materialized },
            retention_ms,
        }
    }
}

/// The stores of an operator: one, a tuple of them, or none.
pub trait Stores: Send + Sync + 'static {
    /// What the operator gets.
    type Open;
    /// Their names.
    fn names(&self) -> Vec<String>;
    /// Opens them in a task, and notes those whose rows expire.
    fn open(&self, w: &mut Wiring<'_>, expiring: &mut Expiring) -> Result<Self::Open>;
}

impl<K: Key, V: Data> Stores for KeyValueStore<K, V> {
    type Open = OpenKeyValue<K, V>;

    fn names(&self) -> Vec<String> {
        vec![self.0.name.clone()]
    }

    fn open(&self, w: &mut Wiring<'_>, _expiring: &mut Expiring) -> Result<Self::Open> {
        let Declared { name, materialized } = &self.0;
        let schema = || KeyValue::new(materialized.key.clone(), materialized.value.clone());
        Ok(OpenKeyValue {
            store: w.store(name, schema)?,
        })
    }
}

impl<K: Key, V: Data> Stores for WindowStore<K, V> {
    type Open = OpenWindow<K, V>;

    fn names(&self) -> Vec<String> {
        vec![self.declared.name.clone()]
    }

    fn open(&self, w: &mut Wiring<'_>, expiring: &mut Expiring) -> Result<Self::Open> {
        let Declared { name, materialized } = &self.declared;
        let schema = || Slices::new(materialized.key.clone(), materialized.value.clone());
        let (store, retention_ms) = (w.store(name, schema)?, self.retention_ms);
        let rows = store.clone();
        expiring.0.push(Box::new(move |stream_time: Timestamp| {
            let floor = stream_time.saturating_sub(retention_ms);
            if floor > Timestamp::MIN {
                rows.borrow_mut().expire(floor);
            }
        }));
        Ok(OpenWindow { store, retention_ms })
    }
}

macro_rules! stores {
    ($($name:ident),*) => {
        #[allow(non_snake_case, unused_variables, unused_mut, reason = "one macro for all tuples, the empty one included")]
        impl<$($name: Stores),*> Stores for ($($name,)*) {
            type Open = ($($name::Open,)*);

            fn names(&self) -> Vec<String> {
                let ($($name,)*) = self;
                let mut names = Vec::new();
                $(names.extend($name.names());)*
                names
            }

            fn open(&self, w: &mut Wiring<'_>, expiring: &mut Expiring) -> Result<Self::Open> {
                let ($($name,)*) = self;
                Ok(($($name.open(w, expiring)?,)*))
            }
        }
    };
}
stores!();
stores!(A);
stores!(A, B);
stores!(A, B, C);
stores!(A, B, C, D);

/// An open key-value store.
pub struct OpenKeyValue<K: Key, V: Data> {
    store: Shared<KeyValue<K, V>>,
}

impl<K: Key, V: Data> OpenKeyValue<K, V> {
    /// The value of a key.
    pub fn get<L, W>(&self, key: &K, cx: &ProcessCtx<'_, '_, L, W>) -> Result<Option<V>, StateError> {
        let slot = place(&self.store, key, cx)?;
        Ok(self.store.borrow().get(slot, &()).map(|row| row.value.clone()))
    }

    /// Sets the value of a key, as of the row at hand.
    pub fn put<L, W>(&self, key: &K, value: V, cx: &ProcessCtx<'_, '_, L, W>) -> Result<(), StateError> {
        self.update(key, cx, |row| *row = Some(value))
    }

    /// Forgets a key.
    pub fn delete<L, W>(&self, key: &K, cx: &ProcessCtx<'_, '_, L, W>) -> Result<(), StateError> {
        self.update(key, cx, |row| *row = None)
    }

    /// Changes the value of a key in place; leaving `None` forgets the key.
    pub fn update<L, W, R>(
        &self,
        key: &K,
        cx: &ProcessCtx<'_, '_, L, W>,
        change: impl FnOnce(&mut Option<V>) -> R,
    ) -> Result<R, StateError> {
        let slot = place(&self.store, key, cx)?;
        Ok(self
            .store
            .borrow_mut()
            .upsert(slot, (), |row, _| in_place(row, cx.timestamp(), change)))
    }

    /// Visits all keys and values, in the order of key bytes, until `visit` returns false. Reads the whole store: for timers,
    /// not for every row.
    pub fn all<L, W>(
        &self,
        cx: &ProcessCtx<'_, '_, L, W>,
        mut visit: impl FnMut(&K, &V) -> bool,
    ) -> Result<(), StateError> {
        self.store
            .borrow()
            .all(cx.task().engine(), &mut |key, (), row| visit(key, &row.value))
    }
}

/// An open window store. Start times before the retention are refused silently: reads find nothing, writes are dropped.
pub struct OpenWindow<K: Key, V: Data> {
    store: Shared<Slices<K, V>>,
    retention_ms: i64,
}

impl<K: Key, V: Data> OpenWindow<K, V> {
    /// The value of a key and start time.
    pub fn get<L, W>(&self, key: &K, start: Timestamp, cx: &ProcessCtx<'_, '_, L, W>) -> Result<Option<V>, StateError> {
        let slot = place(&self.store, key, cx)?;
        Ok(self.store.borrow().get(slot, &start).map(|row| row.value.clone()))
    }

    /// Sets the value of a key and start time.
    pub fn put<L, W>(
        &self,
        key: &K,
        start: Timestamp,
        value: V,
        cx: &ProcessCtx<'_, '_, L, W>,
    ) -> Result<(), StateError> {
        self.update(key, start, cx, |row| *row = Some(value)).map(|_| ())
    }

    /// Changes the value of a key and start time in place; leaving `None` deletes it. `None` when the start time has expired.
    pub fn update<L, W, R>(
        &self,
        key: &K,
        start: Timestamp,
        cx: &ProcessCtx<'_, '_, L, W>,
        change: impl FnOnce(&mut Option<V>) -> R,
    ) -> Result<Option<R>, StateError> {
        if start < cx.stream_time().saturating_sub(self.retention_ms) {
            return Ok(None);
        }
        let slot = place(&self.store, key, cx)?;
        Ok(Some(
            self.store
                .borrow_mut()
                .upsert(slot, start, |row, _| in_place(row, cx.timestamp(), change)),
        ))
    }

    /// The values of a key with start times in this range, ascending.
    pub fn fetch<L, W>(
        &self,
        key: &K,
        starts: RangeInclusive<Timestamp>,
        cx: &ProcessCtx<'_, '_, L, W>,
    ) -> Result<Vec<(Timestamp, V)>, StateError> {
        let slot = place(&self.store, key, cx)?;
        let store = self.store.borrow();
        let rows = store.cells(slot).iter().filter(|cell| starts.contains(&cell.sub));
        Ok(rows
            .filter_map(|cell| Some((cell.sub, cell.value()?.value.clone())))
            .collect())
    }
}

fn place<S: Schema, L, W>(store: &Shared<S>, key: &S::Key, cx: &ProcessCtx<'_, '_, L, W>) -> Result<Slot, StateError> {
    let mut store = store.borrow_mut();
    let slot = store.slot_of(key);
    store.load_missing(cx.task().engine())?;
    Ok(slot)
}

fn in_place<V, R>(row: &mut Option<Stamped<V>>, timestamp: Timestamp, change: impl FnOnce(&mut Option<V>) -> R) -> R {
    let mut value = row.take().map(|row| row.value);
    let result = change(&mut value);
    *row = value.map(|value| Stamped::new(timestamp, value));
    result
}
