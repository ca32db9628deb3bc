//! Header blocks in RecordBatch v2 form: a count, then name and value of each; all lengths are zig-zag varints.
//!
//! Blocks come from outside: reading stops at the first byte that makes no sense and never panics.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

/// Reads the headers of a block. Ends early when the block is damaged.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i64,
}

impl<'a> Headers<'a> {
    /// The headers of `block`; an empty block has none.
    pub fn new(block: &'a [u8]) -> Self {
        let mut rest = block;
        let left = varint(&mut rest).unwrap_or(0);
        Headers { rest, left }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let name = bytes(&mut self.rest)??;
        let value = bytes(&mut self.rest)?;
        Some((name, value))
    }
}

/// Appends to `out` the block that holds the headers of `block` followed by `more`.
pub fn append(block: &[u8], more: &[(&str, Option<&[u8]>)], out: &mut Vec<u8>) {
    let count = Headers::new(block).count();
    put_varint((count + more.len()) as i64, out);
    for (name, value) in Headers::new(block) {
        put_bytes(Some(name), out);
        put_bytes(value, out);
    }
    for (name, value) in more {
        put_bytes(Some(name.as_bytes()), out);
        put_bytes(*value, out);
    }
}

/// A length and that many bytes; the inner `None` is null (length -1).
fn bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = varint(rest)?;
    if len == -1 {
        return Some(None);
    }
    let (head, tail) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = tail;
    Some(Some(head))
}

fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

fn put_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    put_varint(bytes.map_or(-1, |b| b.len() as i64), out);
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn put_varint(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_appended_is_read_back(
            first in proptest::collection::vec(("[a-zé]{0,200}", proptest::option::of(any::<Vec<u8>>())), 0..70),
            second in proptest::collection::vec(("[a-z]{0,9}", proptest::option::of(any::<Vec<u8>>())), 0..3),
        ) {
            let (mut one, mut both) = (vec![], vec![]);
            let view = |h: &'_ [(String, Option<Vec<u8>>)]| h.iter().map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>();
            let borrowed = |h: &'_ Vec<(String, Option<Vec<u8>>)>, out: &mut Vec<u8>, block: &[u8]| {
                let more: Vec<_> = h.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
                append(block, &more, out);
            };
            borrowed(&first, &mut one, &[]);
            borrowed(&second, &mut both, &one);
            let read: Vec<_> = Headers::new(&both)
                .map(|(n, v)| (String::from_utf8(n.to_vec()).unwrap(), v.map(<[u8]>::to_vec)))
                .collect();
            let mut expected = view(&first);
            expected.extend(view(&second));
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn hostile_blocks_end_and_never_panic(block in any::<Vec<u8>>()) {
            prop_assert!(Headers::new(&block).count() <= block.len());
        }
    }
}
