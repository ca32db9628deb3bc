//! The law of `conformance`, with operations that shrink, and what it does not say.

use crate::codec::{Bool, I64};
use crate::conformance::{Law, Op};
use crate::engine::MemoryEngine;
use crate::overlay::LogRow;
use crate::schema::{Schema, Slices, Stamped};
use crate::spec::{StoreKind, StoreSpec};
use crate::stores::{META_NAME, Shared, StoreSet};
use proptest::prelude::*;
use std::sync::Arc;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn key_value_store_is_a_map(ops in proptest::collection::vec(op(), 1..40), run_bytes in 1..4000usize) {
        Law::key_value(Box::new(MemoryEngine::new())).run(ops, run_bytes);
    }

    #[test]
    fn window_store_is_a_map(ops in proptest::collection::vec(op(), 1..40), run_bytes in 1..4000usize) {
        Law::window(Box::new(MemoryEngine::new())).run(ops, run_bytes);
    }
}

fn open<S: Schema>(disk: &MemoryEngine, spec: &StoreSpec, schema: S) -> (StoreSet, Shared<S>) {
    let families = [META_NAME.to_owned(), spec.name.clone()];
    let mut stores = StoreSet::new(Box::new(disk.clone()), &families).unwrap();
    let store = stores.register(spec.clone(), schema).unwrap();
    (stores, store)
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
    let keep = |_: &str, row: LogRow<'_>| {
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
    let keep = |_: &str, row: LogRow<'_>| {
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
    let (stores, store) = open(&disk, &spec, Slices::<i64, bool>::new(Arc::new(I64), Arc::new(Bool)));
    let slot = store.borrow_mut().slot_of(&1);
    let error = store.borrow_mut().load_missing(stores.engine()).unwrap_err();
    assert!(
        matches!(&error, crate::StateError::Corrupt(text) if text.contains("store 's'")),
        "{error}"
    );
    let _ = slot;
}
