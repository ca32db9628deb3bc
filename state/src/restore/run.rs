//! Rows put aside in memory until there are enough of them to be sorted.
//!
//! A row is a *frame*: length of the key and length of the value (both `u32`, little-endian; [`DELETED`] for a deletion),
//! then key and value. A run in memory and a run on disk ([`super::spill`]) are made of the same frames.

use super::memory::Memory;
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
/// A place is the number of a piece, and where the row begins in it.
const AT_BITS: u32 = 22;
/// So many pieces have numbers.
const MOST_PIECES: usize = 1 << (PLACE_BITS - AT_BITS);

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

/// A part of a run.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    rows: usize,
    /// Least and greatest head.
    heads: (u128, u128),
}

impl Piece {
    fn new(bytes: Vec<u8>) -> Self {
        Piece {
            bytes,
            rows: 0,
            heads: (u128::MAX, 0),
        }
    }

    /// What is left for rows. Of its memory, as much stays free as sorting its rows will take.
    fn room(&self, memory: usize) -> usize {
        memory.saturating_sub(self.bytes.len() + self.rows * size_of::<u128>())
    }
}

/// What a row takes as it lies here.
fn row_bytes(key: &[u8], value: Option<[&[u8]; 2]>) -> usize {
    HEADER + key.len() + value.map_or(0, |[first, second]| first.len() + second.len())
}

/// Rows in the order they came in, in pieces of bounded size.
#[derive(Debug)]
pub(super) struct Run {
    memory: Memory,
    /// Oldest first.
    pieces: Vec<Piece>,
    /// Where the rows lie, by key; see [`Run::sort`].
    order: Vec<u128>,
}

impl Run {
    pub(super) fn new(memory: &Memory) -> Self {
        Run {
            memory: memory.clone(),
            pieces: Vec::new(),
            order: Vec::new(),
        }
    }

    /// In how many pieces it is.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Forgets the oldest pieces.
    pub(super) fn forget(&mut self, pieces: usize) {
        for piece in self.pieces.drain(..pieces.min(self.pieces.len())) {
            self.memory.give(piece.bytes);
        }
    }

    /// Adds a row; the parts of `value` follow each other. False when there is no memory left for it: it is not added then,
    /// which does not happen to an empty run.
    #[inline]
    pub(super) fn push(&mut self, key: &[u8], value: Option<[&[u8]; 2]>) -> bool {
        let row = row_bytes(key, value);
        let memory = self.memory.piece_bytes();
        let has_room = |piece: &Piece| piece.room(memory) >= row + size_of::<u128>();
        if !self.pieces.last().is_some_and(has_room) && !self.add_piece(row) {
            return false;
        }
        let Some(Piece { bytes, rows, heads }) = self.pieces.last_mut() else {
            return false;
        };
        let value_len = value.map_or(DELETED, |[first, second]| (first.len() + second.len()) as u32);
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&value_len.to_le_bytes());
        bytes.extend_from_slice(key);
        for part in value.into_iter().flatten() {
            bytes.extend_from_slice(part);
        }
        let head = sort_head(key);
        *heads = (heads.0.min(head), heads.1.max(head));
        *rows += 1;
        true
    }

    #[cold]
    fn add_piece(&mut self, row: usize) -> bool {
        if self.pieces.len() == MOST_PIECES {
            return false;
        }
        let piece = self.memory.take(row, self.pieces.is_empty());
        let found = piece.is_some();
        self.pieces.extend(piece.map(Piece::new));
        found
    }

    fn bytes_at(&self, place: u128) -> &[u8] {
        let place = place as u32 as usize;
        let piece = self.pieces.get(place >> AT_BITS);
        piece
            .and_then(|piece| piece.bytes.get(place & ((1 << AT_BITS) - 1)..))
            .unwrap_or_default()
    }

    fn at(&self, place: u128) -> Frame<'_> {
        Frame::first(self.bytes_at(place)).unwrap_or(Frame {
            key: &[],
            value: None,
            bytes: &[],
        })
    }

    /// The rows of its oldest pieces by key; of the rows of one key only the newest.
    ///
    /// What is sorted is a number for each row: the 96 bits of its key in which keys of this run begin to differ, and its
    /// place. Numbers are sorted without a branch or a look at the row; only rows alike in those bits are looked at again.
    pub(super) fn sort(&mut self, pieces: usize) -> Sorted<'_> {
        let mut order = std::mem::take(&mut self.order);
        let oldest = self.pieces.get(..pieces).unwrap_or(&self.pieces);
        let (least, greatest) = oldest.iter().fold((u128::MAX, 0), |(least, greatest), piece| {
            (piece.heads.0.min(least), piece.heads.1.max(greatest))
        });
        let shift = (least ^ greatest).leading_zeros().min(u128::BITS - 1);
        order.clear();
        order.reserve_exact(oldest.iter().map(|piece| piece.rows).sum());
        for (number, piece) in oldest.iter().enumerate() {
            let mut at = 0;
            while let Some(frame) = piece.bytes.get(at..).and_then(Frame::first) {
                let place = (number << AT_BITS | at) as u128;
                order.push((((sort_head(frame.key) << shift) >> PLACE_BITS) << PLACE_BITS) | place);
                at += frame.bytes.len();
            }
        }
        order.sort_unstable();
        let alike = |a: &u128, b: &u128| a >> PLACE_BITS == b >> PLACE_BITS;
        for group in order.chunk_by_mut(alike).filter(|group| group.len() > 1) {
            group.sort_unstable_by(|a, b| self.at(*a).key.cmp(self.at(*b).key).then(b.cmp(a)));
        }
        order.dedup_by(|older, newest| alike(older, newest) && self.at(*older).key == self.at(*newest).key);
        self.order = order;
        Sorted(self)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.forget(self.pieces.len());
    }
}

/// A run, or a part of it, by key.
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
            for bytes in some.iter().map(|place| run.bytes_at(*place)) {
                // Its beginning, and two cache lines more.
                let line = |at: usize| bytes.get(at).copied();
                std::hint::black_box((line(0), line(64), line(128)));
            }
        };
        let chunks = run.order.chunks(AHEAD).inspect(move |some| near(some));
        chunks.flatten().map(move |place| run.at(*place))
    }
}
