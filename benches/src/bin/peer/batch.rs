//! Record batches, format 2: written for the input, read back for the checks.

use crate::Result;

/// Length of a batch's head, up to the records.
const HEAD: usize = 61;

/// A batch that records are added to.
pub struct Writer {
    bytes: Vec<u8>,
    first: i64,
    last: i64,
    count: i32,
}

impl Writer {
    /// An empty batch.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; HEAD],
            first: 0,
            last: 0,
            count: 0,
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a record.
    pub fn add(&mut self, time: i64, key: &[u8], value: &[u8]) {
        if self.count == 0 {
            (self.first, self.last) = (time, time);
        }
        self.last = self.last.max(time);
        let (delta, offset) = (time - self.first, i64::from(self.count));
        let (key_length, value_length) = (key.len() as i64, value.len() as i64);
        let length = 1
            + varint_length(delta)
            + varint_length(offset)
            + varint_length(key_length)
            + key.len()
            + varint_length(value_length)
            + value.len()
            + 1;
        put_varint(&mut self.bytes, length as i64);
        self.bytes.push(0);
        put_varint(&mut self.bytes, delta);
        put_varint(&mut self.bytes, offset);
        put_varint(&mut self.bytes, key_length);
        self.bytes.extend_from_slice(key);
        put_varint(&mut self.bytes, value_length);
        self.bytes.extend_from_slice(value);
        self.bytes.push(0); // no headers
        self.count += 1;
    }

    /// The finished batch.
    pub fn finish(&mut self) -> &[u8] {
        let mut tail = Vec::with_capacity(HEAD - 21);
        tail.extend(0_i16.to_be_bytes()); // no compression, create time
        tail.extend((self.count - 1).to_be_bytes());
        tail.extend(self.first.to_be_bytes());
        tail.extend(self.last.to_be_bytes());
        tail.extend((-1_i64).to_be_bytes()); // no producer id, epoch, sequence
        tail.extend((-1_i16).to_be_bytes());
        tail.extend((-1_i32).to_be_bytes());
        tail.extend(self.count.to_be_bytes());
        let mut head = Vec::with_capacity(HEAD);
        head.extend(0_i64.to_be_bytes());
        head.extend((self.bytes.len() as i32 - 12).to_be_bytes());
        head.extend((-1_i32).to_be_bytes());
        head.push(2);
        let records = self.bytes.get(HEAD..).unwrap_or_default();
        head.extend(crc32c::crc32c_append(crc32c::crc32c(&tail), records).to_be_bytes());
        head.extend(tail);
        if let Some(room) = self.bytes.get_mut(..HEAD) {
            room.copy_from_slice(&head);
        }
        &self.bytes
    }

    /// Empty again, with its room kept.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEAD);
        self.count = 0;
    }
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn varint_length(n: i64) -> usize {
    (64 - (zigzag(n) | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, n: i64) {
    let mut rest = zigzag(n);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A record as it lies in a batch.
pub struct Record<'a> {
    /// The key, empty if there is none.
    pub key: &'a [u8],
    /// The value; `None` deletes.
    pub value: Option<&'a [u8]>,
}

impl Record<'_> {
    /// A number that the value, as JSON without blanks, has under a name; 0 if it has none.
    pub fn number(&self, name: &str) -> u64 {
        let head = format!("\"{name}\":");
        let value = self.value.unwrap_or_default();
        let at = value.windows(head.len()).position(|window| window == head.as_bytes());
        let digits = value.get(at.map_or(value.len(), |at| at + head.len())..);
        let digits = digits.unwrap_or_default().iter().take_while(|b| b.is_ascii_digit());
        digits.fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
    }
}

/// Calls `each` for every data record, in order, and returns the offset behind the last complete batch, if any.
///
/// Records below `from` (a batch is sent whole) are left out. The broker has checked the checksums.
pub fn read(mut bytes: &[u8], from: i64, mut each: impl FnMut(&Record<'_>)) -> Result<Option<i64>> {
    let mut next = None;
    while bytes.len() >= HEAD {
        let base = i64::from_be_bytes(field(bytes, 0)?);
        let length = 12 + usize::try_from(i32::from_be_bytes(field(bytes, 8)?))?;
        let Some(batch) = bytes.get(..length) else { break }; // cut off by the fetch's size
        let attributes = i16::from_be_bytes(field(batch, 21)?);
        if attributes & 7 != 0 {
            return Err("the output is compressed: this driver reads plain batches only".into());
        }
        let count = i32::from_be_bytes(field(batch, 57)?);
        let is_control = attributes & 0x20 != 0;
        if !is_control {
            let mut records = batch.get(HEAD..).unwrap_or_default();
            for _ in 0..count {
                let length = usize::try_from(varint(&mut records)?)?;
                let (record, rest) = records.split_at_checked(length).ok_or("a record is cut off")?;
                records = rest;
                one(record, base, from, &mut each)?;
            }
        }
        next = Some(base + i64::from(i32::from_be_bytes(field(batch, 23)?)) + 1);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(next)
}

fn one(mut record: &[u8], base: i64, from: i64, each: &mut impl FnMut(&Record<'_>)) -> Result<()> {
    record = record.get(1..).ok_or("an empty record")?;
    let _time = varint(&mut record)?;
    let offset = base + varint(&mut record)?;
    let key = blob(&mut record)?.unwrap_or_default();
    let value = blob(&mut record)?;
    if offset >= from {
        each(&Record { key, value });
    }
    Ok(())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    Ok(bytes.get(at..at + N).ok_or("a batch is cut off")?.try_into()?)
}

fn varint(bytes: &mut &[u8]) -> Result<i64> {
    let (mut n, mut shift) = (0_u64, 0);
    loop {
        let (first, rest) = bytes.split_first().ok_or("a number is cut off")?;
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok((n >> 1) as i64 ^ -((n & 1) as i64));
        }
        shift += 7;
        if shift > 63 {
            return Err("a number has no end".into());
        }
    }
}

fn blob<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint(bytes)?) else {
        return Ok(None);
    };
    let (blob, rest) = bytes.split_at_checked(length).ok_or("a record is cut off")?;
    *bytes = rest;
    Ok(Some(blob))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        for n in 0..1000_i64 {
            writer.add(1_700_000_000_000 + n, &n.to_be_bytes(), &vec![7; n as usize]);
        }
        let mut bytes = writer.finish().to_vec();
        bytes.extend_from_slice(&bytes.clone()[..100]); // a batch cut off
        let mut seen = 0;
        let next = read(&bytes, 10, |record| {
            assert_eq!(record.key, (seen + 10_i64).to_be_bytes());
            assert_eq!(record.value.map(<[u8]>::len), Some(seen as usize + 10));
            seen += 1;
        });
        assert_eq!((seen, next.expect("a good batch")), (990, Some(1000)));
    }

    #[test]
    fn numbers_have_the_length_they_are_said_to_have() {
        for n in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::MAX, i64::MIN] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, n);
            assert_eq!(bytes.len(), varint_length(n), "{n}");
            assert_eq!(varint(&mut bytes.as_slice()).expect("a number"), n);
        }
    }
}
