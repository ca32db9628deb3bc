use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::broker::FaultKind;

/// Compresses some content.
type Write = fn(&[u8]) -> Vec<u8>;

/// Every way a producer may have written a batch, by name.
pub(in crate::broker::record_batch) const WRITERS: &[(&str, Compression, Write)] = &[
    ("none", Compression::None, <[u8]>::to_vec),
    ("gzip", Compression::Gzip, write_gzip),
    ("snappy", Compression::Snappy, write_snappy),
    ("xerial snappy", Compression::Snappy, write_xerial),
    ("lz4", Compression::Lz4, |content| write_lz4(content, false)),
    ("linked lz4", Compression::Lz4, |content| write_lz4(content, true)),
    ("zstd", Compression::Zstd, write_zstd),
    ("streamed zstd", Compression::Zstd, write_streamed_zstd),
];

fn write_gzip(content: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

fn write_snappy(content: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(content).unwrap()
}

fn write_xerial(content: &[u8]) -> Vec<u8> {
    let mut out = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
    for block in content.chunks(32 << 10) {
        let block = write_snappy(block);
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

/// Blocks of 64 KiB with all checksums (not looked at) when linked, without any when not.
fn write_lz4(content: &[u8], linked: bool) -> Vec<u8> {
    let flags = if linked { 0x40 | 0x10 | 8 | 4 } else { 0x40 | 0x20 };
    let mut out = LZ4_MAGIC.to_le_bytes().to_vec();
    out.extend([flags, 0x40]);
    if linked {
        out.extend((content.len() as u64).to_le_bytes());
    }
    out.push(0);
    for at in (0..content.len()).step_by(64 << 10) {
        let block = &content[at..content.len().min(at + (64 << 10))];
        let packed = if linked {
            lz4_flex::block::compress_with_dict(block, &content[at.saturating_sub(LZ4_WINDOW)..at])
        } else {
            lz4_flex::block::compress(block)
        };
        let (head, bytes) = if packed.len() < block.len() {
            (packed.len() as u32, &packed[..])
        } else {
            (block.len() as u32 | 1 << 31, block)
        };
        out.extend(head.to_le_bytes());
        out.extend(bytes);
        if linked {
            out.extend([0; 4]);
        }
    }
    out.extend([0; 4]);
    if linked {
        out.extend([0; 4]);
    }
    out
}

fn write_zstd(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0; zstd_safe::compress_bound(content.len())];
    let len = zstd_safe::compress(&mut out[..], content, 1).unwrap();
    out.truncate(len);
    out
}

/// As a stream: the frame does not say how much it holds.
fn write_streamed_zstd(content: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    let mut out = vec![0; zstd_safe::compress_bound(content.len()) + 64];
    let mut from = InBuffer::around(content);
    let mut to = OutBuffer::around(&mut out[..]);
    while from.pos() < content.len() {
        context.compress_stream(&mut to, &mut from).unwrap();
    }
    while context.end_stream(&mut to).unwrap() > 0 {}
    let len = to.pos();
    out.truncate(len);
    out
}

fn inflate(compression: Compression, input: &[u8], most: usize) -> (Result<()>, Vec<u8>) {
    // Behind other content, as in a chunk of several batches.
    let mut out = b"before".to_vec();
    let done = Inflater::default().inflate(compression, input, most, &mut out);
    assert!(out.starts_with(b"before"), "what stood before was changed");
    out.drain(..6);
    (done, out)
}

/// Content that is partly repetitive, of up to some 300 KB: several blocks of every format.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let part = (prop::collection::vec(any::<u8>(), 0..3000), 1usize..50);
    prop::collection::vec(part, 0..5)
        .prop_map(|parts| parts.iter().flat_map(|(bytes, times)| bytes.repeat(*times)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn content_comes_back(content in content()) {
        for (name, compression, write) in WRITERS {
            let (done, out) = inflate(*compression, &write(&content), content.len());
            prop_assert!(done.is_ok(), "{}: {:?}", name, done);
            prop_assert!(out == content, "{} came back changed", name);
        }
    }

    #[test]
    fn damage_is_survived(content in content(), at: prop::sample::Index, bit in 0u8..8) {
        for (name, compression, write) in WRITERS {
            let mut packed = write(&content);
            if packed.is_empty() {
                continue;
            }
            let at = at.index(packed.len());
            packed[at] ^= 1 << bit;
            let most = content.len() * 2;
            let (_, out) = inflate(*compression, &packed, most);
            prop_assert!(out.capacity() <= 4 * most + (8 << 20), "{} took {} bytes", name, out.capacity());
            // Cut off anywhere it is an error, never less content. Only the framing of xerial has no end of its own: cut
            // between two blocks it is whole, and the length and checksum of the batch are what tells.
            let (done, out) = inflate(*compression, &write(&content)[..at], content.len());
            let no_end = *compression == Compression::None || (*name == "xerial snappy" && content.starts_with(&out));
            prop_assert!(no_end || done.is_err(), "{} cut off at {}", name, at);
        }
    }
}

#[test]
fn content_beyond_the_bound_says_which_setting_to_raise() {
    let content = vec![7; 64 << 20];
    for (name, compression, write) in WRITERS {
        let (done, out) = inflate(*compression, &write(&content), 1 << 20);
        let fault = done.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Misuse, "{name}: {fault}");
        assert!(
            fault.to_string().contains("receive.message.max.bytes"),
            "{name}: {fault}"
        );
        assert!(out.capacity() <= 9 << 20, "{name} took {} bytes", out.capacity());
    }
}

#[test]
fn a_snappy_block_that_claims_too_much_takes_no_memory() {
    let mut packed = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    packed.extend([0; 100]);
    let (done, out) = inflate(Compression::Snappy, &packed, usize::MAX >> 1);
    assert!(done.is_err());
    assert!(out.capacity() < 1000);
}
