//! Whole batches between bytes and rows: the user's two codecs behind ONE virtual call per batch.

use std::sync::Arc;

use millstream_state::codec::{Codec, DecodeError};

use crate::{
    outbox::{Outbox, TopicRef},
    policy::Reason,
    record::{Batch, Chunk, Data, RawBatch, Row, Span},
};

/// A record that could not be decoded.
#[derive(Debug, Clone)]
pub struct Bad {
    /// Index into the batch's picks.
    pub pick: usize,
    /// Which part, and whether it was null.
    pub reason: Reason,
    /// What the codec said.
    pub error: DecodeError,
}

/// Reads and writes batches of rows.
pub trait RowCodec<K, V>: Send + Sync {
    /// Appends the rows of `raw` to `rows`, in order, and what could not be read to `bad`.
    fn decode(&self, raw: &RawBatch, rows: &mut Vec<Row<K, V>>, bad: &mut Vec<Bad>);

    /// Writes all rows to one topic, with the headers of the records they come from.
    fn encode(&self, batch: &Batch<K, V>, topic: TopicRef, outbox: &mut Outbox);

    /// Writes each row to a topic of its own choice; `topics` is as long as the rows.
    fn encode_each(&self, batch: &Batch<K, V>, topics: &[TopicRef], outbox: &mut Outbox);

    /// Takes out rows whose key would be written as null.
    fn retain_keyed(&self, rows: &mut Vec<Row<K, V>>);
}

/// The user's codecs for a key and a value.
pub struct Codecs<K, V> {
    /// The key's codec.
    pub key: Arc<dyn Codec<K>>,
    /// The value's codec.
    pub value: Arc<dyn Codec<V>>,
    /// Both, by batches.
    pub rows: Arc<dyn RowCodec<K, V>>,
    /// Names of types and codecs: two sources of one topic must agree on it.
    pub name: &'static str,
}

impl<K, V> Clone for Codecs<K, V> {
    fn clone(&self) -> Self {
        Codecs {
            key: self.key.clone(),
            value: self.value.clone(),
            rows: self.rows.clone(),
            name: self.name,
        }
    }
}

impl<K: Data, V: Data> Codecs<K, V> {
    /// Puts two codecs together.
    pub fn new<KC: Codec<K>, VC: Codec<V>>(key: KC, value: VC) -> Self {
        let (key, value) = (Arc::new(key), Arc::new(value));
        let rows = Both {
            key: key.clone(),
            value: value.clone(),
        };
        Codecs {
            key,
            value,
            rows: Arc::new(rows),
            name: std::any::type_name::<(K, V, KC, VC)>(),
        }
    }
}

struct Both<KC, VC> {
    key: Arc<KC>,
    value: Arc<VC>,
}

impl<K: Data, V: Data, KC: Codec<K>, VC: Codec<V>> RowCodec<K, V> for Both<KC, VC> {
    fn decode(&self, raw: &RawBatch, rows: &mut Vec<Row<K, V>>, bad: &mut Vec<Bad>) {
        let chunk = &*raw.chunk;
        rows.reserve(raw.picks.len());
        for (i, pick) in raw.picks.iter().enumerate() {
            let Some(record) = chunk.records().get(pick.index as usize) else {
                continue;
            };
            let key = match read(&*self.key, chunk, record.key) {
                Ok(key) => key,
                Err(error) => {
                    bad.push(Bad {
                        pick: i,
                        reason: reason(&error, Reason::NullKey, Reason::BadKey),
                        error,
                    });
                    continue;
                }
            };
            match read(&*self.value, chunk, record.value) {
                Ok(value) => {
                    rows.push(Row {
                        key,
                        value,
                        timestamp: pick.timestamp,
                        offset: record.offset,
                        seq: pick.seq,
                    });
                }
                Err(error) => {
                    bad.push(Bad {
                        pick: i,
                        reason: reason(&error, Reason::NullValue, Reason::BadValue),
                        error,
                    });
                }
            }
        }
    }

    fn encode(&self, batch: &Batch<K, V>, topic: TopicRef, outbox: &mut Outbox) {
        if batch.origin.has_headers() {
            for row in &batch.rows {
                self.put_with_headers(batch, row, topic, outbox);
            }
            return;
        }
        for row in &batch.rows {
            self.put(row, topic, &[], outbox);
        }
    }

    fn encode_each(&self, batch: &Batch<K, V>, topics: &[TopicRef], outbox: &mut Outbox) {
        for (row, &topic) in batch.rows.iter().zip(topics) {
            self.put_with_headers(batch, row, topic, outbox);
        }
    }

    fn retain_keyed(&self, rows: &mut Vec<Row<K, V>>) {
        rows.retain(|row| !self.key.is_null(&row.key));
    }
}

impl<KC, VC> Both<KC, VC> {
    #[inline]
    fn put<K, V>(&self, row: &Row<K, V>, topic: TopicRef, headers: &[u8], outbox: &mut Outbox)
    where
        KC: Codec<K>,
        VC: Codec<V>,
    {
        let key = |out: &mut Vec<u8>| write(&*self.key, &row.key, out);
        let value = |out: &mut Vec<u8>| write(&*self.value, &row.value, out);
        outbox.encode(
            topic,
            row.timestamp,
            headers,
            key,
            |key| self.key.partition_part(key).len(),
            value,
        );
    }

    fn put_with_headers<K, V>(&self, batch: &Batch<K, V>, row: &Row<K, V>, topic: TopicRef, outbox: &mut Outbox)
    where
        KC: Codec<K>,
        VC: Codec<V>,
    {
        let headers = batch
            .origin
            .find(row.at())
            .map_or(&[][..], |(chunk, record)| chunk.header_block(record));
        self.put(row, topic, headers, outbox);
    }
}

#[inline]
fn read<T, C: Codec<T>>(codec: &C, chunk: &Chunk, span: Span) -> Result<T, DecodeError> {
    match span.of(chunk.buffer()) {
        Some(bytes) => codec.decode(chunk.raw(bytes)),
        None => codec.decode_null(),
    }
}

#[inline]
fn write<T, C: Codec<T>>(codec: &C, value: &T, out: &mut Vec<u8>) -> bool {
    if codec.is_null(value) {
        return false;
    }
    codec.encode(value, out);
    true
}

fn reason(error: &DecodeError, null: Reason, malformed: Reason) -> Reason {
    match error {
        DecodeError::Null => null,
        DecodeError::Malformed(_) => malformed,
    }
}
