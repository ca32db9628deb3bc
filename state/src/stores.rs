//! All stores of one task over one engine: what is sealed, written, rolled back and restored together.
//!
//! The meta family (family 0) holds what belongs to the stores and is no row of theirs:
//!
//! ```text
//! "format"           -> [1]                  layout of everything below and of the rows; others are refused
//! "position/<store>" -> [offset 8 BE]        the changelog is applied up to here (the next offset to read)
//! "note/<node>"      -> bytes                what an operator keeps beside rows (stream time, closed up to)
//! ```
//! They are written in the same atomic step as the rows they belong to (CO-2).
//!
//! ```
//! use millstream_state::codec::{I64, Utf8};
//! use millstream_state::engine::MemoryEngine;
//! use millstream_state::schema::{KeyValue, Stamped};
//! use millstream_state::spec::{StoreKind, StoreSpec};
//! use millstream_state::stores::{META_NAME, StoreSet};
//! use millstream_state::text::Str;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), millstream_state::StateError> {
//! let families = [META_NAME.to_owned(), "counts".to_owned()];
//! let mut stores = StoreSet::new(Box::new(MemoryEngine::new()), &families)?;
//! let spec = StoreSpec { name: "counts".into(), kind: StoreKind::KeyValue, logged: true, retention_ms: None };
//! let counts = stores.register(spec, KeyValue::<Str, i64>::new(Arc::new(Utf8), Arc::new(I64)))?;
//!
//! // A batch: find the places, load what is missing in one look-up, then work in memory.
//! let mut rows = counts.borrow_mut();
//! let slots = ["N14228", "N24211", "N14228"].map(|tail| rows.slot(tail, |tail| Str::from(tail)));
//! rows.load_missing(stores.engine())?;
//! for slot in slots {
//!     rows.upsert(slot, (), |row, _| row.get_or_insert(Stamped::new(7, 0)).value += 1);
//! }
//! drop(rows);
//!
//! // A commit: seal, send the changelog records, and when they and the offsets are committed, apply.
//! let sealed = stores.seal_all();
//! assert_eq!(sealed.len(), 2, "one record per key");
//! sealed.try_each_log_row(|_store, _record| Ok::<(), millstream_state::StateError>(()))?;
//! stores.apply(sealed, &[("counts".to_owned(), 2)], &[])?;
//!
//! let row = counts.borrow().fetch(stores.engine(), &Str::from("N14228"), ())?;
//! assert_eq!(row, Some(Stamped::new(7, 2)));
//! assert_eq!(stores.position("counts")?, Some(2));
//! # Ok(())
//! # }
//! ```

use crate::engine::{Engine, Family, WriteSet};
use crate::error::{Result, StateError};
use crate::overlay::{LogRow, Overlay, Sealed, Stats};
use crate::restore::Restorer;
use crate::schema::{Schema, Sub};
use crate::spec::StoreSpec;
use std::cell::RefCell;
use std::rc::Rc;

/// The family of positions and notes; engines are opened with it first.
pub const META: Family = Family(0);
/// Its name.
pub const META_NAME: &str = "millstream.meta";

const FORMAT_KEY: &[u8] = b"format";
const FORMAT: u8 = 1;

/// A store as its operators hold it.
pub type Shared<S> = Rc<RefCell<Overlay<S>>>;

/// A store whose types are forgotten.
pub trait StoreHandle {
    /// [`Overlay::open`].
    fn open(&self, engine: &dyn Engine) -> Result<()>;
    /// [`Overlay::seal`].
    fn seal(&self) -> Sealed;
    /// [`Overlay::acked`].
    fn acked(&self, sealed: &Sealed);
    /// [`Overlay::rollback`].
    fn rollback(&self);
    /// Loads the newest rows into memory until about `bytes` are in use.
    fn warm(&self, engine: &dyn Engine, bytes: usize) -> Result<()>;
    /// Marks rows to be written again as they are, by row key.
    fn rewrite(&self, engine: &dyn Engine, row_keys: &[Vec<u8>]) -> Result<()>;
    /// [`Overlay::mem`].
    fn mem(&self) -> usize;
    /// [`Overlay::dirty_bytes`].
    fn dirty_bytes(&self) -> usize;
    /// [`Overlay::evict`].
    fn evict(&self, bytes: usize) -> usize;
    /// [`Overlay::stats`].
    fn stats(&self) -> Stats;
}

impl<S: Schema> StoreHandle for Shared<S> {
    fn open(&self, engine: &dyn Engine) -> Result<()> {
        self.borrow_mut().open(engine)
    }

    fn seal(&self) -> Sealed {
        self.borrow_mut().seal()
    }

    fn acked(&self, sealed: &Sealed) {
        self.borrow_mut().acked(sealed);
    }

    fn rollback(&self) {
        self.borrow_mut().rollback();
    }

    fn warm(&self, engine: &dyn Engine, bytes: usize) -> Result<()> {
        self.borrow_mut().warm(engine, bytes)
    }

    fn rewrite(&self, engine: &dyn Engine, row_keys: &[Vec<u8>]) -> Result<()> {
        self.borrow_mut().rewrite(engine, row_keys)
    }

    fn mem(&self) -> usize {
        self.borrow().mem()
    }

    fn dirty_bytes(&self) -> usize {
        self.borrow().dirty_bytes()
    }

    fn evict(&self, bytes: usize) -> usize {
        self.borrow_mut().evict(bytes)
    }

    fn stats(&self) -> Stats {
        self.borrow().stats()
    }
}

struct Entry {
    spec: StoreSpec,
    family: Family,
    handle: Box<dyn StoreHandle>,
    layout: Layout,
    restored: u64,
}

/// What restore needs to know of a store's rows without their types.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Appends the row key of a changelog key; `None` when it is too short.
    pub(crate) row_key: fn(&[u8], &mut Vec<u8>) -> Option<()>,
    /// The slice start in a changelog key.
    pub(crate) start: fn(&[u8]) -> Option<i64>,
    /// Appends the lowest row key of a slice start.
    pub(crate) floor: fn(i64, &mut Vec<u8>),
}

impl Layout {
    fn of<U: Sub>() -> Layout {
        Layout {
            row_key: |log_key, out| {
                let (key, sub) = U::split_log(log_key)?;
                sub.put(out);
                out.extend_from_slice(key);
                Some(())
            },
            start: |log_key| U::split_log(log_key)?.1.start(),
            floor: |start, out| U::at(start).put(out),
        }
    }
}

/// The stores of one task.
pub struct StoreSet {
    engine: Box<dyn Engine>,
    families: Vec<String>,
    stores: Vec<Entry>,
}

impl StoreSet {
    /// Takes an engine that was opened with these families, [`META_NAME`] first. Refuses an engine of another format.
    pub fn new(mut engine: Box<dyn Engine>, families: &[String]) -> Result<Self> {
        if families.first().is_none_or(|name| name != META_NAME) {
            return Err(StateError::Misuse(format!(
                "the first family of a task must be '{META_NAME}', not {families:?}"
            )));
        }
        match get(&*engine, META, FORMAT_KEY)?.as_deref() {
            Some([FORMAT]) => {}
            Some(other) => {
                return Err(StateError::Misuse(format!(
                    "the state was written in format {other:?}, this version reads format {FORMAT}: use the version that \
                     wrote it, or delete the task's directory to rebuild it from the changelogs"
                )));
            }
            None => {
                let rows = vec![(META, (FORMAT_KEY, Some(&[FORMAT][..])))];
                engine.write(&WriteSet {
                    rows,
                    ..WriteSet::default()
                })?;
            }
        }
        Ok(StoreSet {
            engine,
            families: families.to_vec(),
            stores: Vec::new(),
        })
    }

    /// Adds a store and reads what the engine knows of it.
    pub fn register<S: Schema>(&mut self, spec: StoreSpec, schema: S) -> Result<Shared<S>> {
        if self.stores.iter().any(|entry| entry.spec.name == spec.name) {
            return Err(StateError::Misuse(format!("store '{}' is registered twice", spec.name)));
        }
        let Some(index) = self.families.iter().position(|name| *name == spec.name) else {
            return Err(StateError::Misuse(format!(
                "the engine has no family for store '{}'; it was opened with {:?}",
                spec.name, self.families
            )));
        };
        let family = Family(index as u16);
        let shared = Rc::new(RefCell::new(Overlay::new(schema, &spec.name, family)));
        let handle: Box<dyn StoreHandle> = Box::new(Rc::clone(&shared));
        handle.open(&*self.engine)?;
        self.stores.push(Entry {
            spec,
            family,
            handle,
            layout: Layout::of::<S::Sub>(),
            restored: 0,
        });
        Ok(shared)
    }

    /// The engine, to read from.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The engine, for maintenance ([`Engine::flush`]).
    pub fn engine_mut(&mut self) -> &mut dyn Engine {
        &mut *self.engine
    }

    /// Gives the engine back, for a new task over the same state.
    pub fn into_engine(self) -> Box<dyn Engine> {
        self.engine
    }

    /// The stores, in the order they were registered: their index is what other calls mean by `store`.
    pub fn specs(&self) -> impl ExactSizeIterator<Item = &StoreSpec> {
        self.stores.iter().map(|entry| &entry.spec)
    }

    /// The index of a store.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.stores.iter().position(|entry| entry.spec.name == name)
    }

    /// Ends the epoch of all stores: their dirty rows, encoded once.
    pub fn seal_all(&mut self) -> SealedSet {
        let seal = |entry: &Entry| SealedStore {
            name: entry.spec.name.clone(),
            logged: entry.spec.logged,
            sealed: entry.handle.seal(),
        };
        SealedSet {
            stores: self.stores.iter().map(seal).collect(),
        }
    }

    /// The commit succeeded: writes the sealed rows, the changelog positions (store name, next offset) and the notes (node,
    /// bytes) in one atomic step, and makes the rows clean. After an error the engine holds the commit before this one;
    /// [`StoreSet::rollback_all`], then restore from the position.
    pub fn apply(&mut self, sealed: SealedSet, positions: &[(String, i64)], notes: &[(String, Vec<u8>)]) -> Result<()> {
        let meta = MetaRows::new(positions, notes);
        let mut set = WriteSet::default();
        for SealedStore { sealed, .. } in &sealed.stores {
            set.rows.extend(sealed.rows().map(|row| (sealed.family(), row)));
            set.delete_ranges
                .extend(sealed.expired_below().map(|end| (sealed.family(), &[][..], end)));
        }
        set.rows.extend(meta.rows());
        if set.rows.is_empty() && set.delete_ranges.is_empty() {
            return Ok(());
        }
        self.engine.write(&set)?;
        for (entry, SealedStore { sealed, .. }) in self.stores.iter().zip(&sealed.stores) {
            entry.handle.acked(sealed);
        }
        Ok(())
    }

    /// The commit failed: all stores forget what is not committed.
    pub fn rollback_all(&mut self) {
        for entry in &self.stores {
            entry.handle.rollback();
        }
    }

    /// Up to where a store's changelog is applied: the next offset to read. `None` when it never was.
    pub fn position(&self, store: &str) -> Result<Option<i64>> {
        let key = position_key(store);
        let Some(bytes) = get(&*self.engine, META, &key)? else {
            return Ok(None);
        };
        match bytes.as_slice().try_into() {
            Ok(bytes) => Ok(Some(i64::from_be_bytes(bytes))),
            Err(_) => Err(StateError::Corrupt(format!(
                "the changelog position of store '{store}' has {} bytes instead of 8; rebuild the store from its changelog",
                bytes.len()
            ))),
        }
    }

    /// The note of a node, as of the last commit.
    pub fn note(&self, node: &str) -> Result<Option<Vec<u8>>> {
        get(&*self.engine, META, &note_key(node))
    }

    /// Starts to rebuild a store from its changelog, from [`StoreSet::position`] on.
    pub fn restore(&mut self, store: usize) -> Result<Restorer> {
        let entry = self.entry(store)?;
        let Entry {
            spec, family, layout, ..
        } = entry;
        Restorer::new(&*self.engine, store, &spec.name, *family, *layout, spec.retention_ms)
    }

    /// A restore came to its end: the overlay learns what the engine holds now.
    pub(crate) fn restored(&mut self, store: usize, rows: u64, rewrite: &[Vec<u8>]) -> Result<()> {
        let entry = self.entry(store)?;
        entry.handle.open(&*self.engine)?;
        entry.handle.rewrite(&*self.engine, rewrite)?;
        if let Some(entry) = self.stores.get_mut(store) {
            entry.restored += rows;
        }
        Ok(())
    }

    fn entry(&self, store: usize) -> Result<&Entry> {
        let known = self.stores.len();
        self.stores
            .get(store)
            .ok_or_else(|| StateError::Misuse(format!("there is no store {store}, only {known}")))
    }

    /// Loads each store's newest rows into memory until about `bytes` are in use together.
    pub fn warm(&mut self, bytes: usize) -> Result<()> {
        let each = bytes / self.stores.len().max(1);
        self.stores
            .iter()
            .try_for_each(|entry| entry.handle.warm(&*self.engine, each))
    }

    /// Bytes of memory the overlays use.
    pub fn mem(&self) -> usize {
        self.stores.iter().map(|entry| entry.handle.mem()).sum()
    }

    /// Rows looked up in the engine so far.
    pub fn lookups(&self) -> u64 {
        self.stores.iter().map(|entry| entry.handle.stats().lookups).sum()
    }

    /// Bytes of rows that wait for a commit.
    pub fn dirty_bytes(&self) -> usize {
        self.stores.iter().map(|entry| entry.handle.dirty_bytes()).sum()
    }

    /// Gives back about `bytes`, from each store in proportion to its size. Returns what it found.
    pub fn evict(&mut self, bytes: usize) -> usize {
        let all = self.mem().max(1);
        let share = |entry: &Entry| (bytes as u128 * entry.handle.mem() as u128 / all as u128) as usize;
        self.stores.iter().map(|entry| entry.handle.evict(share(entry))).sum()
    }

    /// What happened in a store, and how many rows were restored into it.
    pub fn stats(&self, store: usize) -> Option<(Stats, u64)> {
        self.stores
            .get(store)
            .map(|entry| (entry.handle.stats(), entry.restored))
    }
}

/// The dirty rows of all stores of a task at one commit.
#[derive(Debug)]
pub struct SealedSet {
    stores: Vec<SealedStore>,
}

#[derive(Debug)]
struct SealedStore {
    name: String,
    logged: bool,
    sealed: Sealed,
}

impl SealedSet {
    /// Visits the changelog records of all logged stores, store by store, with the store's name.
    pub fn try_each_log_row<E>(&self, mut visit: impl FnMut(&str, LogRow<'_>) -> Result<(), E>) -> Result<(), E> {
        for store in self.stores.iter().filter(|store| store.logged) {
            store.sealed.try_each_log_row(|row| visit(&store.name, row))?;
        }
        Ok(())
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.stores.iter().map(|store| store.sealed.len()).sum()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.stores.iter().all(|store| store.sealed.is_empty())
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.stores.iter().map(|store| store.sealed.bytes()).sum()
    }
}

/// Keys and values of the meta family, kept while they are written.
pub(crate) struct MetaRows(Vec<(Vec<u8>, Vec<u8>)>);

impl MetaRows {
    pub(crate) fn new(positions: &[(String, i64)], notes: &[(String, Vec<u8>)]) -> Self {
        let positions = positions
            .iter()
            .map(|(store, offset)| (position_key(store), offset.to_be_bytes().to_vec()));
        let notes = notes.iter().map(|(node, note)| (note_key(node), note.clone()));
        MetaRows(positions.chain(notes).collect())
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (Family, (&[u8], Option<&[u8]>))> {
        self.0
            .iter()
            .map(|(key, value)| (META, (key.as_slice(), Some(value.as_slice()))))
    }
}

fn position_key(store: &str) -> Vec<u8> {
    [b"position/", store.as_bytes()].concat()
}

fn note_key(node: &str) -> Vec<u8> {
    [b"note/", node.as_bytes()].concat()
}

fn get(engine: &dyn Engine, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut value = None;
    engine.get_many(family, &[key], &mut |_, found| value = found.map(<[u8]>::to_vec))?;
    Ok(value)
}
