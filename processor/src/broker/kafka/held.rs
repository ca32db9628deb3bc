//! Records that wait, in order, until those that left before them are acknowledged.

use crate::broker::{PartitionRef, RawHeaders};

/// One copy of each record, end to end.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    to: PartitionRef,
    timestamp: i64,
    key: Option<usize>,
    value: Option<usize>,
    headers: usize,
}

/// A record as it was held.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HeldRecord<'a> {
    pub(super) to: PartitionRef,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: RawHeaders<'a>,
}

impl Held {
    pub(super) fn push(&mut self, record: &HeldRecord<'_>) {
        let parts = [record.key, record.value, Some(record.headers)];
        for part in parts.into_iter().flatten() {
            self.bytes.extend_from_slice(part);
        }
        self.records.push(Record {
            to: record.to,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::len),
            value: record.value.map(<[u8]>::len),
            headers: record.headers.len(),
        });
    }

    /// Memory in use.
    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len() + self.records.len() * size_of::<Record>()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    /// All records in the order they came.
    pub(super) fn records(&self) -> impl Iterator<Item = HeldRecord<'_>> {
        let mut rest = self.bytes.as_slice();
        let mut next = move |len: usize| {
            let (part, behind) = rest.split_at_checked(len).unwrap_or_default();
            rest = behind;
            part
        };
        self.records.iter().map(move |record| HeldRecord {
            to: record.to,
            timestamp: record.timestamp,
            key: record.key.map(&mut next),
            value: record.value.map(&mut next),
            headers: next(record.headers),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let record = |n: u32, key: Option<&'static [u8]>, value: Option<&'static [u8]>| HeldRecord {
            to: PartitionRef(n),
            timestamp: i64::from(n) - 1,
            key,
            value,
            headers: &b"headers"[..n as usize],
        };
        let records = [
            record(0, None, None),
            record(1, Some(b""), Some(b"v")),
            record(2, Some(b"key"), None),
            record(7, None, Some(b"value")),
        ];
        let mut held = Held::default();
        records.iter().for_each(|record| held.push(record));
        assert!(held.records().eq(records));
        held.clear();
        assert!(held.records().next().is_none());
    }
}
