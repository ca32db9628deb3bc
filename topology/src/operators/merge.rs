//! Merge: several streams as one.
//!
//! The rows of a round leave in the order their records were picked, and for one record in the order of the inputs: exactly
//! as if records had come one at a time.

use crate::{
    error::Result,
    node::{Ctx, Node},
    record::{Batch, Data, Origin, Row},
    wiring::{Edge, Inbox, Outlet, Wiring},
};

struct Merge<K, V> {
    inputs: Vec<Inbox<Batch<K, V>>>,
    out: Outlet<Batch<K, V>>,
}

pub(crate) fn make<K: Data, V: Data>(
    w: &mut Wiring<'_>,
    inputs: &[Edge<Batch<K, V>>],
    out: Edge<Batch<K, V>>,
) -> Result<impl Node + use<K, V>> {
    Ok(Merge {
        inputs: inputs.iter().map(|e| w.input(*e)).collect(),
        out: w.output(out),
    })
}

impl<K: Data, V: Data> Node for Merge<K, V> {
    fn run(&mut self, _cx: &mut Ctx<'_>) -> Result<()> {
        let mut batches: Vec<Batch<K, V>> = Vec::new();
        for input in &self.inputs {
            while let Some(batch) = input.take() {
                batches.push(batch);
            }
        }
        if let Some(batch) = interleave(batches) {
            self.out.send(batch);
        }
        Ok(())
    }
}

/// One batch of all rows by (seq, place among the batches).
fn interleave<K, V>(mut batches: Vec<Batch<K, V>>) -> Option<Batch<K, V>> {
    batches.retain(|b| !b.rows.is_empty());
    if batches.len() < 2 {
        return batches.pop();
    }
    let seqs = |b: &Batch<K, V>| b.rows.iter().map(|r| r.seq).collect::<Vec<_>>();
    let inputs: Vec<_> = batches.iter().map(|b| (&b.origin, seqs(b))).collect();
    let origin = Origin::merged(&inputs);
    let mut rows: Vec<Row<K, V>> = Vec::with_capacity(batches.iter().map(|b| b.rows.len()).sum());
    for batch in batches {
        rows.extend(batch.rows);
    }
    // Stable, and close to linear on a few ascending runs.
    rows.sort_by_key(|r| r.seq);
    Some(Batch { origin, rows })
}
