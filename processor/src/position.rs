//! What travels in the metadata of an offset commit: how far each changelog belongs to it, and the operators' notes.
//!
//! ```text
//! ms1 s:<store>=<next changelog offset> ... n:<node>=<hex bytes> ...
//! ```
//! Text, because Kafka's metadata is text and an operator should be able to read it with `kafka-consumer-groups`. Names of
//! stores and nodes are Kafka names (letters, digits, `.`, `_`, `-`), so they need no escapes.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::error::Error;

const VERSION: &str = "ms1";

/// A task's state as of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// For each logged store, the changelog offset after its last record that belongs to the commit.
    pub stores: BTreeMap<String, i64>,
    /// Notes of nodes (stream time and the like).
    pub notes: BTreeMap<String, Vec<u8>>,
}

impl Position {
    /// The text form.
    pub fn encode(&self) -> String {
        let mut text = VERSION.to_owned();
        for (store, next) in &self.stores {
            let _ = write!(text, " s:{store}={next}");
        }
        for (node, bytes) in &self.notes {
            let _ = write!(text, " n:{node}=");
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }

    /// Reads the text form. `None` for metadata that is not ours (another tool set the offset).
    ///
    /// # Errors
    /// `Fatal` for metadata that begins as ours and cannot be read: guessing would lose or repeat state.
    pub fn decode(text: &str) -> Result<Option<Position>, Error> {
        let mut words = text.split(' ');
        match words.next() {
            Some(VERSION) => {}
            Some(other) if other.starts_with("ms") && other[2..].parse::<u32>().is_ok() => {
                return Err(Error::fatal(format!(
                    "commit metadata has version {other}, this program reads {VERSION}: run a newer one"
                )));
            }
            _ => return Ok(None),
        }
        let mut position = Position::default();
        for word in words {
            position
                .word(word)
                .ok_or_else(|| Error::fatal(format!("commit metadata is damaged at `{word}`")))?;
        }
        Ok(Some(position))
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.rsplit_once('=')?;
        if let Some(store) = name.strip_prefix("s:") {
            self.stores.insert(store.to_owned(), value.parse().ok()?);
        } else {
            self.notes.insert(name.strip_prefix("n:")?.to_owned(), unhex(value)?);
        }
        Some(())
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?) as u8);
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            stores in proptest::collection::btree_map("[a-zA-Z0-9._-]{1,20}", 0..i64::MAX, 0..5),
            notes in proptest::collection::btree_map("[a-zA-Z0-9._-]{1,20}", any::<Vec<u8>>(), 0..5),
        ) {
            let position = Position { stores, notes };
            prop_assert_eq!(Position::decode(&position.encode()).unwrap(), Some(position));
        }

        #[test]
        fn hostile_text_never_panics(text in "(ms1 )?[ -~é]{0,40}") {
            let _ = Position::decode(&text);
        }
    }

    #[test]
    fn strangers_are_ignored_and_newer_versions_refused() {
        assert_eq!(Position::decode("").unwrap(), None);
        assert_eq!(Position::decode("set by hand").unwrap(), None);
        assert!(
            Position::decode("ms2 x")
                .unwrap_err()
                .to_string()
                .contains("run a newer one")
        );
        assert!(Position::decode("ms1 s:a=x").is_err());
    }

    #[test]
    fn text_is_readable() {
        let mut position = Position::default();
        position.stores.insert("counts".into(), 42);
        position
            .notes
            .insert("KSTREAM-AGGREGATE-0000000003".into(), vec![1, 255]);
        assert_eq!(position.encode(), "ms1 s:counts=42 n:KSTREAM-AGGREGATE-0000000003=01ff");
    }
}
