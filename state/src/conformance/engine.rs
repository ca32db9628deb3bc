//! The contract of [`Engine`], held against a plain map.

use super::{Dice, Subject};
use crate::engine::{Engine, Family, RowRef, RowSink, WriteSet};
use std::collections::BTreeMap;

type Row = (Vec<u8>, Vec<u8>);
type Model = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

const FAMILIES: u16 = 4;

/// Runs the whole suite on an engine.
pub fn check_engine(subject: &mut dyn Subject, seed: u64) {
    bounds(&mut *subject.fresh());
    writes(&mut *subject.fresh());
    delete_ranges(&mut *subject.fresh());
    loads(&mut *subject.fresh());
    large_values(&mut *subject.fresh());
    for round in 0..4 {
        random_work(subject, seed.wrapping_mul(4).wrapping_add(round));
    }
}

fn put(engine: &mut dyn Engine, family: u16, rows: &[(&str, &str)]) {
    let rows = rows
        .iter()
        .map(|(key, value)| (Family(family), (key.as_bytes(), Some(value.as_bytes()))))
        .collect();
    engine
        .write(&WriteSet {
            rows,
            ..WriteSet::default()
        })
        .expect("a write");
}

fn scan(engine: &dyn Engine, family: u16, from: &[u8], to: Option<&[u8]>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    };
    engine.scan(Family(family), from, to, &mut visit).expect("a scan");
    let mut back = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        back.push((key.to_vec(), value.to_vec()));
        true
    };
    engine
        .scan_back(Family(family), from, to, &mut visit)
        .expect("a scan back");
    back.reverse();
    assert_eq!(rows, back, "scan_back shows what scan shows, in the other order");
    rows
}

fn keys(engine: &dyn Engine, family: u16, from: &str, to: Option<&str>) -> String {
    let rows = scan(engine, family, from.as_bytes(), to.map(str::as_bytes));
    rows.into_iter()
        .map(|(key, _)| String::from_utf8(key).expect("text"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn get(engine: &dyn Engine, family: u16, sorted: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    let mut found = Vec::new();
    let mut take = |index: usize, value: Option<&[u8]>| {
        assert_eq!(index, found.len(), "found is called once per key, in order");
        found.push(value.map(<[u8]>::to_vec));
    };
    engine.get_many(Family(family), sorted, &mut take).expect("a look-up");
    assert_eq!(found.len(), sorted.len());
    found
}

fn bounds(engine: &mut dyn Engine) {
    assert_eq!(keys(engine, 1, "", None), "", "a fresh engine is empty");
    put(engine, 1, &[("a", "1"), ("ab", "2"), ("b", "3"), ("c", "4")]);
    assert_eq!(keys(engine, 1, "", None), "a ab b c");
    assert_eq!(keys(engine, 1, "ab", Some("c")), "ab b", "from is in, to is out");
    assert_eq!(keys(engine, 1, "aa", Some("bb")), "ab b", "bounds need not be keys");
    assert_eq!(
        keys(engine, 1, "c", Some("a")),
        "",
        "a range that ends before it starts is empty"
    );
    assert_eq!(keys(engine, 1, "b", Some("b")), "");
    assert_eq!(keys(engine, 2, "", None), "", "families are apart");
    let mut seen = 0;
    let mut stop = |_: &[u8], _: &[u8]| {
        seen += 1;
        seen < 2
    };
    engine.scan(Family(1), b"", None, &mut stop).expect("a scan");
    assert_eq!(seen, 2, "a scan ends when it is told to");
}

fn writes(engine: &mut dyn Engine) {
    put(engine, 1, &[("a", "1"), ("b", ""), ("a", "2")]);
    let found = get(engine, 1, &[b"a", b"aa", b"b"]);
    assert_eq!(
        found,
        [Some(b"2".to_vec()), None, Some(Vec::new())],
        "later rows win; empty is not absent"
    );
    let rows: Vec<(Family, RowRef<'_>)> = vec![
        (Family(1), (b"a", None)),
        (Family(1), (b"zz", None)),
        (Family(2), (b"x", Some(b"y"))),
    ];
    engine
        .write(&WriteSet {
            rows,
            ..WriteSet::default()
        })
        .expect("a write");
    assert_eq!(keys(engine, 1, "", None), "b");
    assert_eq!(keys(engine, 2, "", None), "x");
    engine.write(&WriteSet::default()).expect("an empty write");
}

fn delete_ranges(engine: &mut dyn Engine) {
    put(engine, 1, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    put(engine, 2, &[("b", "2")]);
    let rows: Vec<(Family, RowRef<'_>)> = vec![(Family(1), (b"b", Some(b"new")))];
    let delete_ranges: Vec<(Family, &[u8], &[u8])> = vec![(Family(1), b"", b"c"), (Family(1), b"d", b"c")];
    engine.write(&WriteSet { rows, delete_ranges }).expect("a write");
    assert_eq!(
        keys(engine, 1, "", None),
        "b c d",
        "ranges go first, so a row of the same write stays"
    );
    assert_eq!(get(engine, 1, &[b"a", b"b"]), [None, Some(b"new".to_vec())]);
    assert_eq!(keys(engine, 2, "", None), "b", "and only in their family");
}

fn loads(engine: &mut dyn Engine) {
    put(engine, 1, &[("b", "old"), ("y", "old"), ("z", "old")]);
    let rows: [RowRef<'_>; 4] = [(b"a", Some(b"1")), (b"b", Some(b"2")), (b"c", Some(b"3")), (b"y", None)];
    let meta: Vec<(Family, RowRef<'_>)> = vec![(Family(0), (b"position", Some(b"7")))];
    let mut give = |sink: &mut RowSink<'_>| rows.iter().try_for_each(|(key, value)| sink(key, *value));
    engine.ingest(Family(1), &mut give, &meta).expect("a load");
    assert_eq!(
        get(engine, 1, &[b"a", b"b", b"c", b"y", b"z"]),
        [Some(&b"1"[..]), Some(b"2"), Some(b"3"), None, Some(b"old")].map(|v| v.map(<[u8]>::to_vec))
    );
    assert_eq!(get(engine, 0, &[b"position"]), [Some(b"7".to_vec())]);
    engine
        .ingest(Family(1), &mut |_| Ok(()), &[])
        .expect("a load of nothing");
    put(engine, 1, &[("a", "after")]);
    assert_eq!(
        get(engine, 1, &[b"a"]),
        [Some(b"after".to_vec())],
        "writes go over loaded rows"
    );
}

fn large_values(engine: &mut dyn Engine) {
    let large = vec![7u8; 10 << 20];
    let rows: Vec<(Family, RowRef<'_>)> = vec![(Family(1), (b"k", Some(&large)))];
    engine
        .write(&WriteSet {
            rows,
            ..WriteSet::default()
        })
        .expect("a large write");
    engine.flush().expect("a flush");
    assert_eq!(get(engine, 1, &[b"k"]), [Some(large)]);
}

/// Any mixture of calls shows what a plain map shows; what is flushed or closed in good order is there again.
fn random_work(subject: &mut dyn Subject, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut engine = subject.fresh();
    let mut model = Model::new();
    for _ in 0..60 {
        match dice.roll(10) {
            0..5 => random_write(&mut *engine, &mut model, &mut dice),
            5..7 => random_load(&mut *engine, &mut model, &mut dice),
            7 => engine.flush().expect("a flush"),
            8 => engine = subject.reopen(engine),
            _ => compare(&*engine, &model, &mut dice),
        }
    }
    compare(&*engine, &model, &mut dice);
    engine.flush().expect("a flush");
    assert_eq!(engine.unflushed_bytes(), 0, "after a flush nothing is unflushed");
}

fn random_key(dice: &mut Dice) -> Vec<u8> {
    let len = dice.roll(4);
    (0..=len)
        .map(|_| [0, 1, 0x7f, 0x80, 0xff][dice.roll(5) as usize])
        .collect()
}

fn random_write(engine: &mut dyn Engine, model: &mut Model, dice: &mut Dice) {
    let mut ranges = Vec::new();
    if dice.roll(4) == 0 {
        ranges.push((
            dice.roll(u64::from(FAMILIES)) as u16,
            random_key(dice),
            random_key(dice),
        ));
    }
    let mut rows = Vec::new();
    for _ in 0..dice.roll(30) {
        let value = (dice.roll(4) > 0).then(|| vec![dice.byte(255); dice.roll(40) as usize]);
        rows.push((dice.roll(u64::from(FAMILIES)) as u16, random_key(dice), value));
    }
    let set = WriteSet {
        rows: rows
            .iter()
            .map(|(family, key, value)| (Family(*family), (&key[..], value.as_deref())))
            .collect(),
        delete_ranges: ranges
            .iter()
            .map(|(family, from, to)| (Family(*family), &from[..], &to[..]))
            .collect(),
    };
    engine.write(&set).expect("a write");
    for (family, from, to) in ranges {
        model.retain(|(f, key), _| *f != family || *key < from || *key >= to);
    }
    for (family, key, value) in rows {
        match value {
            Some(value) => drop(model.insert((family, key), value)),
            None => drop(model.remove(&(family, key))),
        }
    }
}

fn random_load(engine: &mut dyn Engine, model: &mut Model, dice: &mut Dice) {
    let family = dice.roll(u64::from(FAMILIES)) as u16;
    let value = |dice: &mut Dice| (dice.roll(4) > 0).then(|| vec![dice.byte(255); dice.roll(20) as usize]);
    let rows: BTreeMap<Vec<u8>, Option<Vec<u8>>> =
        (0..dice.roll(50)).map(|_| (random_key(dice), value(dice))).collect();
    let mut give = |sink: &mut RowSink<'_>| rows.iter().try_for_each(|(key, value)| sink(key, value.as_deref()));
    engine.ingest(Family(family), &mut give, &[]).expect("a load");
    for (key, value) in rows {
        match value {
            Some(value) => drop(model.insert((family, key), value)),
            None => drop(model.remove(&(family, key))),
        }
    }
}

fn compare(engine: &dyn Engine, model: &Model, dice: &mut Dice) {
    for family in 0..FAMILIES {
        let all: Vec<Row> = model
            .iter()
            .filter(|((f, _), _)| *f == family)
            .map(|((_, k), v)| (k.clone(), v.clone()))
            .collect();
        assert_eq!(scan(engine, family, b"", None), all);
        let (from, to) = (random_key(dice), random_key(dice));
        let part: Vec<Row> = all
            .iter()
            .filter(|(key, _)| *key >= from && *key < to)
            .cloned()
            .collect();
        assert_eq!(scan(engine, family, &from, Some(&to)), part);
        let mut asked: Vec<Vec<u8>> = (0..20).map(|_| random_key(dice)).collect();
        asked.sort_unstable();
        let expected: Vec<_> = asked
            .iter()
            .map(|key| model.get(&(family, key.clone())).cloned())
            .collect();
        assert_eq!(
            get(engine, family, &asked.iter().map(|key| &key[..]).collect::<Vec<_>>()),
            expected
        );
    }
}
