//! Opens whatever comes as the record batches of a fetch: nothing panics, and memory is taken only for what is there.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// The parts of the processor under test, under the names they have there.
#[allow(dead_code, unused_imports)]
#[path = "../../processor/src/broker"]
mod broker {
    pub mod fault;
    pub mod record_batch;
    pub use fault::{Fault, FaultKind};
}

use broker::record_batch::opener::whole_batches;
use broker::record_batch::reader::decode;
use broker::record_batch::{Aborted, HEADER_LEN, Opener};

const BATCH_BYTES: usize = 1 << 20;
const CHUNK_BYTES: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes::from(plausible(data));
    let mut records = Vec::new();
    let _ = decode(&bytes, 0, &mut records);
    assert!(records.capacity() <= bytes.len().max(64));

    let whole = whole_batches(&bytes);
    assert!(whole.bytes <= bytes.len());
    let mut opener = Opener::new(CHUNK_BYTES, BATCH_BYTES);
    let mut aborted = Aborted::new([(1, 0), (-1, 7)]);
    let mut position = 0;
    while let Ok(opened) = opener.open(&mut bytes, position, &mut aborted) {
        // One batch may lie behind what filled the chunk.
        assert!(opened.buffer.len() <= data.len().max(CHUNK_BYTES + BATCH_BYTES));
        for record in &opened.records {
            assert!(record.offset >= position);
            for span in [record.key, record.value, record.headers] {
                assert!(span.len == u32::MAX || span.of(&opened.buffer).is_some());
            }
        }
        match opened.next {
            Some(next) => position = position.max(next),
            None => break,
        }
    }
});

/// The first bytes say where batches end; each gets the format, the length and the checksum that fit, for what lies behind
/// these checks is what is to be tried.
fn plausible(data: &[u8]) -> Vec<u8> {
    let Some((&[raw, cut], rest)) = data.split_first_chunk() else { return data.to_vec() };
    if raw == 0 {
        return rest.to_vec();
    }
    let middle = rest.len() * usize::from(cut) / 256;
    let (first, second) = rest.split_at(middle);
    [patched(first), patched(second)].concat()
}

fn patched(batch: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    if batch.len() >= HEADER_LEN {
        let len = (batch.len() - 12) as u32;
        batch[8..12].copy_from_slice(&len.to_be_bytes());
        batch[16] = 2;
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    batch
}
