//! Raw source: hands messages to a parser as they were fetched.
//!
//! No message is refused here for its timestamp: the parser gives events their time, and that passes the guard. The message's
//! own timestamp moves the task's stream time if it is possible at all.

use crate::{
    error::Result,
    node::{Ctx, Node},
    record::RawBatch,
    wiring::{Edge, Inbox, Outlet, Wiring},
};

struct RawSource {
    raw: Inbox<RawBatch>,
    out: Outlet<RawBatch>,
}

pub(crate) fn make(w: &mut Wiring<'_>, out: Edge<RawBatch>) -> Result<impl Node + use<>> {
    Ok(RawSource {
        raw: w.raw_input(),
        out: w.output(out),
    })
}

impl Node for RawSource {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        let possible = 0..=cx.future_limit();
        while let Some(raw) = self.raw.take() {
            let times = raw.picks.iter().map(|p| p.timestamp);
            if let Some(latest) = times.filter(|t| possible.contains(t)).max() {
                cx.observe(latest);
            }
            self.out.send(raw);
        }
        Ok(())
    }
}
