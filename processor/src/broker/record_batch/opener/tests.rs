use proptest::prelude::*;

use super::super::compression::tests::WRITERS;
use super::super::{
    ATTRIBUTES_AT, BatchBuilder, CONTROL_BIT, CRC_AT, LENGTH_END, PRODUCER_AT, TRANSACTION_BIT, set_base_offset,
};
use super::*;
use crate::broker::FaultKind;

const BATCH_BYTES: usize = 1 << 20;

/// A batch as a test describes it.
#[derive(Debug, Clone)]
struct Spec {
    values: Vec<Vec<u8>>,
    /// Which of the writers.
    writer: usize,
    /// Of a transaction.
    producer: Option<i64>,
    control: bool,
}

fn plain(values: &[&str]) -> Spec {
    Spec {
        values: values.iter().map(|value| value.as_bytes().to_vec()).collect(),
        writer: 0,
        producer: None,
        control: false,
    }
}

fn of_transaction(producer: i64, value: &str) -> Spec {
    Spec {
        producer: Some(producer),
        ..plain(&[value])
    }
}

fn marker(producer: i64) -> Spec {
    Spec {
        control: true,
        ..of_transaction(producer, "")
    }
}

/// Overwrites part of a batch and sets its length and checksum right.
fn patch(batch: &mut [u8], at: usize, bytes: &[u8]) {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let rest = (batch.len() - LENGTH_END) as u32;
    batch[8..12].copy_from_slice(&rest.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_AT + 4..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

impl Spec {
    fn bytes(&self, base: i64) -> Vec<u8> {
        let (_, compression, write) = WRITERS[self.writer];
        let mut builder = BatchBuilder::default();
        for (index, value) in self.values.iter().enumerate() {
            builder.append(base + index as i64, None, Some(value), &[]);
        }
        let sealed = builder.seal().unwrap();
        let mut batch = sealed[..HEADER_LEN].to_vec();
        batch.extend(write(&sealed[HEADER_LEN..]));
        let mut attributes = compression as i16;
        if self.producer.is_some() {
            attributes |= TRANSACTION_BIT;
        }
        if self.control {
            attributes |= CONTROL_BIT;
        }
        patch(&mut batch, ATTRIBUTES_AT, &attributes.to_be_bytes());
        patch(&mut batch, PRODUCER_AT, &self.producer.unwrap_or(-1).to_be_bytes());
        set_base_offset(&mut batch, base);
        batch
    }
}

fn bytes(specs: &[Spec], mut base: i64) -> Bytes {
    let mut all = Vec::new();
    for spec in specs {
        all.extend(spec.bytes(base));
        base += spec.values.len() as i64;
    }
    Bytes::from(all)
}

type Read = (i64, Vec<u8>);

/// Everything in `bytes`, and the bytes that are left.
fn open_all(
    bytes: &mut Bytes,
    from: i64,
    aborted: &mut Aborted,
    chunk_bytes: usize,
) -> Result<(Vec<Read>, Vec<Opened>)> {
    let mut opener = Opener::new(chunk_bytes, BATCH_BYTES);
    let (mut reads, mut chunks) = (Vec::new(), Vec::new());
    let mut position = from;
    loop {
        let opened = opener.open(bytes, position, aborted)?;
        let Some(next) = opened.next else {
            assert!(opened.records.is_empty() && opened.buffer.is_empty());
            return Ok((reads, chunks));
        };
        position = position.max(next);
        for record in &opened.records {
            assert_eq!(record.timestamp, record.offset);
            reads.push((record.offset, record.value.of(&opened.buffer).unwrap().to_vec()));
        }
        chunks.push(opened);
    }
}

fn texts(reads: &[Read]) -> Vec<(i64, &str)> {
    reads
        .iter()
        .map(|(offset, value)| (*offset, std::str::from_utf8(value).unwrap()))
        .collect()
}

fn spec() -> impl Strategy<Value = Spec> {
    let value = prop::collection::vec(any::<u8>(), 0..60);
    (prop::collection::vec(value, 1..30), 0..WRITERS.len()).prop_map(|(values, writer)| Spec {
        values,
        writer,
        ..plain(&[])
    })
}

proptest! {
    /// However batches are compressed, cut into chunks and cut off, and wherever reading begins: each record once.
    #[test]
    fn records_come_back(
        specs in prop::collection::vec(spec(), 1..8),
        base in 0i64..1 << 40,
        skip in 0i64..100,
        chunk_bytes in prop_oneof![Just(1), Just(1000), Just(usize::MAX)],
        cut in 1usize..70,
    ) {
        let mut all = bytes(&specs, base);
        let values: Vec<Read> = (base..).zip(specs.iter().flat_map(|spec| spec.values.clone())).collect();
        let whole = all.len();
        // One more, of which the end is missing.
        let last = plain(&["cut off"]).bytes(base + values.len() as i64);
        all = Bytes::from([&all[..], &last[..cut.min(last.len() - 1)]].concat());
        let (reads, chunks) = open_all(&mut all, base + skip, &mut Aborted::default(), chunk_bytes)
            .map_err(|f| TestCaseError::fail(f.to_string()))?;
        prop_assert_eq!(all.len(), cut.min(last.len() - 1), "of {} bytes", whole);
        prop_assert_eq!(reads, values[(skip as usize).min(values.len())..].to_vec());
        prop_assert!(chunk_bytes > 1 || chunks.iter().all(|chunk| chunk.records.len() <= 30));
    }

    /// Damage with a checksum that fits: nothing panics, and no memory is taken for what is not there.
    #[test]
    fn hostile_bytes_are_survived(
        spec in spec(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut batch = spec.bytes(5);
        for (at, byte) in damage {
            let at = at.index(batch.len());
            batch[at] = byte;
        }
        let crc = crc32c::crc32c(&batch[CRC_AT + 4..]);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        let opened = Opener::new(1 << 20, BATCH_BYTES).open(&mut Bytes::from(batch), 0, &mut Aborted::new([(-1, 3)]));
        if let Ok(opened) = opened {
            prop_assert!(opened.records.capacity() <= opened.buffer.len().max(64));
        }
    }

    /// Any flipped bit is found, but in what the checksum leaves out: base offset and leader epoch.
    #[test]
    fn a_flipped_bit_is_found(spec in spec(), at: prop::sample::Index, bit in 0u8..8) {
        let mut batch = spec.bytes(5);
        let at = at.index(batch.len());
        batch[at] ^= 1 << bit;
        let mut all = Bytes::from(batch);
        let given = all.len();
        if let Ok(opened) = Opener::new(1 << 20, BATCH_BYTES).open(&mut all, 0, &mut Aborted::default()) {
            let unseen = at < 8 || (12..16).contains(&at);
            // A length that reaches beyond the end looks like a batch that is cut off.
            prop_assert!(unseen || ((8..12).contains(&at) && opened.next.is_none() && all.len() == given), "flip at {}", at);
        }
    }
}

#[test]
fn records_of_aborted_transactions_and_markers_are_left_out() {
    let specs = [
        of_transaction(1, "aborted 0"),
        of_transaction(2, "kept 1"),
        plain(&["kept 2"]),
        of_transaction(1, "aborted 3"),
        marker(1),
        of_transaction(1, "kept 5"),
        marker(2),
        marker(1),
        of_transaction(1, "aborted 8"),
        marker(1),
    ];
    let list = [(1, 0), (1, 8)];
    for chunk_bytes in [1, usize::MAX] {
        let mut all = bytes(&specs, 0);
        let (reads, chunks) = open_all(&mut all, 0, &mut Aborted::new(list), chunk_bytes).unwrap();
        assert_eq!(texts(&reads), [(1, "kept 1"), (2, "kept 2"), (5, "kept 5")]);
        assert_eq!(
            chunks.last().unwrap().next,
            Some(10),
            "the position is behind the last marker"
        );
    }
    // From the middle of an aborted transaction the broker tells its first offset all the same.
    let (reads, _) = open_all(&mut bytes(&specs[3..], 3), 3, &mut Aborted::new(list), usize::MAX).unwrap();
    assert_eq!(texts(&reads), [(5, "kept 5")]);
    // Uncommitted records are read when nobody asks for a list.
    let (reads, _) = open_all(&mut bytes(&specs, 0), 0, &mut Aborted::default(), usize::MAX).unwrap();
    assert_eq!(reads.len(), 6);
}

#[test]
fn what_stands_before_damage_is_handed_out_first() {
    let mut all = bytes(&[plain(&["good"]), plain(&["bad"])], 0).to_vec();
    *all.last_mut().unwrap() ^= 1;
    let mut all = Bytes::from(all);
    let mut opener = Opener::new(usize::MAX, BATCH_BYTES);
    let opened = opener.open(&mut all, 0, &mut Aborted::default()).unwrap();
    assert_eq!((opened.records.len(), opened.next), (1, Some(1)));
    let fault = opener.open(&mut all, 1, &mut Aborted::default()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Corrupt);
    assert!(fault.to_string().contains("offset 1"), "{fault}");
}

#[test]
fn uncompressed_records_are_not_copied() {
    let mut all = bytes(&[plain(&["a", "b"]), plain(&["c"])], 0);
    let place = all.as_ptr();
    let opened = Opener::new(usize::MAX, BATCH_BYTES)
        .open(&mut all, 0, &mut Aborted::default())
        .unwrap();
    assert_eq!((opened.buffer.as_ptr(), opened.records.len()), (place, 3));
}

#[test]
fn old_formats_are_refused_by_name() {
    let mut batch = plain(&["old"]).bytes(0);
    patch(&mut batch, 16, &[1]);
    let fault = Opener::new(1, 1)
        .open(&mut Bytes::from(batch), 0, &mut Aborted::default())
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misuse);
    assert!(fault.to_string().contains("format 1"), "{fault}");
}
