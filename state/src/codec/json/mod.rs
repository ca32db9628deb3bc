//! JSON through serde, the readable format of output topics.
//!
//! A message is read twice at most. Our own [`reader`] takes what producers write: strings, numbers of 64 bits, nesting of a
//! hundred or so. Where it meets anything else (a longer number, say, or an error) it gives up without a word, and
//! `serde_json` reads the message from its start: it alone decides what is wrong and says so. So the reader must never
//! accept what `serde_json` refuses, nor read another value; `laws.rs` and `fuzz/` hold it to that. Why:
//! `docs/decisions/0014-json.md`.

mod access;
#[cfg(test)]
mod documents;
mod key;
#[cfg(test)]
mod laws;
mod number;
mod reader;
mod scan;
mod skip;
mod values;

use super::{Codec, DecodeError, Raw};
use serde::{Serialize, de::DeserializeOwned};
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

/// Any serde type as compact JSON.
///
/// What is written is read back as it was: an `f64` or `f32` is the one nearest to the digits, and is written with as many digits
/// as it takes to read the same one again, so that not a bit is lost. (A producer's digits beyond that are rounded: ids of more than
/// 53 bits belong in an integer or a string.) JSON has no infinities and no NaN: they are written as `null`, which an
/// `Option<f64>` reads as `None` and an `f64` refuses.
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// The codec; it has no settings.
    pub const fn new() -> Self {
        Json(PhantomData)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec<T> for Json<T> {
    /// # Panics
    /// When the type has no JSON form at all (a map whose keys are not text, or a failing `Serialize`): a defect of the
    /// type, not of the data.
    #[expect(
        clippy::panic,
        reason = "an unwritable type is a defect of the program, and encoding has no one to tell"
    )]
    fn encode(&self, value: &T, out: &mut Vec<u8>) {
        if let Err(error) = serde_json::to_writer(out, value) {
            panic!(
                "{} cannot be written as JSON: {error}; give it another codec",
                type_name::<T>()
            );
        }
    }

    fn decode(&self, raw: Raw<'_>) -> Result<T, DecodeError> {
        match reader::read(raw.bytes()) {
            Some(value) => Ok(value),
            None => slow(raw.bytes()),
        }
    }
}

/// What the reader left alone.
#[cold]
fn slow<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // Not `from_str`, though it is faster and most of this is UTF-8: where a map has booleans as keys, it looks for text from the
    // second byte of a name on, and does not check that a character begins there (1.0.154).
    serde_json::from_slice(bytes).map_err(|error| DecodeError::malformed("JSON", &error))
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Json<T> {}
impl<T> Default for Json<T> {
    fn default() -> Self {
        Json::new()
    }
}
impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json<{}>", type_name::<T>())
    }
}
