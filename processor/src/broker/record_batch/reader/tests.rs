use std::sync::Arc;

use bytes::Bytes;
use millstream_topology::record::Chunk;
use proptest::prelude::*;

use super::super::{ATTRIBUTES_AT, BatchBuilder, CONTROL_BIT, COUNT_AT, CRC_AT, set_base_offset};
use super::*;

/// A record as a test gives and gets it.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn small() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn plain() -> impl Strategy<Value = Plain> {
    let headers = prop::collection::vec((small(), prop::option::of(small())), 0..3);
    (
        any::<i64>(),
        prop::option::of(small()),
        prop::option::of(small()),
        headers,
    )
        .prop_map(|(timestamp, key, value, headers)| Plain {
            timestamp,
            key,
            value,
            headers,
        })
}

fn block(record: &Plain) -> Vec<u8> {
    let mut block = Vec::new();
    headers::encode(
        record.headers.iter().map(|(n, v)| (n.as_slice(), v.as_deref())),
        &mut block,
    );
    block
}

fn batch(records: &[Plain], base: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for record in records {
        let block = block(record);
        let most = builder.len_with(record.key.as_deref(), record.value.as_deref(), &block);
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &block);
        assert!(builder.len() <= most);
    }
    let mut sealed = builder.seal().unwrap_or_default();
    set_base_offset(&mut sealed, base);
    sealed
}

fn open(buffer: Vec<u8>, from: i64) -> Result<(Decoded, Vec<(i64, Plain)>)> {
    let mut records = Vec::new();
    let decoded = decode(&buffer, from, &mut records)?;
    let chunk = Chunk::new(Arc::from("t"), 0, Bytes::from(buffer), records);
    let plain = |record: &RawRecord| {
        let mut found = Vec::new();
        let block = chunk.header_block(record);
        assert!(headers::visit(block, &mut |(n, v)| found.push((n.to_vec(), v.map(<[u8]>::to_vec)))).is_some());
        Plain {
            timestamp: record.timestamp,
            key: chunk.key(record).map(<[u8]>::to_vec),
            value: chunk.value(record).map(<[u8]>::to_vec),
            headers: found,
        }
    };
    let opened = chunk
        .records()
        .iter()
        .map(|record| (record.offset, plain(record)))
        .collect();
    Ok((decoded, opened))
}

proptest! {
    #[test]
    fn records_come_back(
        first in prop::collection::vec(plain(), 1..20),
        second in prop::collection::vec(plain(), 0..20),
        base in 0i64..1 << 40,
        skip in 0i64..25,
    ) {
        let mut buffer = batch(&first, base);
        let middle = base + first.len() as i64;
        if !second.is_empty() {
            buffer.extend(batch(&second, middle));
        }
        let end = middle + second.len() as i64;
        let len = buffer.len();
        let (decoded, opened) = open(buffer, base + skip).map_err(|f| TestCaseError::fail(f.to_string()))?;
        prop_assert_eq!(decoded, Decoded { next: end, bytes: len });
        let expected: Vec<_> = (base..).zip(first.iter().chain(&second).cloned()).skip(skip as usize).collect();
        prop_assert_eq!(opened, expected);
    }

    /// Whatever was flipped in a batch that claims to be whole: an error, or (in the parts the checksum leaves out, which
    /// are base offset and leader epoch) records as they were.
    #[test]
    fn a_flipped_bit_is_found(records in prop::collection::vec(plain(), 1..10), at: prop::sample::Index, bit in 0u8..8) {
        let mut buffer = batch(&records, 5);
        let at = at.index(buffer.len());
        buffer[at] ^= 1 << bit;
        match open(buffer, 0) {
            Err(_) => (),
            Ok((_, opened)) => {
                prop_assert!(at < 8 || (12..16).contains(&at), "flip at {} not seen", at);
                prop_assert_eq!(opened.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), records);
            }
        }
    }

    /// Damage with a checksum that fits: nothing panics and no memory is taken for records that are not there.
    #[test]
    fn hostile_bytes_are_survived(
        records in prop::collection::vec(plain(), 1..10),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut buffer = batch(&records, 5);
        for (at, byte) in damage {
            let at = at.index(buffer.len());
            buffer[at] = byte;
        }
        let crc = crc32c::crc32c(&buffer[CRC_AT + 4..]);
        buffer[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        let len = buffer.len();
        let mut records = Vec::new();
        let _ = decode(&buffer, 0, &mut records);
        prop_assert!(records.capacity() <= len);
    }

    #[test]
    fn any_bytes_are_survived(buffer: Vec<u8>) {
        let _ = decode(&buffer, 0, &mut Vec::new());
    }
}

fn one(value: &str) -> Plain {
    Plain {
        timestamp: -7,
        key: None,
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    }
}

#[test]
fn a_batch_cut_off_behind_others_is_left_for_the_next_fetch() {
    let mut buffer = batch(&[one("a"), one("b")], 0);
    let whole = buffer.len();
    buffer.extend(&batch(&[one("c")], 2)[..30]);
    let (decoded, opened) = open(buffer, 0).unwrap();
    assert_eq!(decoded, Decoded { next: 2, bytes: whole });
    assert_eq!(opened.len(), 2);
}

#[test]
fn a_count_that_lies_takes_no_memory() {
    let mut buffer = batch(&[one("a")], 0);
    buffer[COUNT_AT..COUNT_AT + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    let crc = crc32c::crc32c(&buffer[CRC_AT + 4..]);
    buffer[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    let mut records = Vec::new();
    assert!(decode(&buffer, 0, &mut records).is_err());
    assert!(records.capacity() < 16);
}

#[test]
fn markers_move_the_position_and_compressed_batches_say_so() {
    for (bits, expected) in [(CONTROL_BIT, Ok(())), (3, Err("lz4")), (7, Err("unknown"))] {
        let mut buffer = batch(&[one("a")], 4);
        buffer[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&bits.to_be_bytes());
        let crc = crc32c::crc32c(&buffer[CRC_AT + 4..]);
        buffer[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        match (open(buffer, 0), expected) {
            (Ok((decoded, opened)), Ok(())) => assert_eq!((decoded.next, opened.len()), (5, 0)),
            (Err(fault), Err(word)) => assert!(fault.to_string().contains(word), "{fault}"),
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// The bytes of one batch, so that the layout cannot change unseen.
#[test]
fn the_layout_is_kafkas() {
    let record = Plain {
        timestamp: 1000,
        key: Some(b"k".to_vec()),
        value: None,
        headers: vec![(b"h".to_vec(), Some(b"v".to_vec()))],
    };
    let bytes = batch(&[record], 258);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let crc = format!("{:08x}", crc32c::crc32c(&bytes[21..]));
    let expected = [
        "0000000000000102",
        "0000003d",
        "00000000",
        "02",
        &crc,
        "0000",
        "00000000",
        "00000000000003e8",
        "00000000000003e8",
        "ffffffffffffffff",
        "ffff",
        "ffffffff",
        "00000001",
        "16",
        "00",
        "00",
        "00",
        "02",
        "6b",
        "01",
        "02",
        "02",
        "68",
        "02",
        "76",
    ];
    assert_eq!(hex, expected.concat());
}
