//! Where a string ends, found 32 bytes at a time.
//!
//! Without `unsafe`: loops over arrays of a fixed length, in the shape that the compiler turns into vector instructions (here
//! sixteen for a block).

/// Bytes looked at together.
const BLOCK: usize = 32;

/// The places of a block, from first to last.
#[expect(clippy::indexing_slicing, reason = "at compile time, where it cannot go wrong later")]
const PLACES: [u8; BLOCK] = {
    let (mut places, mut i) = ([0; BLOCK], 0);
    while i < BLOCK {
        places[i] = i as u8;
        i += 1;
    }
    places
};

/// Whether a byte may stand in a string as it is: no quote, no escape, no control character.
#[inline]
const fn is_plain(byte: u8) -> bool {
    (byte != b'"') & (byte != b'\\') & (byte >= 0x20)
}

/// The place of the first byte at or behind `from` that is not plain; 255 if there is none.
///
/// Inlined always: a call costs a third of it.
#[inline(always)]
fn first_special(block: &[u8; BLOCK], from: u8) -> u8 {
    // Each byte becomes its place if it is wanted, else 255 ("all ones"); the least of them is the answer.
    let mut places = PLACES;
    for (place, &byte) in places.iter_mut().zip(block) {
        let wanted = !is_plain(byte) & (*place >= from);
        *place |= u8::from(!wanted).wrapping_neg();
    }
    places.iter().fold(u8::MAX, |least, &place| least.min(place))
}

/// How long the run of plain characters at the beginning of `bytes` is.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks();
    for (i, block) in blocks.iter().enumerate() {
        let place = first_special(block, 0);
        if place != u8::MAX {
            return i * BLOCK + usize::from(place);
        }
    }
    // Less than a block is left: it lies in the last block of all, of which the beginning is known.
    let (Some(block), known) = (bytes.last_chunk(), blocks.len() * BLOCK) else {
        return bytes.iter().take_while(|&&byte| is_plain(byte)).count();
    };
    let start = bytes.len() - BLOCK;
    match first_special(block, (known - start) as u8) {
        u8::MAX => bytes.len(),
        place => start + usize::from(place),
    }
}

/// The same for what most strings are, shorter than a block; `None` where it is not, or the bytes end before.
#[inline(always)]
pub(super) fn near_plain_len(bytes: &[u8]) -> Option<usize> {
    let place = usize::from(first_special(bytes.first_chunk()?, 0));
    (place < BLOCK).then_some(place)
}

/// How long the run of plain characters of one byte is, looked at one by one: for names.
///
/// Names are short and the same in each message, so the processor foresees where they end and goes on at once. From a block it
/// would have to wait for the place: fewer instructions, and yet a quarter more time for a whole message.
#[inline(always)]
pub(super) fn plain_ascii_len(bytes: &[u8]) -> usize {
    let plain = bytes
        .iter()
        .take_while(|&&byte| PLAIN_ASCII.get(usize::from(byte)) == Some(&true));
    plain.count()
}

#[expect(clippy::indexing_slicing, reason = "at compile time, where it cannot go wrong later")]
static PLAIN_ASCII: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128 {
        table[byte as usize] = is_plain(byte);
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_run_ends_where_a_plain_loop_says(
            bytes in prop::collection::vec(prop_oneof![8 => 0x20..=0xffu8, 1 => Just(b'"'), 1 => 0..0x20u8, 1 => Just(b'\\')], 0..200),
            sparse in prop::collection::vec(Just(b'x'), 0..200),
        ) {
            let bytes = [sparse, bytes].concat();
            for at in 0..=bytes.len() {
                let rest = &bytes[at..];
                let len = rest.iter().take_while(|&&byte| is_plain(byte)).count();
                prop_assert_eq!(plain_len(rest), len);
                let is_near = len < BLOCK && rest.len() >= BLOCK;
                prop_assert_eq!(near_plain_len(rest), is_near.then_some(len));
                let ascii = rest.iter().take_while(|&&byte| is_plain(byte) && byte.is_ascii()).count();
                prop_assert_eq!(plain_ascii_len(rest), ascii);
            }
        }
    }
}
