//! Source: bytes to typed rows, behind door 1 and the future guard (TI-2).
#![deny(clippy::indexing_slicing)] // reads what comes from outside

use std::sync::Arc;

use crate::{
    codecs::{Bad, RowCodec},
    error::Result,
    node::{Ctx, Node, OnBad},
    policy::{Door, FutureAction, Policy, Reason},
    record::{At, Batch, Data, Origin, Pick, RawBatch},
    wiring::{Edge, Inbox, Outlet, Wiring},
};

struct Source<K, V> {
    raw: Inbox<RawBatch>,
    out: Outlet<Batch<K, V>>,
    codec: Arc<dyn RowCodec<K, V>>,
    on_bad: OnBad,
    /// Kept for its memory; empty between batches.
    bad: Vec<Bad>,
}

pub(crate) fn make<K: Data, V: Data>(
    w: &mut Wiring<'_>,
    out: Edge<Batch<K, V>>,
    codec: Arc<dyn RowCodec<K, V>>,
    on_bad: &Policy,
) -> Result<impl Node + use<K, V>> {
    let on_bad = w.on_bad(Door::Read, on_bad)?;
    Ok(Source {
        raw: w.raw_input(),
        out: w.output(out),
        codec,
        on_bad,
        bad: Vec::new(),
    })
}

impl<K: Data, V: Data> Node for Source<K, V> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(mut raw) = self.raw.take() {
            admit(&mut raw, self.on_bad, cx)?;
            let mut rows = Vec::with_capacity(raw.picks.len());
            self.codec.decode(&raw, &mut rows, &mut self.bad);
            for bad in self.bad.drain(..) {
                refuse(&raw, bad, self.on_bad, cx)?;
            }
            // Only accepted records move stream time (TI-1).
            if let Some(latest) = rows.iter().map(|r| r.timestamp).max() {
                cx.observe(latest);
                self.out.send(Batch {
                    origin: Origin::chunk(raw.chunk),
                    rows,
                });
            }
        }
        Ok(())
    }
}

#[cold]
fn refuse(raw: &RawBatch, bad: Bad, on_bad: OnBad, cx: &mut Ctx<'_>) -> Result<()> {
    let Some(pick) = raw.picks.get(bad.pick) else {
        return Ok(());
    };
    cx.reject(
        on_bad,
        &Origin::chunk(raw.chunk.clone()),
        at(raw, pick),
        bad.reason,
        bad.error,
    )
}

fn at(raw: &RawBatch, pick: &Pick) -> At {
    At {
        offset: raw.chunk.records().get(pick.index as usize).map_or(-1, |r| r.offset),
        seq: pick.seq,
    }
}

/// Takes out records whose timestamp is negative or too far in the future; clamps the latter where so configured.
pub(crate) fn admit(raw: &mut RawBatch, on_bad: OnBad, cx: &mut Ctx<'_>) -> Result<()> {
    let limit = cx.future_limit();
    if raw.picks.iter().all(|p| (0..=limit).contains(&p.timestamp)) {
        return Ok(());
    }
    let origin = Origin::chunk(raw.chunk.clone());
    let mut kept = Vec::with_capacity(raw.picks.len());
    for mut pick in std::mem::take(&mut raw.picks) {
        if let Some(timestamp) = admit_time(pick.timestamp, &origin, at(raw, &pick), on_bad, cx)? {
            pick.timestamp = timestamp;
            kept.push(pick);
        }
    }
    raw.picks = kept;
    Ok(())
}

/// The timestamp a record goes on with; `None` when it does not go on.
pub(crate) fn admit_time(
    timestamp: i64,
    origin: &Origin,
    at: At,
    on_bad: OnBad,
    cx: &mut Ctx<'_>,
) -> Result<Option<i64>> {
    if timestamp < 0 {
        // Kafka Streams drops these whatever the policy; we also dead-letter them where dead letters are wanted.
        let action = if let OnBad::DeadLetter(_) = on_bad {
            on_bad
        } else {
            OnBad::Skip
        };
        let detail = format_args!("timestamp {timestamp} is negative");
        cx.reject(action, origin, at, Reason::NegativeTimestamp, detail)?;
        return Ok(None);
    }
    let limit = cx.future_limit();
    if timestamp <= limit {
        return Ok(Some(timestamp));
    }
    let detail = format_args!(
        "timestamp {timestamp} is later than {limit}, the latest permitted at {}",
        cx.now()
    );
    let detail = detail.to_string();
    let action = match cx.future_action() {
        FutureAction::Clamp => {
            cx.drop_row(Reason::FutureTimestamp);
            return Ok(Some(limit));
        }
        FutureAction::Drop => OnBad::Skip,
        FutureAction::DeadLetter => cx.dead_letter_or(on_bad),
    };
    cx.reject(action, origin, at, Reason::FutureTimestamp, detail)?;
    Ok(None)
}
