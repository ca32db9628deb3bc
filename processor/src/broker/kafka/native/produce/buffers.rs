//! Buffers of batches, used again.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// How much is kept for use.
const KEPT: usize = 4 << 20;

/// Free buffers; a clone is the same store of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Free>>);

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// A buffer, with what is in it.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = free.buffers.pop().unwrap_or_default();
        free.bytes -= buffer.capacity();
        buffer
    }

    pub(super) fn give(&self, buffer: Vec<u8>) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() > 0 && free.bytes + buffer.capacity() <= KEPT {
            free.bytes += buffer.capacity();
            free.buffers.push(buffer);
        }
    }

    /// The same bytes, to be shared; the buffer comes back when the last share is gone.
    pub(super) fn share(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent {
            buffer,
            home: self.clone(),
        })
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_nobody_has_it_any_more() {
        let buffers = Buffers::default();
        let bytes = buffers.share(Vec::with_capacity(100));
        let other = bytes.clone();
        drop(bytes);
        assert_eq!(buffers.take().capacity(), 0);
        drop(other);
        assert_eq!(buffers.take().capacity(), 100);
        assert_eq!(buffers.take().capacity(), 0);
    }

    #[test]
    fn not_more_is_kept_than_is_worth_it() {
        let buffers = Buffers::default();
        (0..100).for_each(|_| buffers.give(Vec::with_capacity(1 << 20)));
        let kept = std::iter::repeat_with(|| buffers.take().capacity());
        assert!(kept.take_while(|capacity| *capacity > 0).sum::<usize>() <= KEPT);
    }
}
