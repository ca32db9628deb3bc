//! Raw source: hands messages to a parser as they were fetched.

use crate::{
    error::Result,
    node::{Ctx, Node, OnBad},
    operators::source::admit,
    policy::{Door, Policy},
    record::RawBatch,
    wiring::{Edge, Inbox, Outlet, Wiring},
};

struct RawSource {
    raw: Inbox<RawBatch>,
    out: Outlet<RawBatch>,
    on_bad: OnBad,
}

pub(crate) fn make(w: &mut Wiring<'_>, out: Edge<RawBatch>, on_bad: &Policy) -> Result<impl Node + use<>> {
    let on_bad = w.on_bad(Door::Read, on_bad)?;
    Ok(RawSource {
        raw: w.raw_input(),
        out: w.output(out),
        on_bad,
    })
}

impl Node for RawSource {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(mut raw) = self.raw.take() {
            admit(&mut raw, self.on_bad, cx)?;
            if let Some(latest) = raw.picks.iter().map(|p| p.timestamp).max() {
                cx.observe(latest);
                self.out.send(raw);
            }
        }
        Ok(())
    }
}
