//! The memory that restores share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows come in pieces of so many bytes, at most. A place in a piece must fit into [`super::run`]'s numbers.
const PIECE_BYTES: usize = 4 << 20;
/// Little memory is cut into so many pieces.
const PIECES: usize = 8;

/// Bounds what the restores of a thread hold in memory together; a clone is another handle on the same bound. Pieces that
/// one restore is done with are the next one's, so that memory is asked of the system once.
#[derive(Debug, Clone)]
pub struct Memory {
    piece_bytes: usize,
    pool: Arc<Mutex<Pool>>,
}

#[derive(Debug)]
struct Pool {
    /// Pieces that may still be made. Below 0 are those that were needed without fail.
    left: isize,
    idle: Vec<Vec<u8>>,
}

impl Memory {
    /// So many bytes for all restores that it is given to. Each takes one piece (an eighth, or 4 MiB if that is less)
    /// whether or not the others have left any.
    pub fn new(bytes: usize) -> Self {
        let piece_bytes = (bytes / PIECES).clamp(1, PIECE_BYTES);
        let pool = Pool {
            left: isize::try_from(bytes / piece_bytes).unwrap_or(isize::MAX),
            idle: Vec::new(),
        };
        Memory {
            piece_bytes,
            pool: Arc::new(Mutex::new(pool)),
        }
    }

    /// Size of a piece. A row that is larger gets a piece of its size.
    pub(super) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// An empty piece for a row of this size, if there is one left or it is needed without fail.
    pub(super) fn take(&self, row: usize, needed: bool) -> Option<Vec<u8>> {
        let mut pool = self.pool();
        if row <= self.piece_bytes
            && let Some(idle) = pool.idle.pop()
        {
            return Some(idle);
        }
        let bytes = row.max(self.piece_bytes);
        let pieces = self.pieces(bytes);
        if pool.left < pieces && !needed {
            return None;
        }
        pool.left -= pieces;
        Some(Vec::with_capacity(bytes))
    }

    /// Takes a piece back.
    pub(super) fn give(&self, mut piece: Vec<u8>) {
        let mut pool = self.pool();
        piece.clear();
        if piece.capacity() > self.piece_bytes || pool.left < 0 {
            pool.left += self.pieces(piece.capacity());
        } else {
            pool.idle.push(piece);
        }
    }

    /// How many pieces so many bytes count for.
    fn pieces(&self, bytes: usize) -> isize {
        isize::try_from(bytes.div_ceil(self.piece_bytes)).unwrap_or(isize::MAX)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
