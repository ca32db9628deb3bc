//! Numbers: integers of 64 bits, and fractions. Longer integers, and `-0` (which is a fraction to `serde_json`), are not ours.

use super::reader::{GiveUp, Reader};
use serde::de::Visitor;

/// A number, as JSON has it: `serde_json` knows the same three.
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    #[inline]
    pub(super) fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, GiveUp> {
        match self {
            Number::Unsigned(value) => visitor.visit_u64(value),
            Number::Signed(value) => visitor.visit_i64(value),
            Number::Float(value) => visitor.visit_f64(value),
        }
    }
}

/// Which float a fraction is rounded to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Double,
    Single,
}

/// Powers of ten that a double holds exactly, as far as [`DIGITS`] needs them.
const POWERS: [f64; DIGITS + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
];

/// So many digits fit into 64 bits, whichever they are.
const DIGITS: usize = 19;
/// The least number of one digit more; up to [`u64::MAX`] these fit as well.
const TWENTY_DIGITS: u64 = 10_000_000_000_000_000_000;
/// Integers up to here are doubles.
const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
/// Integers up to here are singles, and so are powers of ten up to this one.
const EXACT_SINGLE: u64 = 1 << f32::MANTISSA_DIGITS;
const SINGLE_POWERS: usize = 10;

impl Reader<'_> {
    /// The number that begins here if it is one of the most frequent kind: an integer of up to sixteen digits, without a
    /// sign, and not the last of a text. `None` says nothing, and passes over nothing.
    #[inline(always)] // as `plain_name`
    pub(super) fn short_number(&mut self) -> Option<u64> {
        let (first, second) = self.rest()?.first_chunk::<16>()?.split_at(8);
        let (mut value, mut count) = eight_digits(word(first)?);
        let mut behind = first.get(count);
        if count == 8 {
            let (part, more) = eight_digits(word(second)?);
            let part = if more == 0 { 0 } else { part };
            value = value * SHIFTS.get(more)? + part;
            behind = second.get(more);
            count += more;
        }
        let is_integer = !matches!(behind?, b'.' | b'e' | b'E');
        if is_integer && is_whole(first, count) {
            self.advance(count);
            return Some(value);
        }
        None
    }

    /// The number that begins here.
    pub(super) fn number(&mut self, precision: Precision) -> Result<Number, GiveUp> {
        let rest = self.rest().unwrap_or_default();
        let Some(parts) = Parts::of(rest) else {
            return self.give_up();
        };
        self.advance(parts.len);
        let number = match parts.is_integer() {
            true => parts.integer(),
            false => parts.float(rest, precision).map(Number::Float),
        };
        match number {
            Some(number) => Ok(number),
            None => self.give_up(),
        }
    }

    /// Passes over a number without reading it; of any length, as long as it is JSON.
    pub(super) fn skip_number(&mut self) -> Result<(), GiveUp> {
        match self.rest().and_then(Parts::of) {
            Some(parts) => {
                self.advance(parts.len);
                Ok(())
            }
            None => self.give_up(),
        }
    }
}

/// A number taken apart.
struct Parts {
    negative: bool,
    /// All digits, without the point; wraps.
    value: u64,
    /// How many digits.
    digits: usize,
    /// How many of them stand behind the point.
    decimals: usize,
    exponent: bool,
    /// The first digit.
    first: u8,
    /// Bytes of the whole.
    len: usize,
}

impl Parts {
    /// The number that begins here; `None` if it is none to JSON.
    #[inline(always)] // or it goes through memory, and who skips it pays for its value
    fn of(bytes: &[u8]) -> Option<Self> {
        let (negative, whole) = match bytes {
            [b'-', whole @ ..] => (true, whole),
            whole => (false, whole),
        };
        let (mut value, mut rest) = digits(whole, 0);
        let (mut count, mut decimals, mut exponent) = (whole.len() - rest.len(), 0, false);
        if !is_whole(whole, count) {
            return None;
        }
        if let [b'.', fraction @ ..] = rest {
            (value, rest) = digits(fraction, value);
            decimals = fraction.len() - rest.len();
            count += decimals;
            if decimals == 0 {
                return None;
            }
        }
        if let [b'e' | b'E', b'+' | b'-', power @ ..] | [b'e' | b'E', power @ ..] = rest {
            (_, rest) = digits(power, 0);
            exponent = true;
            if rest.len() == power.len() {
                return None;
            }
        }
        Some(Parts {
            negative,
            value,
            digits: count,
            decimals,
            exponent,
            first: *whole.first()?,
            len: bytes.len() - rest.len(),
        })
    }

    fn is_integer(&self) -> bool {
        self.decimals == 0 && !self.exponent
    }

    /// As far as 64 bits hold it.
    #[inline]
    fn integer(&self) -> Option<Number> {
        // A number of twenty digits that begins with 1 is below 2^65: if 64 bits were too few, what they hold is far smaller.
        let fits =
            self.digits <= DIGITS || (self.digits == DIGITS + 1 && self.first == b'1' && self.value >= TWENTY_DIGITS);
        match (fits, self.negative) {
            (true, false) => Some(Number::Unsigned(self.value)),
            (true, true) if 0 < self.value && self.value <= i64::MIN.unsigned_abs() => {
                Some(Number::Signed((self.value as i64).wrapping_neg()))
            }
            _ => None,
        }
    }

    /// The nearest float; `bytes` begin with this number.
    #[inline]
    fn float(&self, bytes: &[u8], precision: Precision) -> Option<f64> {
        let all = !self.exponent && self.digits <= DIGITS;
        // Where digits and power are exact, their quotient is the nearest float.
        let float = match precision {
            Precision::Double if all && self.value <= EXACT => self.value as f64 / POWERS.get(self.decimals)?,
            Precision::Single if all && self.value <= EXACT_SINGLE && self.decimals <= SINGLE_POWERS => {
                f64::from(self.value as f32 / *POWERS.get(self.decimals)? as f32)
            }
            _ => return nearest(bytes.get(..self.len)?, precision),
        };
        Some(if self.negative { -float } else { float })
    }
}

/// Whether so many digits make an integer: some do, and none but 0 itself begins with 0.
#[inline]
fn is_whole(digits: &[u8], count: usize) -> bool {
    count == 1 || (count > 1 && digits.first() != Some(&b'0'))
}

#[inline]
fn word(eight: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*eight.first_chunk()?))
}

/// Appends the digits at the beginning of `bytes` to those of `value`, which wraps; and says what comes behind them.
#[inline]
fn digits(bytes: &[u8], mut value: u64) -> (u64, &[u8]) {
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let (part, count) = eight_digits(u64::from_le_bytes(*eight));
        let (1.., Some(power)) = (count, SHIFTS.get(count)) else {
            return (value, rest);
        };
        value = value.wrapping_mul(*power).wrapping_add(part);
        if count < 8 {
            return (value, rest.get(count..).unwrap_or_default());
        }
        rest = behind;
    }
    while let [digit @ b'0'..=b'9', behind @ ..] = rest {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        rest = behind;
    }
    (value, rest)
}

/// Powers of ten, by the number of digits to make room for.
const SHIFTS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that the digits at the beginning of eight bytes make, and how many they are; it means nothing if there are none.
/// The first byte is the lowest.
#[inline]
fn eight_digits(bytes: u64) -> (u64, usize) {
    const EACH: u64 = u64::MAX / 255;
    let digits = bytes ^ (EACH * u64::from(b'0'));
    // The highest bit of a byte is set if it is no digit. (A carry out of one spoils only bytes behind it.)
    let others = (digits.wrapping_add(EACH * 0x76) | digits) & (EACH << 7);
    let bits = (others >> 7).trailing_zeros();
    // What is no digit goes out at the top, zeros come in front; then neighbours are joined: to four numbers of two digits,
    // two of four, one of eight. Each step multiplies by (its ten to the n, shifted to the neighbour) + 1.
    let eight = digits.wrapping_shl(64 - bits);
    let four = (eight.wrapping_mul((10 << 8) + 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let two = (four.wrapping_mul((100 << 16) + 1) >> 16) & 0x0000_ffff_0000_ffff;
    let one = two.wrapping_mul((10_000 << 32) + 1) >> 32;
    (one, (bits / 8) as usize)
}

/// What a number is rounded to by the standard library, which rounds correctly. `None` if it is too large.
#[cold]
fn nearest(number: &[u8], precision: Precision) -> Option<f64> {
    let text = std::str::from_utf8(number).ok()?;
    let float = match precision {
        Precision::Double => text.parse().ok()?,
        Precision::Single => f64::from(text.parse::<f32>().ok()?),
    };
    Some(float).filter(|float| float.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_are_read_as_one_by_one(text in "[0-9]{0,30}[^0-9]?.{0,9}") {
            let bytes = text.as_bytes();
            let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
            let value = bytes[..end].iter().fold(0u64, |value, byte| value.wrapping_mul(10).wrapping_add((byte - b'0').into()));
            prop_assert_eq!(digits(bytes, 0), (value, &bytes[end..]));
        }

        #[test]
        fn eight_bytes_are_read_as_one_by_one(bytes: [u8; 8]) {
            let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let value = bytes[..count].iter().fold(0u64, |value, byte| value * 10 + u64::from(byte - b'0'));
            let (read, len) = eight_digits(u64::from_le_bytes(bytes));
            prop_assert_eq!((if len == 0 { 0 } else { read }, len), (value, count));
        }
    }
}
