//! One law for every kind of store over every engine: whatever happens, the overlay shows what a plain map would show, the
//! engine holds what was committed, and the changelog rebuilds the engine.

use super::{Dice, Subject};
use crate::codec::Utf8;
use crate::engine::{Engine, MemoryEngine};
use crate::overlay::{LogRow, Overlay};
use crate::restore::Memory;
use crate::schema::{KeyValue, Schema, Slices, Stamped, Sub};
use crate::spec::{StoreKind, StoreSpec};
use crate::stores::{META_NAME, SealedSet, Shared, StoreSet};
use crate::text::Str;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Runs both kinds of stores over an engine: random batches, commits, roll-backs, eviction, expiry, new overlays.
pub fn check_stores(subject: &mut dyn Subject, seed: u64) {
    let mut dice = Dice::new(seed);
    let ops: Vec<Op> = (0..300).map(|_| Op::roll(&mut dice)).collect();
    Law::key_value(subject.fresh()).run(ops.clone(), 1000);
    Law::window(subject.fresh()).run(ops, 1000);
}

/// One step of the law.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Keys, slices and values of one batch; no value is a deletion.
    Batch(Vec<(u8, u8, Option<u8>)>),
    Seal,
    Ack,
    Rollback,
    Evict(u16),
    Expire(u8),
    LoadRange(u8, u8),
    Warm(u16),
    /// A new overlay over the same engine, as after a crash.
    Reopen,
}

impl Op {
    fn roll(dice: &mut Dice) -> Op {
        match dice.roll(19) {
            0..6 => Op::Batch((0..=dice.roll(12)).map(|_| Op::change(dice)).collect()),
            6..9 => Op::Seal,
            9..12 => Op::Ack,
            12 => Op::Rollback,
            13..15 => Op::Evict(dice.roll(1 << 16) as u16),
            15 => Op::Expire(dice.byte(4)),
            16 => Op::LoadRange(dice.byte(8), dice.byte(8)),
            17 => Op::Warm(dice.roll(1 << 16) as u16),
            _ => Op::Reopen,
        }
    }

    fn change(dice: &mut Dice) -> (u8, u8, Option<u8>) {
        let value = (dice.roll(5) > 0).then(|| dice.byte(255));
        (dice.byte(12), dice.byte(8), value)
    }
}

/// Rows as a plain map.
type Rows<U> = BTreeMap<(U, Str), Stamped<String>>;

/// A store and its model, side by side.
pub(crate) struct Law<S: Schema<Key = Str, Value = String>> {
    make: fn() -> S,
    spec: StoreSpec,
    stores: StoreSet,
    store: Shared<S>,
    log: Vec<(Vec<u8>, Option<Vec<u8>>, i64)>,
    in_flight: VecDeque<(SealedSet, Rows<S::Sub>, i64)>,
    now: Rows<S::Sub>,
    committed: Rows<S::Sub>,
    /// Slices below are expired: now, and as committed.
    floor: i64,
    committed_floor: i64,
}

fn key(n: u8) -> Str {
    // Short and long, and one a prefix of the other.
    Str::from("k".repeat(1 + usize::from(n) * 5))
}

fn open<S: Schema>(engine: Box<dyn Engine>, spec: &StoreSpec, schema: S) -> (StoreSet, Shared<S>) {
    let families = [META_NAME.to_owned(), spec.name.clone()];
    let mut stores = StoreSet::new(engine, &families).expect("stores over a good engine");
    let store = stores.register(spec.clone(), schema).expect("a store with a family");
    (stores, store)
}

impl Law<KeyValue<Str, String>> {
    pub(crate) fn key_value(engine: Box<dyn Engine>) -> Self {
        Law::new(engine, StoreKind::KeyValue, || {
            KeyValue::new(Arc::new(Utf8), Arc::new(Utf8))
        })
    }
}

impl Law<Slices<Str, String, i64>> {
    pub(crate) fn window(engine: Box<dyn Engine>) -> Self {
        Law::new(engine, StoreKind::Window, || {
            Slices::new(Arc::new(Utf8), Arc::new(Utf8))
        })
    }
}

impl<S: Schema<Key = Str, Value = String>> Law<S> {
    fn new(engine: Box<dyn Engine>, kind: StoreKind, make: fn() -> S) -> Self {
        let spec = StoreSpec {
            name: "s".into(),
            kind,
            logged: true,
            retention_ms: None,
        };
        let (stores, store) = open(engine, &spec, make());
        Law {
            make,
            spec,
            stores,
            store,
            log: Vec::new(),
            in_flight: VecDeque::new(),
            now: Rows::new(),
            committed: Rows::new(),
            floor: 0,
            committed_floor: 0,
        }
    }

    /// Applies the steps, looking after each; at the end replays the changelog in runs of this size.
    pub(crate) fn run(mut self, ops: Vec<Op>, run_bytes: usize) {
        for op in ops {
            self.apply(op);
            self.check();
        }
        self.check_replay(run_bytes);
    }

    fn sub(&self, n: u8) -> S::Sub {
        S::Sub::at(self.floor + i64::from(n))
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Batch(changes) => self.batch(&changes),
            Op::Seal => self
                .in_flight
                .push_back((self.stores.seal_all(), self.now.clone(), self.floor)),
            Op::Ack => self.ack(),
            Op::Rollback => {
                self.stores.rollback_all();
                self.go_back();
            }
            Op::Evict(bytes) => {
                self.stores.evict(usize::from(bytes));
            }
            Op::Expire(n) if S::Sub::LOWEST.start().is_some() => {
                self.floor += i64::from(n);
                let floor = S::Sub::at(self.floor);
                self.store.borrow_mut().expire(floor);
                self.now.retain(|(sub, _), _| *sub >= floor);
            }
            Op::Expire(_) => {}
            Op::LoadRange(from, to) => self.load_range(from, to),
            Op::Warm(bytes) => self.stores.warm(usize::from(bytes)).expect("no fault is planned"),
            Op::Reopen => {
                let (nothing, _) = open(Box::new(MemoryEngine::new()), &self.spec, (self.make)());
                let engine = std::mem::replace(&mut self.stores, nothing).into_engine();
                (self.stores, self.store) = open(engine, &self.spec, (self.make)());
                self.go_back();
            }
        }
    }

    fn go_back(&mut self) {
        self.in_flight.clear();
        self.now = self.committed.clone();
        self.floor = self.committed_floor;
    }

    fn batch(&mut self, changes: &[(u8, u8, Option<u8>)]) {
        let subs: Vec<_> = changes.iter().map(|change| self.sub(change.1)).collect();
        let mut store = self.store.borrow_mut();
        let slots: Vec<_> = changes
            .iter()
            .map(|change| store.slot(&*key(change.0), |text| Str::from(text)))
            .collect();
        store.load_missing(self.stores.engine()).expect("no fault is planned");
        for ((slot, sub), (n, _, value)) in slots.into_iter().zip(subs).zip(changes) {
            let at = (sub, key(*n));
            assert_eq!(store.get(slot, &sub), self.now.get(&at), "before the change of {at:?}");
            let value = value.map(|v| Stamped::new(i64::from(v), "v".repeat(usize::from(v % 50))));
            store.upsert(slot, sub, |row, _| row.clone_from(&value));
            match value {
                Some(value) => drop(self.now.insert(at, value)),
                None => drop(self.now.remove(&at)),
            }
        }
    }

    fn ack(&mut self) {
        let Some((sealed, rows, floor)) = self.in_flight.pop_front() else {
            return;
        };
        let log = &mut self.log;
        let keep = |name: &str, row: LogRow<'_>| {
            assert_eq!(name, "s");
            log.push((
                row.key.to_vec(),
                row.value.map(<[u8]>::to_vec),
                row.timestamp.unwrap_or(0),
            ));
            Ok::<(), ()>(())
        };
        sealed.try_each_log_row(keep).expect("no fault is planned");
        let positions = [("s".to_owned(), self.log.len() as i64)];
        self.stores
            .apply(sealed, &positions, &[("n".into(), floor.to_be_bytes().to_vec())])
            .expect("no fault is planned");
        self.committed = rows;
        self.committed_floor = floor;
    }

    /// After a load, memory alone must show the range, and its rows can be changed without asking for their keys.
    fn load_range(&mut self, from: u8, to: u8) {
        // Without slices there is only the whole.
        let end = (from != to && S::Sub::LOWEST.next().is_some()).then(|| self.sub(from.max(to)));
        let (from, to) = (self.sub(from.min(to)), end);
        let mut store = self.store.borrow_mut();
        store
            .load_range(self.stores.engine(), from, to)
            .expect("no fault is planned");
        let within = |sub: S::Sub| from <= sub && to.is_none_or(|to| sub < to);
        let mut seen = Rows::new();
        let slots: Vec<_> = store.groups().collect();
        for slot in slots {
            let cells = store
                .cells(slot)
                .iter()
                .filter(|cell| within(cell.sub) && cell.value().is_some());
            let subs: Vec<_> = cells.map(|cell| cell.sub).collect();
            for sub in subs {
                let row = ((sub, store.key(slot).clone()), store.get(slot, &sub).cloned());
                seen.extend(row.1.map(|value| (row.0, value)));
                store.upsert(slot, sub, |row, _| row.iter_mut().for_each(|row| row.timestamp += 1000));
            }
        }
        let expected: Rows<S::Sub> = self.now.iter().filter(|((sub, _), _)| within(*sub)).map(own).collect();
        assert_eq!(seen, expected);
        for (_, row) in self.now.iter_mut().filter(|((sub, _), _)| within(*sub)) {
            row.timestamp += 1000;
        }
    }

    fn check(&self) {
        let store = self.store.borrow();
        store.check_accounts();
        assert_eq!(
            rows(&store, self.stores.engine()),
            self.now.iter().map(own).collect::<Vec<_>>()
        );
        for ((sub, key), value) in &self.now {
            assert_eq!(
                store
                    .fetch(self.stores.engine(), key, *sub)
                    .expect("no fault is planned")
                    .as_ref(),
                Some(value)
            );
        }
        let position = self.stores.position("s").expect("no fault is planned");
        assert_eq!(position.unwrap_or(0), self.log.len() as i64);
    }

    /// The changelog, replayed into an empty engine, gives the committed rows.
    fn check_replay(&self, run_bytes: usize) {
        let (mut stores, store) = open(Box::new(MemoryEngine::new()), &self.spec, (self.make)());
        let mut restorer = stores
            .restore(0)
            .expect("no fault is planned")
            .with_memory(&Memory::new(run_bytes));
        for (offset, (key, value, timestamp)) in self.log.iter().enumerate() {
            restorer
                .push(&mut stores, offset as i64, *timestamp, key, value.as_deref())
                .expect("no fault is planned");
        }
        restorer
            .finish(&mut stores, self.log.len() as i64)
            .expect("no fault is planned");
        // Expiry is not in the log; retention does it there.
        let floor = S::Sub::at(self.committed_floor);
        let replayed: Vec<_> = rows(&store.borrow(), stores.engine())
            .into_iter()
            .filter(|((sub, _), _)| *sub >= floor)
            .collect();
        assert_eq!(replayed, self.committed.iter().map(own).collect::<Vec<_>>());
    }
}

type Row<U> = ((U, Str), Stamped<String>);

fn own<U: Copy>((key, value): (&(U, Str), &Stamped<String>)) -> Row<U> {
    (key.clone(), value.clone())
}

fn rows<S: Schema<Key = Str, Value = String>>(store: &Overlay<S>, engine: &dyn Engine) -> Vec<Row<S::Sub>> {
    let mut rows = Vec::new();
    let mut visit = |key: &Str, sub, value: &Stamped<String>| {
        rows.push(((sub, key.clone()), value.clone()));
        true
    };
    store.all(engine, &mut visit).expect("no fault is planned");
    rows
}
