//! JSON through serde, the readable format of output topics.

use super::{Codec, DecodeError, Raw};
use serde::{Serialize, de::DeserializeOwned};
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

/// Any serde type as compact JSON.
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
        // Checked to be UTF-8 in one sweep, the parser need not check each string again. What is not UTF-8 goes to the slow
        // parser, which says where it stopped.
        let parsed = match std::str::from_utf8(raw.bytes()) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(raw.bytes()),
        };
        parsed.map_err(|error| DecodeError::malformed("JSON", &error))
    }
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
