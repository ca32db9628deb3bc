//! JSON as serde's data, borrowed where it can be, in the words that `serde_json` uses to visitors.

use super::access::{Elements, Members, UnitVariant, Variant};
use super::key::Names;
use super::number::{Number, Precision};
use super::reader::{GiveUp, Reader, is_private_to_serde_json};
use serde::de::{Deserializer, Visitor};
use std::borrow::Cow;

/// What several of serde's types share.
impl<'de> Reader<'de> {
    #[inline]
    fn visit_integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.short_number() {
            Some(value) => self.visited(visitor.visit_u64(value)),
            None => self.visit_number(Precision::Double, visitor),
        }
    }

    fn visit_number<V: Visitor<'de>>(&mut self, precision: Precision, visitor: V) -> Result<V::Value, GiveUp> {
        self.token()?;
        let number = self.number(precision)?;
        self.visited(number.visit(visitor))
    }

    #[inline]
    pub(super) fn visit_string<V: Visitor<'de>>(
        &mut self,
        string: Cow<'de, str>,
        visitor: V,
    ) -> Result<V::Value, GiveUp> {
        let answer = match string {
            Cow::Borrowed(string) => visitor.visit_borrowed_str(string),
            Cow::Owned(string) => visitor.visit_str(&string),
        };
        self.visited(answer)
    }

    pub(super) fn visit_i128<V: Visitor<'de>>(&mut self, number: Number, visitor: V) -> Result<V::Value, GiveUp> {
        let value = match number {
            Number::Unsigned(value) => value.into(),
            Number::Signed(value) => value.into(),
            Number::Float(_) => return self.give_up(),
        };
        self.visited(visitor.visit_i128(value))
    }

    pub(super) fn visit_u128<V: Visitor<'de>>(&mut self, number: Number, visitor: V) -> Result<V::Value, GiveUp> {
        match number {
            Number::Unsigned(value) => self.visited(visitor.visit_u128(value.into())),
            Number::Signed(_) | Number::Float(_) => self.give_up(),
        }
    }

    #[inline]
    fn visit_elements<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, GiveUp> {
        self.nested(|reader| {
            let value = visitor.visit_seq(Elements::new(reader))?;
            reader.end(b']')?;
            Ok(value)
        })
    }

    #[inline]
    fn visit_members<V: Visitor<'de>>(&mut self, names: Names, visitor: V) -> Result<V::Value, GiveUp> {
        self.nested(|reader| {
            let value = visitor.visit_map(Members::new(reader, names))?;
            reader.end(b'}')?;
            Ok(value)
        })
    }

    fn visit_word<V: Visitor<'de>>(&mut self, token: u8, visitor: V) -> Result<V::Value, GiveUp> {
        let answer = match token {
            b't' => self.word("true").and_then(|()| visitor.visit_bool(true)),
            b'f' => self.word("false").and_then(|()| visitor.visit_bool(false)),
            b'n' => self.word("null").and_then(|()| visitor.visit_unit()),
            _ => Err(GiveUp),
        };
        self.visited(answer)
    }
}

/// Methods that are another one under a second name.
macro_rules! same {
    ($($method:ident($($arg:ident: $type:ty),*) = $other:ident;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, GiveUp> {
            self.$other(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = GiveUp;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'"' => self.deserialize_str(visitor),
            b'-' | b'0'..=b'9' => self.visit_integer(visitor),
            b'{' => self.visit_members(Names::Text, visitor),
            b'[' => self.visit_elements(visitor),
            token => self.visit_word(token, visitor),
        }
    }

    same! {
        deserialize_i8() = visit_integer;
        deserialize_i16() = visit_integer;
        deserialize_i32() = visit_integer;
        deserialize_i64() = visit_integer;
        deserialize_u8() = visit_integer;
        deserialize_u16() = visit_integer;
        deserialize_u32() = visit_integer;
        deserialize_u64() = visit_integer;
        deserialize_char() = deserialize_str;
        deserialize_string() = deserialize_str;
        deserialize_identifier() = deserialize_str;
        deserialize_byte_buf() = deserialize_bytes;
        deserialize_unit_struct(_name: &'static str) = deserialize_unit;
        deserialize_tuple(_len: usize) = deserialize_seq;
        deserialize_tuple_struct(_name: &'static str, _len: usize) = deserialize_seq;
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        self.visit_number(Precision::Single, visitor)
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        self.visit_number(Precision::Double, visitor)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        self.token()?;
        let number = self.number(Precision::Double)?;
        self.visit_i128(number, visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        self.token()?;
        let number = self.number(Precision::Double)?;
        self.visit_u128(number, visitor)
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            token @ (b't' | b'f') => self.visit_word(token, visitor),
            _ => self.give_up(),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'n' => self.visit_word(b'n', visitor),
            _ => self.give_up(),
        }
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'"' => {
                let string = self.string()?;
                self.visit_string(string, visitor)
            }
            _ => self.give_up(),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'"' => {
                let bytes = self.string_bytes()?;
                self.visited(visitor.visit_borrowed_bytes(bytes))
            }
            _ => self.deserialize_seq(visitor),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'n' => {
                self.word("null")?;
                self.visited(visitor.visit_none())
            }
            _ => visitor.visit_some(self),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, GiveUp> {
        if is_private_to_serde_json(name) {
            return self.give_up();
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'[' => self.visit_elements(visitor),
            _ => self.give_up(),
        }
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'{' => self.visit_members(Names::Text, visitor),
            _ => self.give_up(),
        }
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'{' => self.visit_members(Names::Fields, visitor),
            b'[' => self.visit_elements(visitor),
            _ => self.give_up(),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, GiveUp> {
        match self.token()? {
            b'"' => {
                let answer = visitor.visit_enum(UnitVariant { reader: self });
                self.visited(answer)
            }
            b'{' => self.nested(|reader| {
                let value = visitor.visit_enum(Variant { reader })?;
                reader.end(b'}')?;
                Ok(value)
            }),
            _ => self.give_up(),
        }
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self.peek() {
            Some(b'"') => self.skip_string().map(drop),
            _ => self.skip(),
        }?;
        self.visited(visitor.visit_unit())
    }
}
