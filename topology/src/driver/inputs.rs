//! Feeding the driver.

use std::{cell::RefCell, rc::Rc};

use millstream_state::{Timestamp, codec::Codec, data::Data};

use super::run::{Driver, Raw};
use crate::{error::Result, headers};

/// A topic to write to.
pub struct Input<K, V> {
    raw: RawInput,
    key: Box<dyn Codec<K>>,
    value: Box<dyn Codec<V>>,
}

impl<K: Data, V: Data> Input<K, V> {
    pub(super) fn new(
        driver: Rc<RefCell<Driver>>,
        topic: &str,
        key: Box<dyn Codec<K>>,
        value: Box<dyn Codec<V>>,
    ) -> Self {
        Input {
            raw: RawInput::new(driver, topic),
            key,
            value,
        }
    }

    /// Writes a record; it is processed as [`super::Options::batch`] says.
    pub fn pipe(&self, key: &K, value: &V, timestamp: Timestamp) -> Result<()> {
        self.pipe_with_headers(key, value, timestamp, &[])
    }

    /// Writes a record with headers.
    pub fn pipe_with_headers(
        &self,
        key: &K,
        value: &V,
        timestamp: Timestamp,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<()> {
        let (key, value) = (bytes(&*self.key, key), bytes(&*self.value, value));
        self.raw
            .pipe_with_headers(key.as_deref(), value.as_deref(), timestamp, headers)
    }
}

fn bytes<T: Data>(codec: &dyn Codec<T>, value: &T) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    codec.encode(value, &mut out);
    (!codec.is_null(value)).then_some(out)
}

/// A topic to write bytes to.
pub struct RawInput {
    driver: Rc<RefCell<Driver>>,
    topic: String,
}

impl RawInput {
    pub(super) fn new(driver: Rc<RefCell<Driver>>, topic: &str) -> Self {
        RawInput {
            driver,
            topic: topic.to_owned(),
        }
    }

    /// Writes a record; `None` is null.
    pub fn pipe(&self, key: Option<&[u8]>, value: Option<&[u8]>, timestamp: Timestamp) -> Result<()> {
        self.pipe_with_headers(key, value, timestamp, &[])
    }

    /// Writes a record with headers.
    pub fn pipe_with_headers(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<()> {
        let mut block = Vec::new();
        if !headers.is_empty() {
            headers::append(&[], headers, &mut block);
        }
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        self.driver.borrow_mut().pipe(
            &self.topic,
            Raw {
                key,
                value,
                timestamp,
                headers: block,
            },
        )
    }
}
