//! Parse: one raw message to zero or more events. The first door for bad data.
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use std::{fmt, sync::Arc};

use millstream_state::{Timestamp, codec::Raw};

use crate::{
    error::Result,
    headers::Headers,
    node::{Ctx, Node, OnBad},
    operators::source::admit_time,
    options::Named,
    policy::{Door, Policy, Reason},
    record::{At, Batch, Chunk, Data, Origin, RawBatch, RawRecord, Row},
    wiring::{Edge, Inbox, Outlet, Wiring},
};

/// A message as it was fetched.
#[derive(Clone, Copy)]
pub struct RawMessage<'a> {
    chunk: &'a Chunk,
    record: &'a RawRecord,
    timestamp: Timestamp,
}

impl<'a> RawMessage<'a> {
    /// Key bytes, `None` for null.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.chunk.key(self.record)
    }

    /// Value bytes, `None` for null.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.chunk.value(self.record)
    }

    /// Bytes of this message for a codec or for `Str::from_raw`, which may keep a handle on the fetched buffer.
    #[inline]
    pub fn raw(&self, part: &'a [u8]) -> Raw<'a> {
        self.chunk.raw(part)
    }

    /// The message's own timestamp; -1 when the producer gave none.
    #[inline]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Topic it was fetched from.
    pub fn topic(&self) -> &'a str {
        self.chunk.topic()
    }

    /// Partition it was fetched from.
    pub fn partition(&self) -> i32 {
        self.chunk.partition()
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// Header names (bytes: they need not be UTF-8) and values.
    pub fn headers(&self) -> Headers<'a> {
        self.chunk.headers(self.record)
    }

    /// The value of the last header with this name, as Kafka's `lastHeader`.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().filter(|(n, _)| *n == name.as_bytes()).last()?.1
    }
}

/// Takes the events of a message.
pub struct Emit<'a, K, V> {
    rows: &'a mut Vec<Row<K, V>>,
    at: At,
}

impl<K, V> Emit<'_, K, V> {
    /// One event with its own event time.
    #[inline]
    pub fn event(&mut self, key: K, value: V, timestamp: Timestamp) {
        self.rows.push(Row {
            key,
            value,
            timestamp,
            offset: self.at.offset,
            seq: self.at.seq,
        });
    }
}

/// Why a message could not be parsed. Events it emitted before are taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError(pub String);

impl<E: fmt::Display> From<E> for ParseError {
    fn from(error: E) -> Self {
        ParseError(error.to_string())
    }
}

/// What the parser is called, and what happens to messages it refuses.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    pub(crate) named: Named,
    pub(crate) on_bad: Policy,
}

impl Parsed {
    /// Generated name, configured policy.
    pub fn new() -> Self {
        Parsed::default()
    }

    /// Names the node.
    pub fn named(name: impl Into<Named>) -> Self {
        Parsed {
            named: name.into(),
            on_bad: Policy::default(),
        }
    }

    /// What happens to messages the parser refuses.
    pub fn on_bad(mut self, policy: Policy) -> Self {
        self.on_bad = policy;
        self
    }

    /// Refused messages go to this topic, with their raw bytes and headers.
    pub fn dead_letters_to(self, topic: &str) -> Self {
        self.on_bad(Policy::DeadLetterTo(topic.into()))
    }
}

impl From<&str> for Parsed {
    fn from(name: &str) -> Self {
        Parsed::named(name)
    }
}

/// The user's parser behind one virtual call per batch: pure, so that it can run beside the stream thread.
pub(crate) type ParseFn<K, V> = Arc<dyn Fn(&RawBatch, &mut Vec<Row<K, V>>, &mut Vec<(At, ParseError)>) + Send + Sync>;

pub(crate) fn batch_fn<K: Data, V: Data>(
    parse: impl Fn(&RawMessage<'_>, &mut Emit<'_, K, V>) -> Result<(), ParseError> + Send + Sync + 'static,
) -> ParseFn<K, V> {
    Arc::new(move |raw, rows, bad| {
        for pick in &raw.picks {
            let Some(record) = raw.chunk.records().get(pick.index as usize) else {
                continue;
            };
            let message = RawMessage {
                chunk: &raw.chunk,
                record,
                timestamp: pick.timestamp,
            };
            let (before, at) = (
                rows.len(),
                At {
                    offset: record.offset,
                    seq: pick.seq,
                },
            );
            if let Err(error) = parse(&message, &mut Emit { rows, at }) {
                rows.truncate(before);
                bad.push((at, error));
            }
        }
    })
}

struct Parse<K, V> {
    raw: Inbox<RawBatch>,
    out: Outlet<Batch<K, V>>,
    parse: ParseFn<K, V>,
    on_bad: OnBad,
    bad: Vec<(At, ParseError)>,
}

pub(crate) fn make<K: Data, V: Data>(
    w: &mut Wiring<'_>,
    (input, out): (Edge<RawBatch>, Edge<Batch<K, V>>),
    parse: ParseFn<K, V>,
    on_bad: &Policy,
) -> Result<impl Node + use<K, V>> {
    let on_bad = w.on_bad(Door::Read, on_bad)?;
    Ok(Parse {
        raw: w.input(input),
        out: w.output(out),
        parse,
        on_bad,
        bad: Vec::new(),
    })
}

impl<K: Data, V: Data> Node for Parse<K, V> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(raw) = self.raw.take() {
            let mut rows = Vec::with_capacity(raw.picks.len());
            (self.parse)(&raw, &mut rows, &mut self.bad);
            let origin = Origin::chunk(raw.chunk);
            for (at, error) in self.bad.drain(..) {
                cx.reject(self.on_bad, &origin, at, Reason::Parse, error.0)?;
            }
            let rows = guard(rows, &origin, self.on_bad, cx)?;
            if !rows.is_empty() {
                self.out.send(Batch { origin, rows });
            }
        }
        Ok(())
    }
}

/// Event times come from the message, so they pass the same guard as record timestamps (TI-2).
fn guard<K, V>(rows: Vec<Row<K, V>>, origin: &Origin, on_bad: OnBad, cx: &mut Ctx<'_>) -> Result<Vec<Row<K, V>>> {
    let limit = cx.future_limit();
    if rows.iter().all(|r| (0..=limit).contains(&r.timestamp)) {
        return Ok(rows);
    }
    let mut kept = Vec::with_capacity(rows.len());
    for mut row in rows {
        if let Some(timestamp) = admit_time(row.timestamp, origin, row.at(), on_bad, cx)? {
            row.timestamp = timestamp;
            kept.push(row);
        }
    }
    Ok(kept)
}
