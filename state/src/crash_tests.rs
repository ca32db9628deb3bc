//! A small task is cut down at every step of its commits, on a disk that forgets what was not flushed; at the end its state
//! and its changelog are exactly those of a task that never failed (CO-2, CO-4).

use crate::codec::I64;
use crate::conformance::Dice;
use crate::engine::faulty::{Fault, Faults, FaultyEngine, VolatileEngine};
use crate::error::{Result, StateError};
use crate::restore::Memory;
use crate::schema::{KeyValue, Schema, Slices, Stamped, Sub};
use crate::spec::{StoreKind, StoreSpec};
use crate::stores::{META_NAME, Shared, StoreSet};
use std::collections::BTreeMap;
use std::sync::Arc;

const INPUTS: i64 = 300;

/// What outlives a process: the log and the disk.
struct World {
    disk: VolatileEngine,
    /// Where a restore puts its runs aside.
    scratch: tempfile::TempDir,
    changelog: Vec<(Vec<u8>, Option<Vec<u8>>, i64)>,
    committed: Committed,
}

/// One commit: atomic, as the broker makes it.
#[derive(Debug, Clone, Copy, Default)]
struct Committed {
    input: i64,
    changelog: i64,
}

/// Where, beside the engine's calls, a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    BeforeSeal,
    /// When the changelog has got this many of the commit's rows.
    WithinAppend(usize),
    BeforeCommit,
    AfterCommit,
    AfterApply,
}

/// One life of the process.
struct Life {
    faults: Faults,
    cut: Option<(u64, Cut)>,
    batch: i64,
}

fn dead() -> StateError {
    StateError::Fatal("cut".into())
}

type Rows<U> = BTreeMap<(U, i64), Stamped<i64>>;

/// Input `n`: a key, a slice and what to do; every seventh deletes.
fn input<U: Sub>(n: i64) -> (i64, U, bool) {
    (n * 7919 % 23, U::at(n / 50 * 10), n % 7 == 6)
}

fn change(row: &mut Option<Stamped<i64>>, n: i64, delete: bool) {
    if delete {
        *row = None;
    } else {
        let row = row.get_or_insert(Stamped::new(0, 0));
        *row = Stamped::new(n, row.value * 3 + n);
    }
}

fn expected<U: Sub>() -> Rows<U> {
    let mut rows = Rows::new();
    for n in 0..INPUTS {
        let (key, sub, delete) = input::<U>(n);
        let mut row = rows.remove(&(sub, key));
        change(&mut row, n, delete);
        rows.extend(row.map(|row| ((sub, key), row)));
    }
    rows
}

impl World {
    fn new() -> Self {
        World {
            disk: VolatileEngine::new(),
            scratch: tempfile::tempdir().unwrap(),
            changelog: Vec::new(),
            committed: Committed::default(),
        }
    }

    /// A process: starts, restores, works to the end of the input or to its death.
    fn live<S: Schema<Key = i64, Value = i64>>(&mut self, spec: &StoreSpec, schema: S, life: &Life) -> Result<()> {
        let engine = FaultyEngine::new(Box::new(self.disk.clone()), &life.faults).with_scratch(self.scratch.path());
        let mut stores = StoreSet::new(Box::new(engine), &[META_NAME.to_owned(), spec.name.clone()])?;
        let store = stores.register(spec.clone(), schema)?;
        self.restore(&mut stores)?;
        let mut commit = 0;
        while self.committed.input < INPUTS {
            let to = (self.committed.input + life.batch).min(INPUTS);
            work(&stores, &store, self.committed.input..to)?;
            let die_at = |at: Cut| {
                if life.cut == Some((commit, at)) {
                    Err(dead())
                } else {
                    Ok(())
                }
            };
            match self.commit(&mut stores, to, &die_at, life, commit) {
                // The disk was full: the commit stands, so the store follows from its changelog.
                Err(StateError::Retry(_)) => {
                    stores.rollback_all();
                    self.restore(&mut stores)?;
                }
                other => other?,
            }
            if commit % 3 == 2 {
                stores.engine_mut().flush().or_else(|error| {
                    if matches!(error, StateError::Retry(_)) {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })?;
            }
            commit += 1;
        }
        Ok(())
    }

    fn restore(&mut self, stores: &mut StoreSet) -> Result<()> {
        let from = stores.position("s")?.unwrap_or(0);
        let to = self.committed.changelog;
        assert!(from <= to, "CO-2: the store holds nothing that is not committed");
        let mut restorer = stores.restore(0)?.with_memory(&Memory::new(2000)).with_bulk_rows(5);
        for (offset, (key, value, timestamp)) in (0..).zip(&self.changelog) {
            if (from..to).contains(&offset) {
                restorer.push(stores, offset, *timestamp, key, value.as_deref())?;
            } else if offset >= to {
                restorer.beyond(offset, key)?;
            }
        }
        restorer.finish(stores, to).map(drop)
    }

    fn commit(
        &mut self,
        stores: &mut StoreSet,
        input: i64,
        die_at: &dyn Fn(Cut) -> Result<()>,
        life: &Life,
        commit: u64,
    ) -> Result<()> {
        die_at(Cut::BeforeSeal)?;
        let sealed = stores.seal_all();
        let mut rows = 0;
        sealed.try_each_log_row(|_, row| {
            if life.cut == Some((commit, Cut::WithinAppend(rows))) {
                return Err(dead());
            }
            rows += 1;
            self.changelog.push((
                row.key.to_vec(),
                row.value.map(<[u8]>::to_vec),
                row.timestamp.unwrap_or(0),
            ));
            Ok(())
        })?;
        die_at(Cut::BeforeCommit)?;
        self.committed = Committed {
            input,
            changelog: self.changelog.len() as i64,
        };
        die_at(Cut::AfterCommit)?;
        stores.apply(sealed, &[("s".to_owned(), self.committed.changelog)], &[])?;
        die_at(Cut::AfterApply)
    }
}

fn work<S: Schema<Key = i64, Value = i64>>(
    stores: &StoreSet,
    store: &Shared<S>,
    inputs: std::ops::Range<i64>,
) -> Result<()> {
    let mut store = store.borrow_mut();
    let slots: Vec<_> = inputs.clone().map(|n| store.slot_of(&input::<S::Sub>(n).0)).collect();
    store.load_missing(stores.engine())?;
    for (n, slot) in inputs.zip(slots) {
        let (_, sub, delete) = input::<S::Sub>(n);
        store.upsert(slot, sub, |row, _| change(row, n, delete));
    }
    Ok(())
}

fn all_rows<S: Schema<Key = i64, Value = i64>>(stores: &StoreSet, store: &Shared<S>) -> Rows<S::Sub> {
    let mut rows = Rows::new();
    let visit = &mut |key: &i64, sub, row: &Stamped<i64>| {
        rows.insert((sub, *key), *row);
        true
    };
    store.borrow().all(stores.engine(), visit).unwrap();
    rows
}

/// Lets processes live and die; the last one lives to the end. Then looks at the disk and at the changelog alone.
fn survives<S: Schema<Key = i64, Value = i64>>(kind: StoreKind, schema: fn() -> S, lives: Vec<Life>) {
    let spec = StoreSpec {
        name: "s".into(),
        kind,
        logged: true,
        retention_ms: None,
    };
    let mut world = World::new();
    let last = Life {
        faults: Faults::none(),
        cut: None,
        batch: 20,
    };
    for life in lives.iter().chain([&last]) {
        let result = world.live(&spec, schema(), life);
        assert!(
            matches!(result, Ok(()) | Err(StateError::Fatal(_) | StateError::Retry(_))),
            "{result:?}"
        );
        world.disk.crash();
    }
    for disk in [world.disk.clone(), VolatileEngine::new()] {
        let mut stores = StoreSet::new(Box::new(disk), &[META_NAME.to_owned(), "s".to_owned()]).unwrap();
        let store = stores.register(spec.clone(), schema()).unwrap();
        world.restore(&mut stores).unwrap();
        assert_eq!(all_rows(&stores, &store), expected());
    }
}

fn both_kinds(lives: impl Fn() -> Vec<Life>) {
    survives(
        StoreKind::KeyValue,
        || KeyValue::<_, _, ()>::new(Arc::new(I64), Arc::new(I64)),
        lives(),
    );
    survives(
        StoreKind::Window,
        || Slices::<_, _, ()>::new(Arc::new(I64), Arc::new(I64)),
        lives(),
    );
}

#[test]
fn a_commit_can_be_cut_at_every_step() {
    let steps = [Cut::BeforeSeal, Cut::BeforeCommit, Cut::AfterCommit, Cut::AfterApply];
    for cut in steps.into_iter().chain((0..12).map(Cut::WithinAppend)) {
        for commit in 0..8 {
            both_kinds(|| {
                vec![Life {
                    faults: Faults::none(),
                    cut: Some((commit, cut)),
                    batch: 20,
                }]
            });
        }
    }
}

#[test]
fn the_engine_can_fail_at_every_call() {
    let full = Fault::Refuse(StateError::full("the disk under test"));
    for fault in [full, Fault::DieBefore, Fault::DieAfter, Fault::DieWithin(3)] {
        for call in 0..25 {
            // The second life fails, too, in its restore or soon after.
            let life = |call, batch| {
                let faults = Faults::none();
                faults.plan(call, fault.clone());
                Life {
                    faults,
                    cut: None,
                    batch,
                }
            };
            both_kinds(|| vec![life(call, 20), life(call % 4, 13)]);
        }
    }
}

#[test]
fn many_deaths_in_a_row() {
    for seed in 0..200 {
        let lives = || {
            let mut dice = Dice::new(seed);
            let mut lives = Vec::new();
            for _ in 0..dice.roll(8) {
                let faults = Faults::none();
                let kinds = [
                    Fault::DieBefore,
                    Fault::DieAfter,
                    Fault::DieWithin(2),
                    Fault::Refuse(StateError::full("x")),
                ];
                faults.plan(dice.roll(20), kinds[dice.roll(4) as usize].clone());
                let steps = [
                    Cut::BeforeSeal,
                    Cut::WithinAppend(dice.roll(10) as usize),
                    Cut::BeforeCommit,
                    Cut::AfterCommit,
                ];
                let cut = (dice.roll(2) == 0).then(|| (dice.roll(9), steps[dice.roll(4) as usize]));
                lives.push(Life {
                    faults,
                    cut,
                    batch: 5 + dice.roll(40) as i64,
                });
            }
            lives
        };
        both_kinds(lives);
    }
}

#[test]
fn a_full_disk_stops_nothing_once_it_has_room() {
    let spec = StoreSpec {
        name: "s".into(),
        kind: StoreKind::KeyValue,
        logged: true,
        retention_ms: None,
    };
    let faults = Faults::none();
    let engine = FaultyEngine::new(Box::new(VolatileEngine::new()), &faults);
    let mut stores = StoreSet::new(Box::new(engine), &[META_NAME.to_owned(), "s".to_owned()]).unwrap();
    let store = stores
        .register(spec, KeyValue::<_, _, ()>::new(Arc::new(I64), Arc::new(I64)))
        .unwrap();
    work(&stores, &store, 0..10).unwrap();
    faults.set_full(true);
    let sealed = stores.seal_all();
    let error = stores.apply(sealed, &[], &[]).unwrap_err();
    assert!(
        matches!(&error, StateError::Retry(text) if text.contains("disk is full")),
        "{error}"
    );
    stores.rollback_all();
    assert_eq!(all_rows(&stores, &store), Rows::new());
    faults.set_full(false);
    work(&stores, &store, 0..10).unwrap();
    let sealed = stores.seal_all();
    stores
        .apply(sealed, &[("s".to_owned(), 7)], &[("node".to_owned(), b"note".to_vec())])
        .unwrap();
    assert_eq!(stores.position("s"), Ok(Some(7)));
    assert_eq!(stores.note("node"), Ok(Some(b"note".to_vec())));
    assert!(!all_rows(&stores, &store).is_empty());
}
