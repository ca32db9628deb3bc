//! Compact values for internal use: bincode 2 behind a format byte. The only place that names `bincode`.
//!
//! Layout: `[1][bincode: little endian, variable-length integers]`. The first byte lets a later version change the
//! format and still read old rows. Never for keys: variable-length integers do not sort and two encodings of one key
//! must never exist.

use super::{Codec, DecodeError, Raw};
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Serialize, de::DeserializeOwned};
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

const FORMAT: u8 = 1;
/// Bounds what a damaged length can make us allocate.
const LIMIT: usize = 64 << 20;
const CONFIG: Configuration<LittleEndian, Varint, Limit<LIMIT>> = bincode::config::standard().with_limit::<LIMIT>();

/// Any serde type as bincode. For values of stores and repartition topics that only Millstream reads.
pub struct Bincode<T>(PhantomData<fn() -> T>);

impl<T> Bincode<T> {
    /// The codec; it has no settings.
    pub const fn new() -> Self {
        Bincode(PhantomData)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for Bincode<T> {
    /// # Panics
    /// When the type cannot be written at all (a sequence of unknown length, a failing `Serialize`) or the value is larger
    /// than 64 MiB: a defect of the type, not of the data.
    #[expect(
        clippy::panic,
        reason = "an unwritable type is a defect of the program, and encoding has no one to tell"
    )]
    fn encode(&self, value: &T, out: &mut Vec<u8>) {
        out.push(FORMAT);
        if let Err(error) = bincode::serde::encode_into_std_write(value, out, CONFIG) {
            panic!(
                "{} cannot be written by bincode: {error}; give it another codec",
                type_name::<T>()
            );
        }
    }

    fn decode(&self, raw: Raw<'_>) -> Result<T, DecodeError> {
        let Some((&format, body)) = raw.bytes().split_first() else {
            return Err(DecodeError::Malformed(
                "expected a bincode value, found no bytes".into(),
            ));
        };
        if format != FORMAT {
            return Err(DecodeError::Malformed(format!(
                "expected format byte {FORMAT} (bincode), found {format}"
            )));
        }
        let (value, used) = bincode::serde::decode_from_slice(body, CONFIG)
            .map_err(|error| DecodeError::malformed("a bincode value", &error))?;
        if used != body.len() {
            return Err(DecodeError::Malformed(format!(
                "{} bytes too many after a bincode value",
                body.len() - used
            )));
        }
        Ok(value)
    }
}

impl<T> Clone for Bincode<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Bincode<T> {}
impl<T> Default for Bincode<T> {
    fn default() -> Self {
        Bincode::new()
    }
}
impl<T> fmt::Debug for Bincode<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bincode<{}>", type_name::<T>())
    }
}
