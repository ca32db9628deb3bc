//! Kafka's default partitioner: which partition a key belongs to.
//!
//! Computed by us and never left to a client's setting, because co-partitioning (two topics whose equal keys meet in one
//! task) depends on it.

/// The partition of `key` among `partitions`, as Java's default partitioner chooses it.
///
/// `partitions` below 1 counts as 1.
pub fn partition_for(key: &[u8], partitions: i32) -> i32 {
    let count = partitions.max(1);
    ((murmur2(key) & 0x7fff_ffff) as i32) % count
}

/// The 32-bit murmur2 hash with Kafka's seed.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        h ^= tail.iter().rev().fold(0u32, |k, byte| (k << 8) | u32::from(*byte));
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs of Kafka's own unit test.
    #[test]
    fn same_hashes_as_kafka() {
        let cases: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }

    #[test]
    fn a_partition_is_always_one_of_them() {
        for n in 1..20 {
            for key in 0u32..100 {
                assert!((0..n).contains(&partition_for(&key.to_be_bytes(), n)));
            }
        }
        assert_eq!(partition_for(b"x", 0), 0);
    }
}
