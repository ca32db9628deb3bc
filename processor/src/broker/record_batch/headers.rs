//! A record's header block: varint count, then (varint length, name, varint length or -1, value)*.
//!
//! Names are bytes here: a producer may send a name that is not UTF-8, and it must come through as it is.

use super::varint;
use crate::broker::TopicPartition;
use crate::broker::fault::{Fault, Result};

/// One header: its name and its value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Visits the headers of a block in order; the empty block has none. `None` when the block is not well formed, which is
/// known for sure only at its end: a visitor may have seen headers by then.
pub fn visit<'a>(block: &'a [u8], each: &mut dyn FnMut(Header<'a>)) -> Option<()> {
    if block.is_empty() {
        return Some(());
    }
    let mut at = 0;
    let count = varint::take(block, &mut at).filter(|count| *count >= 0)?;
    for _ in 0..count {
        let name = take_bytes(block, &mut at)??;
        let value = take_bytes(block, &mut at)?;
        each((name, value));
    }
    (at == block.len()).then_some(())
}

/// Whether `block` can be written as it is.
pub fn is_well_formed(block: &[u8]) -> bool {
    visit(block, &mut |_| ()).is_some()
}

/// `Misuse` when the block of a record for `tp` cannot be written as it is.
#[inline]
pub(in crate::broker) fn check(block: &[u8], tp: &TopicPartition) -> Result<()> {
    if block.is_empty() || is_well_formed(block) {
        return Ok(());
    }
    Err(Fault::misuse(format!(
        "a record for {tp} has headers that are not well formed"
    )))
}

/// Appends the block of `headers` to `out`; nothing when there are none.
pub fn encode<'a>(headers: impl ExactSizeIterator<Item = Header<'a>>, out: &mut Vec<u8>) {
    if headers.len() == 0 {
        return;
    }
    put(out, headers.len() as i64);
    for (name, value) in headers {
        put(out, name.len() as i64);
        out.extend_from_slice(name);
        put(out, value.map_or(-1, |value| value.len() as i64));
        out.extend_from_slice(value.unwrap_or_default());
    }
}

fn put(out: &mut Vec<u8>, number: i64) {
    let mut bytes = [0u8; varint::MAX_LEN];
    let end = varint::put(&mut bytes, 0, number);
    out.extend_from_slice(&bytes[..end]);
}

/// The next bytes behind their length; the inner `None` is null.
fn take_bytes<'a>(block: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let len = varint::take(block, at)?;
    if len == -1 {
        return Some(None);
    }
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let bytes = block.get(*at..end)?;
    *at = end;
    Some(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn come_back(headers: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
            let given: Vec<Header<'_>> = headers.iter().map(|(n, v)| (n.as_slice(), v.as_deref())).collect();
            let mut block = Vec::new();
            encode(given.iter().copied(), &mut block);
            let mut seen = Vec::new();
            prop_assert!(visit(&block, &mut |header| seen.push(header)).is_some());
            prop_assert_eq!(seen, given);
        }

        #[test]
        fn any_bytes_are_survived(block: Vec<u8>) {
            is_well_formed(&block);
        }
    }

    #[test]
    fn a_count_that_lies_is_refused() {
        assert!(!is_well_formed(&[0xfe, 0xff, 0xff, 0xff, 0x0f]));
        assert!(!is_well_formed(&[2, 1, 0]), "a null name");
        assert!(!is_well_formed(&[0, 7]), "bytes behind the end");
    }
}
