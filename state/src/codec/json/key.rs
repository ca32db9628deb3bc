//! Names of members: always strings, which integers and booleans are read out of where a map has them as keys.

use super::number::{Number, Precision};
use super::reader::{GiveUp, Reader, is_private_to_serde_json};
use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;

/// What names are given as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Text.
    Text,
    /// Bytes, for a struct's fields: names are only compared, so the message need not be checked to be UTF-8 for them. A type
    /// to which they are more (`flatten`, maps) does not ask for a struct.
    Fields,
}

/// The name that begins with the quote at which the reader stands.
pub(super) struct Key<'a, 'de> {
    pub(super) reader: &'a mut Reader<'de>,
    pub(super) names: Names,
}

impl Key<'_, '_> {
    /// A number in quotes.
    fn number(&mut self, precision: Precision) -> Result<Number, GiveUp> {
        self.reader.advance(1);
        let number = self.reader.number(precision)?;
        self.reader.expect(b'"')?;
        Ok(number)
    }
}

macro_rules! numbers {
    ($($method:ident: $precision:ident)*) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, GiveUp> {
            let number = self.number(Precision::$precision)?;
            self.reader.visited(number.visit(visitor))
        }
    )*};
}

impl<'de> Deserializer<'de> for Key<'_, 'de> {
    type Error = GiveUp;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        let name = self.reader.string()?;
        self.reader.visit_string(name, visitor)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.names {
            Names::Text => self.deserialize_any(visitor),
            Names::Fields => match self.reader.plain_name() {
                Some(name) => self.reader.visited(visitor.visit_borrowed_bytes(name)),
                None => self.deserialize_any(visitor),
            },
        }
    }

    numbers! {
        deserialize_i8: Double deserialize_i16: Double deserialize_i32: Double deserialize_i64: Double
        deserialize_u8: Double deserialize_u16: Double deserialize_u32: Double deserialize_u64: Double
        deserialize_f32: Single deserialize_f64: Double
    }

    fn deserialize_i128<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, GiveUp> {
        let number = self.number(Precision::Double)?;
        self.reader.visit_i128(number, visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, GiveUp> {
        let number = self.number(Precision::Double)?;
        self.reader.visit_u128(number, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        let value = match self.reader.string()? {
            Cow::Borrowed("true") => true,
            Cow::Borrowed("false") => false,
            _ => return self.reader.give_up(),
        };
        self.reader.visited(visitor.visit_bool(value))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, GiveUp> {
        if is_private_to_serde_json(name) {
            return self.reader.give_up();
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, GiveUp> {
        self.reader.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        self.reader.deserialize_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        self.reader.deserialize_bytes(visitor)
    }

    forward_to_deserialize_any! {
        char str string unit unit_struct seq tuple tuple_struct map struct ignored_any
    }
}
