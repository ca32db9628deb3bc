//! Reading what the driver wrote.

use std::{cell::RefCell, rc::Rc};

use millstream_state::{
    Timestamp,
    codec::{Codec, DecodeError, Raw},
    data::Data,
};

use super::run::Driver;
use crate::headers::Headers;

/// A record as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// Header names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A topic to read from; remembers how far it has read.
pub struct Output<K, V> {
    driver: Rc<RefCell<Driver>>,
    topic: String,
    key: Box<dyn Codec<K>>,
    value: Box<dyn Codec<V>>,
    next: std::cell::Cell<usize>,
}

impl<K: Data, V: Data> Output<K, V> {
    pub(super) fn new(
        driver: Rc<RefCell<Driver>>,
        topic: &str,
        key: Box<dyn Codec<K>>,
        value: Box<dyn Codec<V>>,
    ) -> Self {
        Output {
            driver,
            topic: topic.to_owned(),
            key,
            value,
            next: std::cell::Cell::new(0),
        }
    }

    /// The next record, `None` when there is none.
    pub fn read(&self) -> Result<Option<Record<K, V>>, DecodeError> {
        let driver = self.driver.borrow();
        let Some(raw) = driver.topic(&self.topic).get(self.next.get()) else {
            return Ok(None);
        };
        self.next.set(self.next.get() + 1);
        let headers = Headers::new(&raw.headers)
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec)))
            .collect();
        Ok(Some(Record {
            key: decode(&*self.key, raw.key.as_deref())?,
            value: decode(&*self.value, raw.value.as_deref())?,
            timestamp: raw.timestamp,
            headers,
        }))
    }

    /// All records not read yet, as key, value and timestamp.
    pub fn read_all(&self) -> Result<Vec<(K, V, Timestamp)>, DecodeError> {
        let mut all = Vec::new();
        while let Some(Record {
            key, value, timestamp, ..
        }) = self.read()?
        {
            all.push((key, value, timestamp));
        }
        Ok(all)
    }

    /// Number of records not read yet.
    pub fn len(&self) -> usize {
        self.driver
            .borrow()
            .topic(&self.topic)
            .len()
            .saturating_sub(self.next.get())
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn decode<T: Data>(codec: &dyn Codec<T>, bytes: Option<&[u8]>) -> Result<T, DecodeError> {
    bytes.map_or_else(|| codec.decode_null(), |bytes| codec.decode(Raw::plain(bytes)))
}
