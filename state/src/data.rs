//! What may be a value and what may be a key.

use crate::text::Str;
use bytes::Bytes;
use std::hash::Hash;

/// Anything a row can hold. Clone serves fan-out and undo.
pub trait Data: Clone + Send + 'static {}
impl<T: Clone + Send + 'static> Data for T {}

/// How many bytes a key keeps outside itself, for the memory budget.
pub trait HeapBytes {
    /// Bytes on the heap.
    #[inline]
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// A record key.
pub trait Key: Clone + Send + Hash + Eq + HeapBytes + 'static {
    /// The same key without a handle on a fetch buffer: state must not keep one alive.
    fn detach(&self) -> Self;
}

macro_rules! flat_key {
    ($($t:ty),*) => { $(
        impl HeapBytes for $t {}
        impl Key for $t {
            #[inline]
            fn detach(&self) -> Self {
                *self
            }
        }
    )* };
}
flat_key!((), bool, u8, i32, u32, i64, u64);

impl HeapBytes for Str {
    #[inline]
    fn heap_bytes(&self) -> usize {
        self.heap_len()
    }
}

impl Key for Str {
    #[inline]
    fn detach(&self) -> Self {
        Str::detach(self)
    }
}

impl HeapBytes for String {
    #[inline]
    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl Key for String {
    #[inline]
    fn detach(&self) -> Self {
        self.clone()
    }
}

impl HeapBytes for Bytes {
    #[inline]
    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

impl Key for Bytes {
    #[inline]
    fn detach(&self) -> Self {
        Bytes::copy_from_slice(self)
    }
}

impl<T: HeapBytes> HeapBytes for Option<T> {
    #[inline]
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl<T: Key> Key for Option<T> {
    #[inline]
    fn detach(&self) -> Self {
        self.as_ref().map(T::detach)
    }
}

impl<A: HeapBytes, B: HeapBytes> HeapBytes for (A, B) {
    #[inline]
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.1.heap_bytes()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    #[inline]
    fn detach(&self) -> Self {
        (self.0.detach(), self.1.detach())
    }
}
