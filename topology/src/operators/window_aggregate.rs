//! Aggregating by key and window: tumbling and hopping windows with grace, emitted on update or when they close.
//!
//! State is kept in **slices** (see [`crate::windows`]): one update per record however many windows overlap; a window is
//! composed from its slices when it is emitted. An aggregate without merge is kept window by window instead; both
//! [layouts](layout::Layout) run the same code.
//!
//! The rules are Kafka Streams', for each window by itself: stream time is the greatest timestamp seen, the record at hand
//! included; a record counts for a window while `end > stream time - grace`, and is late for it otherwise; a result carries
//! the greatest timestamp of the records in it. Two things keep slices from telling a window about records it refused:
//!
//! - **Freeze** (on update): a record that is late for *some* of its windows goes into a slice that those windows share. Any of
//!   them that changed since the last commit is composed first and staged until the commit.
//! - **Close at the row** (on window close): a window is emitted within the batch, by the row that moves stream time past its
//!   close, before any later record can touch its slices.
//!
//! Stream time and how far windows were closed survive a restart as the node's note (TI-1).

mod close;
mod layout;
mod update;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use millstream_state::{
    StateError, Timestamp,
    data::Key,
    overlay::{Overlay, Slot},
    schema::{Slices, Stamped},
};

use self::close::Due;
use self::layout::Layout;
use super::late::LateRecords;
use super::nulls::NullValues;
use crate::{
    aggregate::Folding,
    error::Result,
    node::{Ctx, Flushed, Node},
    policy::Reason,
    record::{Batch, Data, Origin, Row},
    windowed::EmitStrategy,
    windows::{TimeWindows, Windowed},
    wiring::{Inbox, Outlet},
};

/// What is noted with a slice until it is sealed: the first window that changed through it and is not emitted yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChangedFrom(Timestamp);

impl ChangedFrom {
    const NOTHING: Timestamp = Timestamp::MAX;
}

impl Default for ChangedFrom {
    fn default() -> Self {
        ChangedFrom(Self::NOTHING)
    }
}

/// The store behind a windowed table.
pub(crate) type WindowStore<K, A> = Rc<RefCell<Overlay<Slices<K, A, ChangedFrom>>>>;

/// The windowed results of one batch or commit.
type Results<K, A> = Vec<Row<Windowed<K>, A>>;

/// What a windowed aggregation is made from.
pub(crate) struct Parts<K: Key, V, A: Data> {
    pub input: Inbox<Batch<K, V>>,
    pub output: Outlet<Batch<Windowed<K>, A>>,
    pub store: WindowStore<K, A>,
    pub folding: Arc<dyn Folding<K, V, A>>,
    pub windows: TimeWindows,
    pub emit: EmitStrategy,
    pub retention_ms: i64,
    pub late: LateRecords<K, V>,
    pub null_keys: NullValues<K>,
}

/// The aggregating node.
pub(crate) struct WindowAggregate<K: Key, V, A: Data> {
    parts: Parts<K, V, A>,
    layout: Layout,
    time: Time,
    /// On update: windows that closed after they changed, as they were then.
    staged: BTreeMap<(Slot, Timestamp), Stamped<A>>,
    /// On update, in a flush that is not over: of how many changed keys the windows were emitted.
    emitted: usize,
    /// On window close: which keys have a result in the next windows to close.
    due: Due,
    slots: Vec<Slot>,
    scratch: layout::Scratch<A>,
}

/// Where the operator stands in event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Time {
    /// The greatest timestamp seen.
    stream_time: Timestamp,
    /// Windows that start before it are closed for good, whatever stream time says: they were emitted as final.
    closed: Timestamp,
    /// Start of the first window that is open at this stream time.
    open: Timestamp,
}

impl Time {
    fn start(windows: &TimeWindows) -> Self {
        let stream_time = Timestamp::MIN;
        Time {
            stream_time,
            closed: 0,
            open: windows.first_open(stream_time),
        }
    }

    #[inline]
    fn advance(&mut self, timestamp: Timestamp, windows: &TimeWindows) {
        if timestamp > self.stream_time {
            self.stream_time = timestamp;
            if timestamp >= windows.closes_at(self.open) {
                self.open = windows.first_open(timestamp).max(self.closed);
            }
        }
    }
}

impl<K: Key, V: Data, A: Data> WindowAggregate<K, V, A> {
    pub fn new(parts: Parts<K, V, A>) -> Self {
        WindowAggregate {
            layout: Layout::new(&parts.windows, parts.folding.merges()),
            time: Time::start(&parts.windows),
            staged: BTreeMap::new(),
            emitted: 0,
            due: Due::unknown(),
            slots: Vec::new(),
            scratch: layout::Scratch::default(),
            parts,
        }
    }

    fn batch(&mut self, mut batch: Batch<K, V>, cx: &mut Ctx<'_>) -> Result<()> {
        self.parts.null_keys.drop_keys_from(&mut batch, Reason::UnusableKey, cx);
        let handle = self.parts.store.clone();
        let mut store = handle.borrow_mut();
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        slots.extend(batch.rows.iter().map(|row| store.slot_of(&row.key)));
        store.load_missing(cx.engine()).map_err(|e| cx.state_error(e))?;
        let mut closed = Vec::new();
        for (row, &slot) in batch.rows.into_iter().zip(&slots) {
            let seq = row.seq;
            self.row(row, slot, &batch.origin, &mut store, cx);
            if self.parts.emit == EmitStrategy::OnWindowClose && self.time.open > self.time.closed {
                self.close(self.time.open, seq, &mut store, &mut closed, cx)?;
            }
        }
        self.slots = slots;
        self.send(closed);
        Ok(())
    }

    #[inline]
    fn row(
        &mut self,
        row: Row<K, V>,
        slot: Slot,
        origin: &Origin,
        store: &mut Overlay<Slices<K, A, ChangedFrom>>,
        cx: &mut Ctx<'_>,
    ) {
        if row.timestamp < 0 {
            cx.drop_row(Reason::NegativeTimestamp);
            return;
        }
        self.time.advance(row.timestamp, &self.parts.windows);
        let place = self.layout.place(row.timestamp);
        let from = place.first.max(self.time.open);
        if from > place.first {
            let missed = (
                place.first,
                from.min(place.last.saturating_add(self.parts.windows.advance_ms())),
            );
            self.parts
                .late
                .write(&row, missed, self.time.stream_time, &self.parts.windows, origin, cx);
            if from <= place.last && self.parts.emit == EmitStrategy::OnUpdate {
                self.freeze(slot, from, store);
            }
        }
        if from > place.last {
            return;
        }
        if self.layout.is_sliced() {
            self.add(store, slot, place.slice, from, row);
            return;
        }
        let advance = self.parts.windows.advance_ms();
        for window in (from + advance..=place.last).step_by(advance as usize) {
            self.add(store, slot, window, window, row.clone());
        }
        self.add(store, slot, from, from, row);
    }

    /// Adds one row to a slice (or window); `from` is the first window it counts for.
    #[inline]
    fn add(
        &mut self,
        store: &mut Overlay<Slices<K, A, ChangedFrom>>,
        slot: Slot,
        sub: Timestamp,
        from: Timestamp,
        row: Row<K, V>,
    ) {
        let folding = &*self.parts.folding;
        let timestamp = row.timestamp;
        let is_new = store.upsert(slot, sub, |cell, changed| {
            changed.0 = changed.0.min(from);
            match cell {
                Some(acc) => {
                    folding.add(&mut acc.value, &row.key, row.value);
                    acc.timestamp = acc.timestamp.max(timestamp);
                    false
                }
                None => {
                    *cell = Some(Stamped::new(timestamp, folding.first(&row.key, row.value)));
                    true
                }
            }
        });
        if is_new && self.parts.emit == EmitStrategy::OnWindowClose {
            self.due.added(store.cells(slot), slot, sub, from, self.time.open);
        }
    }

    fn send(&self, rows: Results<K, A>) {
        if !rows.is_empty() {
            self.parts.output.send(Batch::from_state(rows));
        }
    }

    /// Rows that no open window needs leave the store.
    fn expire(&mut self, store: &mut Overlay<Slices<K, A, ChangedFrom>>) {
        let kept = self.time.stream_time.saturating_sub(self.parts.retention_ms);
        let dead = match self.parts.emit {
            EmitStrategy::OnUpdate => self.time.open,
            EmitStrategy::OnWindowClose => self.time.closed,
        };
        let extra = self.parts.retention_ms > self.parts.windows.retention_ms();
        store.expire(if extra { dead.min(kept) } else { dead });
    }
}

impl<K: Key, V: Data, A: Data> Node for WindowAggregate<K, V, A> {
    fn run(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(batch) = self.parts.input.take() {
            self.batch(batch, cx)?;
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Ctx<'_>) -> Result<Flushed> {
        let handle = self.parts.store.clone();
        let mut store = handle.borrow_mut();
        if self.parts.emit == EmitStrategy::OnUpdate {
            let mut rows = Vec::new();
            let flushed = self.emit_changed(cx.portion(), &mut store, &mut rows);
            self.send(rows);
            if flushed == Flushed::Part {
                return Ok(Flushed::Part);
            }
        }
        self.expire(&mut store);
        Ok(Flushed::All)
    }

    /// The end of time: every window that has a record closes. Later windows stay open, should input go on after all.
    fn finish(&mut self, cx: &mut Ctx<'_>) -> Result<()> {
        if self.parts.emit == EmitStrategy::OnWindowClose {
            let handle = self.parts.store.clone();
            let mut rows = Vec::new();
            self.close_all(&mut handle.borrow_mut(), &mut rows, cx)?;
            self.send(rows);
        }
        Ok(())
    }

    fn note(&self) -> Option<Vec<u8>> {
        let mut note = vec![NOTE_FORMAT];
        note.extend_from_slice(&self.time.stream_time.to_be_bytes());
        note.extend_from_slice(&self.time.closed.to_be_bytes());
        Some(note)
    }

    fn restore_note(&mut self, note: &[u8]) -> Result<(), StateError> {
        let (stream_time, closed) = read_note(note).ok_or_else(|| {
            StateError::Corrupt(format!(
                "a windowed aggregation's stream time cannot be read ({} bytes); rebuild the store from its changelog",
                note.len()
            ))
        })?;
        // Notes come from the engine and from the commit's metadata; time never goes back.
        let (stream_time, closed) = (stream_time.max(self.time.stream_time), closed.max(self.time.closed));
        let open = self.parts.windows.first_open(stream_time).max(closed);
        self.time = Time {
            stream_time,
            closed,
            open,
        };
        self.due = Due::unknown();
        Ok(())
    }
}

const NOTE_FORMAT: u8 = 1;

fn read_note(note: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (&NOTE_FORMAT, rest) = note.split_first()? else {
        return None;
    };
    let (stream_time, rest) = rest.split_first_chunk::<8>()?;
    let closed: [u8; 8] = rest.try_into().ok()?;
    Some((Timestamp::from_be_bytes(*stream_time), Timestamp::from_be_bytes(closed)))
}
