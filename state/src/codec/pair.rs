//! Two values as one, for keys made of two parts.

use super::{Codec, DecodeError, Raw};

/// `[length of a, 4 bytes BE][a][b]`: no pair of values can be mistaken for another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pair<A, B>(pub A, pub B);

impl<T: 'static, U: 'static, A: Codec<T>, B: Codec<U>> Codec<(T, U)> for Pair<A, B> {
    fn encode(&self, value: &(T, U), out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.0.encode(&value.0, out);
        let len = (out.len() - at - 4) as u32;
        if let Some(head) = out.get_mut(at..at + 4) {
            head.copy_from_slice(&len.to_be_bytes());
        }
        self.1.encode(&value.1, out);
    }

    fn decode(&self, raw: Raw<'_>) -> Result<(T, U), DecodeError> {
        let split = raw
            .bytes()
            .split_first_chunk::<4>()
            .and_then(|(len, rest)| rest.split_at_checked(u32::from_be_bytes(*len) as usize));
        let Some((a, b)) = split else {
            return Err(DecodeError::Malformed(format!(
                "expected a pair (length, first, second), found {} bytes that are too short for it",
                raw.bytes().len()
            )));
        };
        Ok((self.0.decode(raw.part(a))?, self.1.decode(raw.part(b))?))
    }
}
