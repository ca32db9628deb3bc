//! One law for every kind of store: whatever happens, the overlay shows what a plain map would show, the engine holds what
//! was committed, and the changelog rebuilds the engine.

use crate::codec::{I64, Utf8};
use crate::engine::{Engine, MemoryEngine};
use crate::schema::{KeyValue, Schema, Slices, Stamped, Sub};
use crate::spec::{StoreKind, StoreSpec};
use crate::stores::{META_NAME, SealedSet, Shared, StoreSet};
use crate::text::Str;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

#[derive(Debug, Clone)]
enum Op {
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

fn op() -> impl Strategy<Value = Op> {
    let change = (0..12u8, 0..8u8, proptest::option::weighted(0.8, any::<u8>()));
    prop_oneof![
        6 => proptest::collection::vec(change, 1..12).prop_map(Op::Batch),
        3 => Just(Op::Seal),
        3 => Just(Op::Ack),
        1 => Just(Op::Rollback),
        2 => any::<u16>().prop_map(Op::Evict),
        1 => (0..4u8).prop_map(Op::Expire),
        1 => (0..8u8, 0..8u8).prop_map(|(from, to)| Op::LoadRange(from, to)),
        1 => any::<u16>().prop_map(Op::Warm),
        1 => Just(Op::Reopen),
    ]
}

/// Rows as a plain map.
type Rows<U> = BTreeMap<(U, Str), Stamped<String>>;

struct Law<S: Schema<Key = Str, Value = String>> {
    make: fn() -> S,
    spec: StoreSpec,
    disk: MemoryEngine,
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

fn open<S: Schema>(disk: &MemoryEngine, spec: &StoreSpec, schema: S) -> (StoreSet, Shared<S>) {
    let families = [META_NAME.to_owned(), spec.name.clone()];
    let mut stores = StoreSet::new(Box::new(disk.clone()), &families).unwrap();
    let store = stores.register(spec.clone(), schema).unwrap();
    (stores, store)
}

impl<S: Schema<Key = Str, Value = String>> Law<S> {
    fn new(kind: StoreKind, make: fn() -> S) -> Self {
        let spec = StoreSpec {
            name: "s".into(),
            kind,
            logged: true,
            retention_ms: None,
        };
        let disk = MemoryEngine::new();
        let (stores, store) = open(&disk, &spec, make());
        let (log, in_flight) = (Vec::new(), VecDeque::new());
        let (now, committed) = (Rows::new(), Rows::new());
        Law {
            make,
            spec,
            disk,
            stores,
            store,
            log,
            in_flight,
            now,
            committed,
            floor: 0,
            committed_floor: 0,
        }
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
            Op::Warm(bytes) => self.stores.warm(usize::from(bytes)).unwrap(),
            Op::Reopen => {
                (self.stores, self.store) = open(&self.disk, &self.spec, (self.make)());
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
        store.load_missing(self.stores.engine()).unwrap();
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
        let keep = |name: &str, row: crate::overlay::LogRow<'_>| {
            assert_eq!(name, "s");
            log.push((
                row.key.to_vec(),
                row.value.map(<[u8]>::to_vec),
                row.timestamp.unwrap_or(0),
            ));
            Ok::<(), ()>(())
        };
        sealed.try_each_log_row(keep).unwrap();
        let positions = [("s".to_owned(), self.log.len() as i64)];
        self.stores
            .apply(sealed, &positions, &[("n".into(), floor.to_be_bytes().to_vec())])
            .unwrap();
        self.committed = rows;
        self.committed_floor = floor;
    }

    /// After a load, memory alone must show the range.
    fn load_range(&mut self, from: u8, to: u8) {
        let (from, to) = (self.sub(from.min(to)), self.sub(from.max(to)));
        let mut store = self.store.borrow_mut();
        store.load_range(self.stores.engine(), from, Some(to)).unwrap();
        let mut seen = Rows::new();
        for slot in store.groups() {
            for cell in store
                .cells(slot)
                .iter()
                .filter(|cell| from <= cell.sub && cell.sub < to)
            {
                seen.extend(
                    cell.value()
                        .map(|value| ((cell.sub, store.key(slot).clone()), value.clone())),
                );
            }
        }
        let expected: Rows<S::Sub> = self.now.range((from, Str::new())..(to, Str::new())).map(own).collect();
        assert_eq!(seen, expected);
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
                store.fetch(self.stores.engine(), key, *sub).unwrap().as_ref(),
                Some(value)
            );
        }
        let position = self.stores.position("s").unwrap();
        assert_eq!(position.unwrap_or(0), self.log.len() as i64);
    }

    /// The changelog, replayed into an empty engine, gives the committed rows.
    fn check_replay(&self, run_bytes: usize) {
        let disk = MemoryEngine::new();
        let (mut stores, store) = open(&disk, &self.spec, (self.make)());
        let mut restorer = stores.restore(0).unwrap().with_run_bytes(run_bytes);
        for (offset, (key, value, timestamp)) in self.log.iter().enumerate() {
            restorer
                .push(&mut stores, offset as i64, *timestamp, key, value.as_deref())
                .unwrap();
        }
        restorer.finish(&mut stores, self.log.len() as i64).unwrap();
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

fn rows<S: Schema<Key = Str, Value = String>>(store: &super::Overlay<S>, engine: &dyn Engine) -> Vec<Row<S::Sub>> {
    let mut rows = Vec::new();
    let mut visit = |key: &Str, sub, value: &Stamped<String>| {
        rows.push(((sub, key.clone()), value.clone()));
        true
    };
    store.all(engine, &mut visit).unwrap();
    rows
}

fn run<S: Schema<Key = Str, Value = String>>(mut law: Law<S>, ops: Vec<Op>, run_bytes: usize) {
    for op in ops {
        law.apply(op);
        law.check();
    }
    law.check_replay(run_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn key_value_store_is_a_map(ops in proptest::collection::vec(op(), 1..40), run_bytes in 1..4000usize) {
        run(Law::new(StoreKind::KeyValue, || KeyValue::<_, _, ()>::new(Arc::new(Utf8), Arc::new(Utf8))), ops, run_bytes);
    }

    #[test]
    fn window_store_is_a_map(ops in proptest::collection::vec(op(), 1..40), run_bytes in 1..4000usize) {
        run(Law::new(StoreKind::Window, || Slices::<_, _, i64>::new(Arc::new(Utf8), Arc::new(Utf8))), ops, run_bytes);
    }
}

fn count_store(disk: &MemoryEngine) -> (StoreSet, Shared<Slices<i64, i64>>) {
    let spec = StoreSpec {
        name: "s".into(),
        kind: StoreKind::Window,
        logged: true,
        retention_ms: Some(10),
    };
    open(disk, &spec, Slices::new(Arc::new(I64), Arc::new(I64)))
}

fn add(stores: &StoreSet, store: &Shared<Slices<i64, i64>>, key: i64, start: i64) {
    let mut store = store.borrow_mut();
    let slot = store.slot_of(&key);
    store.load_missing(stores.engine()).unwrap();
    store.upsert(slot, start, |row, _| {
        row.get_or_insert(Stamped::new(start, 0)).value += 1
    });
}

#[test]
fn a_new_key_is_looked_up_only_where_memory_is_not_complete() {
    let disk = MemoryEngine::new();
    let (mut stores, store) = count_store(&disk);
    (0..100).for_each(|key| add(&stores, &store, key, key % 5));
    assert_eq!(
        store.borrow().stats().lookups,
        0,
        "an empty store has nothing to look up"
    );
    let sealed = stores.seal_all();
    stores.apply(sealed, &[], &[]).unwrap();

    let (stores, store) = count_store(&disk);
    add(&stores, &store, 1000, 2);
    assert_eq!(
        store.borrow().stats().lookups,
        5,
        "after a restart: the five slices that are stored"
    );
    store.borrow_mut().load_range(stores.engine(), 3, None).unwrap();
    add(&stores, &store, 1001, 4);
    assert_eq!(store.borrow().stats().lookups, 8, "slices 3 and 4 are in memory");
    store.borrow_mut().expire(2);
    add(&stores, &store, 1002, 4);
    assert_eq!(store.borrow().stats().lookups, 9, "slices 0 and 1 are expired");
}

#[test]
fn expired_slices_leave_the_engine_and_are_not_restored() {
    let disk = MemoryEngine::new();
    let (mut stores, store) = count_store(&disk);
    (0..100).for_each(|key| add(&stores, &store, key, key % 5));
    let sealed = stores.seal_all();
    let mut log = Vec::new();
    let keep = |_: &str, row: super::LogRow<'_>| {
        log.push((row.key.to_vec(), row.value.map(<[u8]>::to_vec), row.timestamp));
        Ok::<(), ()>(())
    };
    sealed.try_each_log_row(keep).unwrap();
    stores.apply(sealed, &[], &[]).unwrap();
    store.borrow_mut().expire(3);
    assert_eq!(store.borrow().len(), 40);
    let sealed = stores.seal_all();
    stores.apply(sealed, &[], &[]).unwrap();
    let mut starts = Vec::new();
    let visit = &mut |_: &i64, start, _: &Stamped<i64>| {
        starts.push(start);
        true
    };
    store.borrow().all(stores.engine(), visit).unwrap();
    assert_eq!((starts.len(), starts[0]), (40, 3));

    let (mut stores, _) = count_store(&MemoryEngine::new());
    let mut restorer = stores.restore(0).unwrap();
    for (offset, (key, value, timestamp)) in log.iter().enumerate() {
        // The last record says that it is time 13: slices up to 3 have expired with retention 10.
        let timestamp = if offset + 1 == log.len() {
            13
        } else {
            timestamp.unwrap()
        };
        restorer
            .push(&mut stores, offset as i64, timestamp, key, value.as_deref())
            .unwrap();
    }
    assert_eq!(restorer.finish(&mut stores, 100).unwrap().rows, 20);
}

#[test]
fn keys_beyond_the_committed_position_are_written_again() {
    let (mut stores, store) = count_store(&MemoryEngine::new());
    let log_key = |key: i64| [&key.to_be_bytes()[..], &[0; 12]].concat();
    let mut restorer = stores.restore(0).unwrap();
    restorer
        .push(&mut stores, 0, 5, &log_key(1), Some(&7i64.to_be_bytes()))
        .unwrap();
    restorer.beyond(1, &log_key(1)).unwrap();
    restorer.beyond(2, &log_key(2)).unwrap();
    restorer.finish(&mut stores, 1).unwrap();
    assert_eq!(store.borrow().dirty().len(), 2);
    let mut written = Vec::new();
    let keep = |_: &str, row: super::LogRow<'_>| {
        written.push((row.key.to_vec(), row.value.map(<[u8]>::to_vec)));
        Ok::<(), ()>(())
    };
    stores.seal_all().try_each_log_row(keep).unwrap();
    assert_eq!(
        written,
        [(log_key(1), Some(7i64.to_be_bytes().to_vec())), (log_key(2), None)]
    );
}

#[test]
fn an_unreadable_row_is_corrupt_and_names_the_store() {
    let disk = MemoryEngine::new();
    let (mut stores, store) = count_store(&disk);
    add(&stores, &store, 1, 0);
    let sealed = stores.seal_all();
    stores.apply(sealed, &[], &[]).unwrap();
    let spec = StoreSpec {
        name: "s".into(),
        kind: StoreKind::Window,
        logged: true,
        retention_ms: None,
    };
    let (stores, store) = open(
        &disk,
        &spec,
        Slices::<i64, bool>::new(Arc::new(I64), Arc::new(crate::codec::Bool)),
    );
    let slot = store.borrow_mut().slot_of(&1);
    let error = store.borrow_mut().load_missing(stores.engine()).unwrap_err();
    assert!(
        matches!(&error, crate::StateError::Corrupt(text) if text.contains("store 's'")),
        "{error}"
    );
    let _ = slot;
}
