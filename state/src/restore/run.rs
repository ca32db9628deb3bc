//! Rows put aside in memory until there are enough of them to be sorted.
//!
//! A row is a *frame*: length of the key and length of the value (both `u32`, little-endian; [`DELETED`] for a deletion),
//! then key and value. A run in memory and a run on disk ([`super::spill`]) are made of the same frames.

use crate::error::{Result, StateError};
use crate::overlay::sort_head;

/// Lengths before a key.
const HEADER: usize = 8;
/// In place of a value's length.
const DELETED: u32 = u32::MAX;
/// Rows lie in the order they came in but leave in the order of their keys, so each would wait for memory. So many are
/// looked at together first, for then they wait at the same time.
const AHEAD: usize = 16;
/// What is kept of a row to sort it: 96 bits of its key and its place.
const PLACE_BITS: u32 = 32;

/// A row as it is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) key: &'a [u8],
    /// `None` deletes the key.
    pub(super) value: Option<&'a [u8]>,
    /// As it lies in the run.
    pub(super) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`; `None` when it is not whole.
    #[inline]
    pub(super) fn first(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let (key_len, rest) = bytes.split_first_chunk::<4>()?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let value_len = u32::from_le_bytes(*value_len);
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let value = match value_len {
            DELETED => None,
            length => Some(rest.get(..length as usize)?),
        };
        let length = HEADER + key.len() + value.map_or(0, <[u8]>::len);
        let bytes = bytes.get(..length)?;
        Some(Frame { key, value, bytes })
    }
}

/// Rows in the order they came in.
#[derive(Debug)]
pub(super) struct Run {
    bytes: Vec<u8>,
    rows: usize,
    /// Least and greatest head.
    heads: (u128, u128),
    /// Where the rows lie, by key; see [`Run::sort`].
    order: Vec<u128>,
}

impl Run {
    pub(super) fn new() -> Self {
        Run {
            bytes: Vec::new(),
            rows: 0,
            heads: (u128::MAX, 0),
            order: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Memory in use, with what sorting will take.
    pub(super) fn mem(&self) -> usize {
        self.bytes.len() + self.rows * size_of::<u128>()
    }

    /// Forgets its rows.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.rows, self.heads) = (0, (u128::MAX, 0));
    }

    /// Adds a row: `key` appends its key, the parts of `value` follow each other. `None` when `key` refuses; the run is
    /// then as it was.
    #[inline]
    pub(super) fn push(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>) -> Option<()>,
        value: Option<[&[u8]; 2]>,
    ) -> Option<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER]);
        if key(&mut self.bytes).is_none() {
            self.bytes.truncate(start);
            return None;
        }
        let head = sort_head(&self.bytes[start + HEADER..]);
        let key_len = self.bytes.len() - start - HEADER;
        let mut value_len = DELETED;
        if let Some([first, second]) = value {
            self.bytes.extend_from_slice(first);
            self.bytes.extend_from_slice(second);
            value_len = (first.len() + second.len()) as u32;
        }
        self.bytes[start..start + 4].copy_from_slice(&(key_len as u32).to_le_bytes());
        self.bytes[start + 4..start + HEADER].copy_from_slice(&value_len.to_le_bytes());
        self.heads = (self.heads.0.min(head), self.heads.1.max(head));
        self.rows += 1;
        Some(())
    }

    fn at(&self, place: u128) -> Frame<'_> {
        let place = place as u32 as usize;
        let whole = self.bytes.get(place..).and_then(Frame::first);
        whole.unwrap_or(Frame {
            key: &[],
            value: None,
            bytes: &[],
        })
    }

    /// Its rows by key; of the rows of one key only the newest.
    ///
    /// What is sorted is a number for each row: the 96 bits of its key in which keys of this run begin to differ, and its
    /// place. Numbers are sorted without a branch or a look at the row; only rows alike in those bits are looked at again.
    pub(super) fn sort(&mut self) -> Result<Sorted<'_>> {
        if u32::try_from(self.bytes.len()).is_err() {
            return Err(StateError::Misuse(format!(
                "a restore was given runs of {} bytes; they must stay below 4 GiB",
                self.bytes.len()
            )));
        }
        let shift = (self.heads.0 ^ self.heads.1).leading_zeros().min(u128::BITS - 1);
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.reserve_exact(self.rows);
        let mut place = 0;
        while let Some(frame) = self.bytes.get(place..).and_then(Frame::first) {
            order.push((((sort_head(frame.key) << shift) >> PLACE_BITS) << PLACE_BITS) | place as u128);
            place += frame.bytes.len();
        }
        order.sort_unstable();
        let alike = |a: &u128, b: &u128| a >> PLACE_BITS == b >> PLACE_BITS;
        for group in order.chunk_by_mut(alike).filter(|group| group.len() > 1) {
            group.sort_unstable_by(|a, b| self.at(*a).key.cmp(self.at(*b).key).then(b.cmp(a)));
        }
        order.dedup_by(|older, newest| alike(older, newest) && self.at(*older).key == self.at(*newest).key);
        self.order = order;
        Ok(Sorted(self))
    }
}

/// A run by key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sorted<'a>(&'a Run);

impl<'a> Sorted<'a> {
    pub(super) fn len(self) -> usize {
        self.0.order.len()
    }

    /// The rows, by key.
    pub(super) fn rows(self) -> impl Iterator<Item = Frame<'a>> {
        let run = self.0;
        let near = |some: &[u128]| {
            for place in some.iter().map(|place| *place as u32 as usize) {
                // Its beginning, and its second cache line.
                let byte = |at: usize| run.bytes.get(at).copied();
                std::hint::black_box((byte(place), byte(place + 64)));
            }
        };
        let chunks = run.order.chunks(AHEAD).inspect(move |some| near(some));
        chunks.flatten().map(move |place| run.at(*place))
    }
}
