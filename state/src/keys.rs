//! Byte layouts of keys that carry time. All numbers are big-endian.
//!
//! ```text
//! on topics (Kafka Streams' own, so that Java consumers read them)
//!   windowed key                 [key][start 8]              the end is not stored: the reader knows the window size
//!   window changelog key         [key][start 8][sequence 4]  sequence is 0: one value per key and start
//!   session key (also changelog) [key][end 8][start 8]
//! in stores (ordered by time, then by key)
//!   window row                   [start 8, sign flipped][key]
//! ```
//! Time stands first in stores: expiry is then one range, closing a window scans one range, and writes are nearly
//! sequential. The sign is flipped so that times before 1970 sort first.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use crate::Timestamp;

/// Appends `[start]` to a key: Kafka Streams' windowed key as it stands on topics.
#[inline]
pub fn put_windowed(start: Timestamp, key: &mut Vec<u8>) {
    key.extend_from_slice(&start.to_be_bytes());
}

/// Splits a windowed topic key into the inner key and the window start.
#[inline]
pub fn split_windowed(bytes: &[u8]) -> Option<(&[u8], Timestamp)> {
    let (key, start) = bytes.split_last_chunk::<8>()?;
    Some((key, Timestamp::from_be_bytes(*start)))
}

/// Appends `[start][sequence 0]` to a key: Kafka Streams' window changelog key.
#[inline]
pub fn put_window_log(start: Timestamp, key: &mut Vec<u8>) {
    key.extend_from_slice(&start.to_be_bytes());
    key.extend_from_slice(&[0; 4]);
}

/// Splits a window changelog key into the inner key and the window start; the sequence number is not used by us.
#[inline]
pub fn split_window_log(bytes: &[u8]) -> Option<(&[u8], Timestamp)> {
    let (rest, _sequence) = bytes.split_last_chunk::<4>()?;
    split_windowed(rest)
}

/// Appends `[end][start]` to a key: Kafka Streams' session key.
#[inline]
pub fn put_session(start: Timestamp, end: Timestamp, key: &mut Vec<u8>) {
    key.extend_from_slice(&end.to_be_bytes());
    key.extend_from_slice(&start.to_be_bytes());
}

/// Splits a session key into the inner key, start and end.
#[inline]
pub fn split_session(bytes: &[u8]) -> Option<(&[u8], Timestamp, Timestamp)> {
    let (rest, start) = split_windowed(bytes)?;
    let (key, end) = split_windowed(rest)?;
    Some((key, start, end))
}

/// Appends a time so that byte order is time order.
#[inline]
pub fn put_ordered_time(time: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(&((time as u64) ^ (1 << 63)).to_be_bytes());
}

/// Splits off a time written by [`put_ordered_time`].
#[inline]
pub fn split_ordered_time(bytes: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (time, rest) = bytes.split_first_chunk::<8>()?;
    Some(((u64::from_be_bytes(*time) ^ (1 << 63)) as Timestamp, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layouts_are_those_of_kafka_streams() {
        let mut key = b"k".to_vec();
        put_windowed(258, &mut key);
        assert_eq!(key, b"k\0\0\0\0\0\0\x01\x02");
        let mut key = b"k".to_vec();
        put_window_log(1, &mut key);
        assert_eq!(key, b"k\0\0\0\0\0\0\0\x01\0\0\0\0");
        let mut key = b"k".to_vec();
        put_session(1, 2, &mut key);
        assert_eq!(key, b"k\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01");
    }

    #[test]
    fn short_keys_are_refused() {
        assert_eq!(split_windowed(&[0; 7]), None);
        assert_eq!(split_window_log(&[0; 11]), None);
        assert_eq!(split_session(&[0; 15]), None);
        assert_eq!(split_ordered_time(&[0; 7]), None);
    }

    proptest! {
        #[test]
        fn what_is_put_together_comes_apart(key: Vec<u8>, start: i64, end: i64) {
            let mut windowed = key.clone();
            put_windowed(start, &mut windowed);
            prop_assert_eq!(split_windowed(&windowed), Some((&key[..], start)));
            let mut log = key.clone();
            put_window_log(start, &mut log);
            prop_assert_eq!(split_window_log(&log), Some((&key[..], start)));
            let mut session = key.clone();
            put_session(start, end, &mut session);
            prop_assert_eq!(split_session(&session), Some((&key[..], start, end)));
        }

        #[test]
        fn byte_order_is_time_order(a: i64, b: i64, key: Vec<u8>) {
            let row = |time| {
                let mut row = Vec::new();
                put_ordered_time(time, &mut row);
                row.extend_from_slice(&key);
                row
            };
            let (first, second) = (row(a), row(b));
            prop_assert_eq!(first.cmp(&second), a.cmp(&b));
            prop_assert_eq!(split_ordered_time(&first), Some((a, &key[..])));
        }
    }
}
