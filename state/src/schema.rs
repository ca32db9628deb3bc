//! How one kind of store lays its rows out: everything that differs between store kinds.
//!
//! A store is `Key -> small ordered run of (Sub -> Value)`. In a key-value store the run has one row and `Sub` is `()`; in
//! a window store `Sub` is the start of the slice. Every value carries the timestamp it was last updated with.
//!
//! ```text
//! row in the engine   [sub][key] -> [timestamp 8][value]     sub: nothing, or the slice start in byte order
//! changelog record    [key] or [key][start 8][sequence 4] -> [value], record timestamp = timestamp   (Kafka Streams')
//! ```
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use crate::codec::{Codec, DecodeError, Raw};
use crate::data::{Data, Key};
use crate::{Timestamp, keys};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

/// What tells the rows of one key apart.
pub trait Sub: Copy + Ord + Debug + Send + 'static {
    /// The lowest of all.
    const LOWEST: Self;
    /// The lowest one above this, if there is any.
    fn next(self) -> Option<Self>;
    /// The slice start, where the row can expire.
    fn start(self) -> Option<Timestamp>;
    /// The sub for a slice start: the inverse of [`Sub::start`].
    fn at(start: Timestamp) -> Self;
    /// Appends the head of a row key; byte order is the order of subs.
    fn put(self, out: &mut Vec<u8>);
    /// Splits a row key into the sub and the key bytes.
    fn split(row_key: &[u8]) -> Option<(Self, &[u8])>;
    /// Appends the tail of a changelog key.
    fn put_log(self, out: &mut Vec<u8>);
    /// Splits a changelog key into the key bytes and the sub.
    fn split_log(log_key: &[u8]) -> Option<(&[u8], Self)>;
}

impl Sub for () {
    const LOWEST: Self = ();
    #[inline]
    fn next(self) -> Option<Self> {
        None
    }
    #[inline]
    fn start(self) -> Option<Timestamp> {
        None
    }
    #[inline]
    fn at(_start: Timestamp) -> Self {}
    #[inline]
    fn put(self, _out: &mut Vec<u8>) {}
    #[inline]
    fn split(row_key: &[u8]) -> Option<(Self, &[u8])> {
        Some(((), row_key))
    }
    #[inline]
    fn put_log(self, _out: &mut Vec<u8>) {}
    #[inline]
    fn split_log(log_key: &[u8]) -> Option<(&[u8], Self)> {
        Some((log_key, ()))
    }
}

impl Sub for Timestamp {
    const LOWEST: Self = Timestamp::MIN;
    #[inline]
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    #[inline]
    fn start(self) -> Option<Timestamp> {
        Some(self)
    }
    #[inline]
    fn at(start: Timestamp) -> Self {
        start
    }
    #[inline]
    fn put(self, out: &mut Vec<u8>) {
        keys::put_ordered_time(self, out);
    }
    #[inline]
    fn split(row_key: &[u8]) -> Option<(Self, &[u8])> {
        keys::split_ordered_time(row_key)
    }
    #[inline]
    fn put_log(self, out: &mut Vec<u8>) {
        keys::put_window_log(self, out);
    }
    #[inline]
    fn split_log(log_key: &[u8]) -> Option<(&[u8], Self)> {
        keys::split_window_log(log_key)
    }
}

/// A value and when it was last updated (the greatest timestamp of the records in it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamped<V> {
    /// Event time, ms.
    pub timestamp: Timestamp,
    /// The value.
    pub value: V,
}

impl<V> Stamped<V> {
    /// A value with its time.
    #[inline]
    pub fn new(timestamp: Timestamp, value: V) -> Self {
        Stamped { timestamp, value }
    }
}

/// The types of a store and how keys and values become bytes.
pub trait Schema: 'static {
    /// What rows are found by.
    type Key: Key;
    /// What tells the rows of a key apart.
    type Sub: Sub;
    /// What a row holds.
    type Value: Data;
    /// A note the owning operator keeps with a row while it is dirty. Not stored; reset when the row is sealed.
    type Mark: Copy + Default + 'static;

    /// How keys become bytes. No two keys may have the same bytes.
    fn key_codec(&self) -> &dyn Codec<Self::Key>;
    /// How values become bytes. A value that is written as null is a deletion.
    fn value_codec(&self) -> &dyn Codec<Self::Value>;

    /// Appends `[timestamp][value]`; false when the value is null, that is, deleted.
    fn encode_value(&self, row: &Stamped<Self::Value>, out: &mut Vec<u8>) -> bool {
        let codec = self.value_codec();
        if codec.is_null(&row.value) {
            return false;
        }
        out.extend_from_slice(&row.timestamp.to_be_bytes());
        codec.encode(&row.value, out);
        true
    }

    /// Reads `[timestamp][value]`.
    fn decode_value(&self, bytes: &[u8]) -> Result<Stamped<Self::Value>, DecodeError> {
        let (timestamp, value) = split_stamp(bytes).ok_or_else(|| {
            DecodeError::Malformed(format!("expected a timestamp and a value, found {} bytes", bytes.len()))
        })?;
        Ok(Stamped {
            timestamp,
            value: self.value_codec().decode(Raw::plain(value))?,
        })
    }

    /// Reads a row key.
    fn decode_row_key(&self, bytes: &[u8]) -> Result<(Self::Sub, Self::Key), DecodeError> {
        let (sub, key) = Self::Sub::split(bytes)
            .ok_or_else(|| DecodeError::Malformed(format!("expected a row key, found {} bytes", bytes.len())))?;
        Ok((sub, self.key_codec().decode(Raw::plain(key))?))
    }
}

/// Splits a row value into its timestamp and the bytes of the value.
#[inline]
pub(crate) fn split_stamp(row_value: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (timestamp, value) = row_value.split_first_chunk::<8>()?;
    Some((Timestamp::from_be_bytes(*timestamp), value))
}

/// One value per key.
pub struct KeyValue<K, V, M = ()> {
    codecs: Codecs<K, V>,
    mark: PhantomData<fn() -> M>,
}

/// One value per key and slice of time, from which windows are composed.
pub struct Slices<K, A, M = ()> {
    codecs: Codecs<K, A>,
    mark: PhantomData<fn() -> M>,
}

struct Codecs<K, V> {
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
}

impl<K: Key, V: Data, M> KeyValue<K, V, M> {
    /// A key-value store with these codecs.
    pub fn new(key: Arc<dyn Codec<K>>, value: Arc<dyn Codec<V>>) -> Self {
        KeyValue {
            codecs: Codecs { key, value },
            mark: PhantomData,
        }
    }
}

impl<K: Key, A: Data, M> Slices<K, A, M> {
    /// A store of slices with these codecs.
    pub fn new(key: Arc<dyn Codec<K>>, value: Arc<dyn Codec<A>>) -> Self {
        Slices {
            codecs: Codecs { key, value },
            mark: PhantomData,
        }
    }
}

impl<K: Key, V: Data, M: Copy + Default + 'static> Schema for KeyValue<K, V, M> {
    type Key = K;
    type Sub = ();
    type Value = V;
    type Mark = M;
    fn key_codec(&self) -> &dyn Codec<K> {
        &*self.codecs.key
    }
    fn value_codec(&self) -> &dyn Codec<V> {
        &*self.codecs.value
    }
}

impl<K: Key, A: Data, M: Copy + Default + 'static> Schema for Slices<K, A, M> {
    type Key = K;
    type Sub = Timestamp;
    type Value = A;
    type Mark = M;
    fn key_codec(&self) -> &dyn Codec<K> {
        &*self.codecs.key
    }
    fn value_codec(&self) -> &dyn Codec<A> {
        &*self.codecs.value
    }
}
