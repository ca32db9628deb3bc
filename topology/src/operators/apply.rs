//! Apply: any step that turns one batch into another. The user's closure is erased once, as a batch function, so that the
//! node is generic over rows only: half the compile time, and no virtual call per record.

use std::sync::Arc;

use crate::{
    error::Result,
    node::{Ctx, Node},
    record::{Batch, Data},
    wiring::{Edge, Inbox, Outlet, Wiring},
};

/// A step over a whole batch. Must keep the order of rows.
pub type BatchFn<K, V, L, W> = Arc<dyn Fn(Batch<K, V>, &mut Ctx<'_>) -> Result<Batch<L, W>> + Send + Sync>;

struct Apply<K, V, L, W> {
    input: Inbox<Batch<K, V>>,
    out: Outlet<Batch<L, W>>,
    step: BatchFn<K, V, L, W>,
}

pub(crate) fn make<K: Data, V: Data, L: Data, W: Data>(
    w: &mut Wiring<'_>,
    input: Edge<Batch<K, V>>,
    out: Edge<Batch<L, W>>,
    step: BatchFn<K, V, L, W>,
) -> Result<impl Node + use<K, V, L, W>> {
    Ok(Apply {
        input: w.input(input),
        out: w.output(out),
        step,
    })
}

impl<K: Data, V: Data, L: Data, W: Data> Node for Apply<K, V, L, W> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(batch) = self.input.take() {
            let batch = (self.step)(batch, cx)?;
            if !batch.rows.is_empty() {
                self.out.send(batch);
            }
        }
        Ok(())
    }
}
