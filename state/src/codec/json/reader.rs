//! The fast reader: steps through a message. It knows no errors, only "not mine" ([`GiveUp`]).

use super::scan;
use serde::Deserialize;
use serde::de;
use std::borrow::Cow;
use std::fmt;

/// Arrays and objects inside each other; `serde_json` stops here too.
const DEPTH: u8 = 127;

/// The value that `bytes` hold, from end to end; `None` when that is for `serde_json` to say.
#[inline]
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Option<T> {
    let mut reader = Reader {
        bytes,
        text: None,
        at: 0,
        depth: DEPTH,
        gave_up: false,
    };
    let value = T::deserialize(&mut reader).ok()?;
    reader.skip_whitespace();
    // A type may hide an error ("whatever cannot be read is a default"), and read on behind it.
    (reader.at == bytes.len() && !reader.gave_up).then_some(value)
}

/// The message is not for this reader, or is wrong: `serde_json` will tell which.
#[derive(Debug)]
pub(super) struct GiveUp;

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("left to serde_json")
    }
}

impl std::error::Error for GiveUp {}

impl de::Error for GiveUp {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        GiveUp
    }
}

/// Types of `serde_json` that ask its own reader for more than serde has words for: raw values, numbers as text.
pub(super) fn is_private_to_serde_json(name: &str) -> bool {
    name.starts_with("$serde_json::private::")
}

/// A place in a message.
pub(super) struct Reader<'de> {
    bytes: &'de [u8],
    /// The same bytes, once somebody wants text of them: they are then checked to be UTF-8 in one sweep, which is cheaper than
    /// string by string. Who wants only numbers never pays for that.
    text: Option<&'de str>,
    at: usize,
    /// How much deeper arrays and objects may go.
    depth: u8,
    /// Some part was not read; whatever the type made of that, the message is read again.
    gave_up: bool,
}

/// Steps in the text.
impl<'de> Reader<'de> {
    #[inline]
    pub(super) fn give_up<T>(&mut self) -> Result<T, GiveUp> {
        self.gave_up = true;
        Err(GiveUp)
    }

    /// What a visitor answered. Its error is remembered as ours is.
    #[inline]
    pub(super) fn visited<T>(&mut self, answer: Result<T, GiveUp>) -> Result<T, GiveUp> {
        self.gave_up |= answer.is_err();
        answer
    }

    /// What is left to read; always there.
    #[inline]
    pub(super) fn rest(&self) -> Option<&'de [u8]> {
        self.bytes.get(self.at..)
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over so many bytes, which have been looked at.
    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), GiveUp> {
        if self.peek() != Some(byte) {
            return self.give_up();
        }
        self.at += 1;
        Ok(())
    }

    /// The next byte that is no whitespace, not passed over yet.
    #[inline]
    pub(super) fn token(&mut self) -> Result<u8, GiveUp> {
        match self.peek() {
            Some(byte) if byte > b' ' => Ok(byte),
            _ => self.token_behind_whitespace(),
        }
    }

    #[inline(never)]
    fn token_behind_whitespace(&mut self) -> Result<u8, GiveUp> {
        self.skip_whitespace();
        match self.peek() {
            Some(byte) => Ok(byte),
            None => self.give_up(),
        }
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over `true`, `false` or `null`.
    #[inline]
    pub(super) fn word(&mut self, word: &str) -> Result<(), GiveUp> {
        if !self.rest().is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            return self.give_up();
        }
        self.at += word.len();
        Ok(())
    }

    /// The string whose opening quote comes next. If there are escapes in it, `serde_json` reads it.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'de, str>, GiveUp> {
        let text = match self.text {
            Some(text) => text,
            None => self.checked_text()?,
        };
        let start = self.at;
        let escapes = self.skip_string()?;
        match text.get(start + 1..self.at - 1) {
            Some(string) if !escapes => Ok(Cow::Borrowed(string)),
            _ => self.unescaped(text.get(start..self.at)).map(Cow::Owned),
        }
    }

    #[inline(never)]
    fn checked_text(&mut self) -> Result<&'de str, GiveUp> {
        self.text = std::str::from_utf8(self.bytes).ok();
        match self.text {
            Some(text) => Ok(text),
            None => self.give_up(),
        }
    }

    #[inline(never)]
    fn unescaped(&mut self, quoted: Option<&str>) -> Result<String, GiveUp> {
        match quoted.and_then(|quoted| serde_json::from_str(quoted).ok()) {
            Some(string) => Ok(string),
            None => self.give_up(),
        }
    }

    /// The same as bytes, not checked to be UTF-8. With escapes it is not ours.
    pub(super) fn string_bytes(&mut self) -> Result<&'de [u8], GiveUp> {
        let start = self.at + 1;
        match (self.skip_string()?, self.bytes.get(start..self.at - 1)) {
            (false, Some(bytes)) => Ok(bytes),
            _ => self.give_up(),
        }
    }

    /// The string whose opening quote comes next, if it is as names are: a few plain characters of ASCII. Passes over nothing
    /// if it is not.
    #[inline(always)] // keeps the place in a register between the names, the colons and the commas
    pub(super) fn plain_name(&mut self) -> Option<&'de [u8]> {
        let body = self.bytes.get(self.at + 1..)?;
        let (name, [b'"', ..]) = body.split_at_checked(scan::plain_ascii_len(body))? else {
            return None;
        };
        self.at += name.len() + 2;
        Some(name)
    }

    /// Passes over the string whose opening quote comes next; says whether there are escapes in it.
    #[inline(never)] // or it is copied into every type, many times
    pub(super) fn skip_string(&mut self) -> Result<bool, GiveUp> {
        let Some(body) = self.bytes.get(self.at + 1..) else {
            return self.give_up();
        };
        match scan::near_plain_len(body) {
            Some(len) if body.get(len) == Some(&b'"') => {
                self.at += len + 2;
                Ok(false)
            }
            _ => self.skip_long_string(body),
        }
    }

    #[inline(never)]
    fn skip_long_string(&mut self, body: &[u8]) -> Result<bool, GiveUp> {
        let (mut len, mut escapes) = (0, false);
        while let Some(rest) = body.get(len..) {
            len += scan::plain_len(rest);
            match body.get(len..) {
                Some([b'"', ..]) => {
                    self.at += len + 2;
                    return Ok(escapes);
                }
                Some([b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..]) => len += 2,
                Some([b'\\', b'u', a, b, c, d, ..]) if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
                    len += 6
                }
                _ => break,
            }
            escapes = true;
        }
        self.give_up()
    }

    /// Passes over a bracket, goes one level deeper for `inside`, and comes back.
    #[inline]
    pub(super) fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, GiveUp>) -> Result<T, GiveUp> {
        if self.depth == 0 {
            return self.give_up();
        }
        self.depth -= 1;
        self.at += 1;
        let answer = inside(self);
        self.depth += 1;
        self.visited(answer)
    }

    /// Passes over the bracket that ends an array or object; whoever read it may have stopped too early.
    #[inline]
    pub(super) fn end(&mut self, bracket: u8) -> Result<(), GiveUp> {
        self.token()?;
        self.expect(bracket)
    }

    /// Goes to the next element of an array, past a comma unless it is the first; or says that there is none.
    #[inline]
    pub(super) fn is_next_element(&mut self, first: &mut bool) -> Result<bool, GiveUp> {
        let is_first = std::mem::take(first);
        match self.token()? {
            b']' => Ok(false),
            b',' if !is_first => {
                self.at += 1;
                match self.token()? {
                    b']' => self.give_up(),
                    _ => Ok(true),
                }
            }
            _ if is_first => Ok(true),
            _ => self.give_up(),
        }
    }

    /// Goes to the next name of an object, past a comma unless it is the first; or says that there is none.
    #[inline]
    pub(super) fn is_next_member(&mut self, first: &mut bool) -> Result<bool, GiveUp> {
        if !*first && self.peek() == Some(b',') && self.bytes.get(self.at + 1) == Some(&b'"') {
            self.at += 1;
            return Ok(true);
        }
        self.is_first_or_last_member(std::mem::take(first))
    }

    /// The same with whitespace between, or at the beginning or end of the object.
    #[inline(never)]
    fn is_first_or_last_member(&mut self, is_first: bool) -> Result<bool, GiveUp> {
        let mut token = self.token()?;
        if token == b'}' {
            return Ok(false);
        }
        if !is_first {
            self.expect(b',')?;
            token = self.token()?;
        }
        match token {
            b'"' => Ok(true),
            _ => self.give_up(),
        }
    }

    /// Passes over the colon between a name and its value.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), GiveUp> {
        match self.peek() {
            Some(b':') => {
                self.at += 1;
                Ok(())
            }
            _ => self.colon_behind_whitespace(),
        }
    }

    #[inline(never)]
    fn colon_behind_whitespace(&mut self) -> Result<(), GiveUp> {
        self.skip_whitespace();
        self.expect(b':')
    }
}
