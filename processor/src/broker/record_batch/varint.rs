//! Zig-zag varints, 7 bits per byte, lowest first.

/// Longest encoding of a 64-bit number.
pub(super) const MAX_LEN: usize = 10;

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// How many bytes `value` takes.
#[inline]
pub(super) fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at `at`, which has [`MAX_LEN`] bytes of room, and returns the place behind it.
#[inline]
pub(super) fn put<const N: usize>(out: &mut [u8; N], mut at: usize, value: i64) -> usize {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// Reads a number at `*at` and moves it behind; `None` when the bytes end or the number is longer than 64 bits.
#[inline]
pub(super) fn take(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        let raw = u64::from(first);
        return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
    }
    take_long(bytes, at, first)
}

fn take_long(bytes: &[u8], at: &mut usize, first: u8) -> Option<i64> {
    let mut raw = u64::from(first & 0x7f);
    for index in 1..MAX_LEN {
        let byte = *bytes.get(*at)?;
        *at += 1;
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_back(value in prop_oneof![any::<i64>(), -300i64..300]) {
            let mut out = [0u8; MAX_LEN];
            let end = put(&mut out, 0, value);
            prop_assert_eq!(end, len(value));
            let mut at = 0;
            prop_assert_eq!(take(&out[..end], &mut at), Some(value));
            prop_assert_eq!(at, end);
            prop_assert_eq!(take(&out[..end - 1], &mut 0), None);
        }
    }

    #[test]
    fn endless_number_is_refused() {
        assert_eq!(take(&[0xff; 32], &mut 0), None);
    }
}
