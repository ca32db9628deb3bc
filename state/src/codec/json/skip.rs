//! Values that nobody asked for: passed over, but held to JSON's grammar all the same.

use super::reader::{GiveUp, Reader};

impl Reader<'_> {
    /// Passes over one value.
    pub(super) fn skip(&mut self) -> Result<(), GiveUp> {
        match self.token()? {
            b'"' => self.skip_string().map(drop),
            b'-' | b'0'..=b'9' => self.skip_number(),
            b'{' => self.nested(Self::skip_members),
            b'[' => self.nested(Self::skip_elements),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.give_up(),
        }
    }

    fn skip_members(&mut self) -> Result<(), GiveUp> {
        let mut first = true;
        while self.is_next_member(&mut first)? {
            self.skip_string()?;
            self.colon()?;
            self.skip()?;
        }
        self.end(b'}')
    }

    fn skip_elements(&mut self) -> Result<(), GiveUp> {
        let mut first = true;
        while self.is_next_element(&mut first)? {
            self.skip()?;
        }
        self.end(b']')
    }
}
