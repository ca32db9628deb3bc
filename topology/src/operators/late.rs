//! What happens to a late record: it is counted once for each window it missed, and, when so configured, written to a topic.

use std::sync::Arc;

use millstream_state::Timestamp;

use crate::{
    codecs::Codecs,
    headers,
    node::{Ctx, dead_letter},
    outbox::TopicRef,
    policy::Reason,
    record::{Data, Origin, Row},
    windows::TimeWindows,
};

/// Header names of late records, beside [`dead_letter::REASON`] (`late`) and [`dead_letter::NODE`]. Times are decimal text, in
/// epoch milliseconds.
pub mod late_headers {
    /// First millisecond of the window that was missed.
    pub const WINDOW_START: &str = "__streams.late.window.start";
    /// First millisecond after it.
    pub const WINDOW_END: &str = "__streams.late.window.end";
    /// The operator's stream time when the record came.
    pub const STREAM_TIME: &str = "__streams.late.stream.time";
    /// How far the record lies behind stream time, in milliseconds.
    pub const LATENESS: &str = "__streams.late.lateness.ms";
}

/// The way out for records that come after a window closed.
pub(crate) struct LateRecords<K, V> {
    to: Option<(TopicRef, Codecs<K, V>)>,
    node: Arc<str>,
}

impl<K: Data, V: Data> LateRecords<K, V> {
    /// Late records of a node; without a topic they are only counted.
    pub fn new(node: &str, to: Option<(TopicRef, Codecs<K, V>)>) -> Self {
        LateRecords { to, node: node.into() }
    }

    /// Counts the windows with `from <= start < to`, and writes the record once for each, with its own headers first.
    #[cold]
    pub fn write(
        &self,
        row: &Row<K, V>,
        (from, to): (Timestamp, Timestamp),
        stream_time: Timestamp,
        windows: &TimeWindows,
        origin: &Origin,
        cx: &mut Ctx<'_>,
    ) {
        let missed = (from..to).step_by(windows.advance_ms() as usize);
        cx.drop_rows(Reason::Late, missed.clone().count() as u64);
        let Some((topic, codecs)) = &self.to else { return };
        let own = origin
            .find(row.at())
            .map_or(&[][..], |(chunk, record)| chunk.header_block(record));
        let lateness = (stream_time - row.timestamp).to_string();
        let stream_time = stream_time.to_string();
        let mut block = Vec::new();
        for start in missed {
            let window = windows.window(start);
            let (start, end) = (window.start.to_string(), window.end.to_string());
            let more = [
                (dead_letter::REASON, Some(Reason::Late.as_str().as_bytes())),
                (dead_letter::NODE, Some(self.node.as_bytes())),
                (late_headers::WINDOW_START, Some(start.as_bytes())),
                (late_headers::WINDOW_END, Some(end.as_bytes())),
                (late_headers::STREAM_TIME, Some(stream_time.as_bytes())),
                (late_headers::LATENESS, Some(lateness.as_bytes())),
            ];
            block.clear();
            headers::append(own, &more, &mut block);
            let key = |out: &mut Vec<u8>| put(&*codecs.key, &row.key, out);
            let value = |out: &mut Vec<u8>| put(&*codecs.value, &row.value, out);
            let part = |key: &[u8]| codecs.key.partition_part(key).len();
            cx.outbox().encode(*topic, row.timestamp, &block, key, part, value);
        }
    }
}

fn put<T: 'static>(codec: &dyn millstream_state::codec::Codec<T>, value: &T, out: &mut Vec<u8>) -> bool {
    if codec.is_null(value) {
        return false;
    }
    codec.encode(value, out);
    true
}
