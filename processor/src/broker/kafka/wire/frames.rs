//! Cuts what arrives into answers: a length of four bytes, then the answer.
//!
//! A large answer is read straight into the buffer that its records will be used from, and that buffer comes back when
//! the last of them is gone. A length from the wire is bounded, and memory is taken as bytes arrive, not by the length.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::reader::Malformed;

/// From this size on, an answer has a buffer of the pool.
const LARGE: usize = 16 << 10;
/// The first piece of a large buffer.
const PIECE: usize = 256 << 10;
/// How much the pool keeps for reuse.
const KEPT: usize = 32 << 20;

/// Buffers for reuse.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// A buffer that is large enough if there is one, else the largest.
    fn take(&self, length: usize) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Sorted by size.
        let place = free.partition_point(|buffer| buffer.len() < length);
        if place < free.len() {
            free.remove(place)
        } else {
            free.pop().unwrap_or_default()
        }
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() >= LARGE && free.iter().map(Vec::len).sum::<usize>() + buffer.len() <= KEPT {
            let place = free.partition_point(|other| other.len() < buffer.len());
            free.insert(place, buffer);
        }
    }
}

/// A buffer of the pool. All of it stays initialised, so that only its first use pays for that.
struct Pooled {
    bytes: Vec<u8>,
    filled: usize,
    pool: Pool,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.bytes));
    }
}

/// The answers of one connection.
pub(super) struct Frames {
    pool: Pool,
    most: usize,
    /// A length, or a small answer with its length, that is not complete.
    small: Vec<u8>,
    large: Option<Large>,
    complete: VecDeque<Bytes>,
}

struct Large {
    buffer: Pooled,
    length: usize,
}

impl Frames {
    /// Answers of up to `most` bytes.
    pub(super) fn new(pool: Pool, most: usize) -> Self {
        Self {
            pool,
            most,
            small: Vec::new(),
            large: None,
            complete: VecDeque::new(),
        }
    }

    /// Where the next bytes go, when they belong to a large answer; to be followed by [`Frames::filled`].
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        let Large { buffer, length } = self.large.as_mut()?;
        if buffer.filled == buffer.bytes.len() {
            let size = (buffer.filled * 2).max(PIECE).min(*length);
            buffer.bytes.resize(size, 0);
        }
        let end = buffer.bytes.len().min(*length);
        buffer.bytes.get_mut(buffer.filled..end)
    }

    /// `count` bytes were put where [`Frames::room`] said.
    pub(super) fn filled(&mut self, count: usize) {
        if let Some(large) = &mut self.large {
            large.buffer.filled += count;
        }
        if self
            .large
            .as_ref()
            .is_some_and(|large| large.buffer.filled >= large.length)
            && let Some(large) = self.large.take()
        {
            self.complete.push_back(Bytes::from_owner(large.buffer));
        }
    }

    /// Takes what came, however it is cut.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if let Some(room) = self.room() {
                let count = room.len().min(bytes.len());
                let (now, later) = bytes.split_at(count);
                room[..count].copy_from_slice(now);
                bytes = later;
                self.filled(count);
                continue;
            }
            let needed = match self.small.first_chunk::<4>() {
                None => 4 - self.small.len(),
                Some(prefix) => 4 + self.checked(*prefix)? - self.small.len(),
            };
            let (now, later) = bytes.split_at(needed.min(bytes.len()));
            self.small.extend_from_slice(now);
            bytes = later;
            self.advance()?;
        }
        Ok(())
    }

    /// A whole length or a whole small answer moves on.
    fn advance(&mut self) -> Result<(), Malformed> {
        let Some(prefix) = self.small.first_chunk::<4>() else {
            return Ok(());
        };
        let length = self.checked(*prefix)?;
        if length >= LARGE {
            let buffer = Pooled {
                bytes: self.pool.take(length),
                filled: 0,
                pool: self.pool.clone(),
            };
            self.large = Some(Large { buffer, length });
            self.small.clear();
        } else if self.small.len() == length + 4 {
            self.complete.push_back(Bytes::copy_from_slice(&self.small[4..]));
            self.small.clear();
        }
        Ok(())
    }

    fn checked(&self, prefix: [u8; 4]) -> Result<usize, Malformed> {
        let length = i32::from_be_bytes(prefix);
        match usize::try_from(length) {
            // The shortest answer is its correlation id.
            Ok(length) if (4..=self.most).contains(&length) => Ok(length),
            _ => Err(Malformed::new(match &prefix {
                [0x14..=0x17, 3, ..] => "it speaks TLS: set security.protocol to SSL or SASL_SSL".to_owned(),
                b"HTTP" => "it speaks HTTP: bootstrap.servers names something else than Kafka".to_owned(),
                _ => format!(
                    "an answer of {length} bytes is announced, more than {} is not taken",
                    self.most
                ),
            })),
        }
    }

    /// The next complete answer.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.complete.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(answers: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for answer in answers {
            bytes.extend((answer.len() as i32).to_be_bytes());
            bytes.extend(answer);
        }
        bytes
    }

    fn frames() -> Frames {
        Frames::new(Pool::default(), 1 << 20)
    }

    /// Puts `bytes` in as a connection does, in pieces of the given sizes.
    fn put(frames: &mut Frames, mut bytes: &[u8], cuts: &[usize]) -> Result<Vec<Bytes>, Malformed> {
        let mut cuts = cuts.iter().cycle();
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let cut = (*cuts.next().unwrap()).min(bytes.len());
            match frames.room() {
                Some(room) => {
                    let count = cut.min(room.len());
                    room[..count].copy_from_slice(&bytes[..count]);
                    frames.filled(count);
                    bytes = &bytes[count..];
                }
                None => {
                    frames.feed(&bytes[..cut])?;
                    bytes = &bytes[cut..];
                }
            }
            out.extend(std::iter::from_fn(|| frames.pop()));
        }
        Ok(out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn answers_come_out_as_they_went_in_however_they_are_cut(
            sizes in prop::collection::vec(prop_oneof![4..200_usize, LARGE - 2..LARGE + 2, 300_000..700_000_usize], 1..6),
            cuts in prop::collection::vec(prop_oneof![1..9_usize, 1000..100_000_usize], 1..5),
        ) {
            let answers: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, size)| vec![i as u8; *size]).collect();
            let cuts: Vec<usize> = if sizes.iter().sum::<usize>() > 100_000 {
                cuts.iter().map(|cut| cut * 50).collect()
            } else {
                cuts
            };
            let out = put(&mut frames(), &framed(&answers), &cuts).unwrap();
            prop_assert_eq!(out, answers);
        }

        #[test]
        fn random_bytes_take_no_more_memory_than_they_are(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = frames();
            let _ = put(&mut frames, &bytes, &[7]);
            let taken = frames.large.as_ref().map_or(0, |large| large.buffer.bytes.len());
            prop_assert!(taken <= PIECE);
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error_at_once() {
        for (bytes, part) in [
            (&b"\xff\xff\xff\xff"[..], "-1 bytes"),
            (b"\0\0\0\x03", "3 bytes"),
            (b"\x7f\xff\xff\xff", "more than 1048576"),
            (b"\x15\x03\x03\0", "TLS"),
            (b"HTTP/1.1", "HTTP"),
        ] {
            let error = put(&mut frames(), bytes, &[3]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_buffer_comes_back_when_the_last_part_of_it_is_gone() {
        let mut frames = frames();
        let answer = framed(&[vec![1; 500_000]]);
        let first = put(&mut frames, &answer, &[100_000]).unwrap().remove(0);
        let part = first.slice(10..20);
        drop(first);
        assert!(frames.pool.0.lock().unwrap().is_empty());
        let place = part.as_ptr() as usize - 10;
        drop(part);
        assert_eq!(frames.pool.0.lock().unwrap().len(), 1);
        let second = put(&mut frames, &framed(&[vec![2; 400_000]]), &[100_000])
            .unwrap()
            .remove(0);
        assert_eq!(second.as_ptr() as usize, place);
        assert_eq!(second, vec![2; 400_000]);
    }

    #[test]
    fn the_pool_does_not_grow_without_end() {
        let pool = Pool::default();
        for _ in 0..100 {
            pool.give(vec![0; 1 << 20]);
        }
        assert_eq!(pool.0.lock().unwrap().len(), KEPT >> 20);
        pool.give(vec![0; 10]);
        assert_eq!(pool.take(1).len(), 1 << 20);
    }
}
