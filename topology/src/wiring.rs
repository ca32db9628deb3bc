//! How the nodes of a task are put together: typed edges, inboxes, and what a node may ask for while it is made.
//!
//! An [`Edge`] is a typed number. Types are erased only inside [`Wiring`], while a task is built; the DSL cannot express
//! an edge whose two ends disagree.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    marker::PhantomData,
    rc::Rc,
    sync::Arc,
};

use millstream_state::{
    schema::Schema,
    spec::StoreSpec,
    stores::{Shared, StoreSet},
};

use crate::{
    error::{Result, TaskError},
    graph::TopicName,
    node::{CounterId, Env, Node, OnBad},
    outbox::TopicRef,
    policy::{Door, Policy},
    record::{Chunk, Pick, RawBatch},
};

/// Makes a node for one task. Lives in the plan, which all stream threads share.
pub type Maker = Arc<dyn Fn(&mut Wiring<'_>) -> Result<Box<dyn Node>> + Send + Sync>;

/// A typed connection from one node to its readers.
pub struct Edge<T>(pub(crate) u32, PhantomData<fn() -> T>);

impl<T> Edge<T> {
    pub(crate) fn new(id: u32) -> Self {
        Edge(id, PhantomData)
    }

    /// The edge's number in the graph.
    pub fn id(self) -> u32 {
        self.0
    }
}

impl<T> Clone for Edge<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Edge<T> {}

impl<T> std::fmt::Debug for Edge<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Edge({})", self.0)
    }
}

/// What waits for a node: whole batches.
pub struct Inbox<T>(Rc<RefCell<VecDeque<T>>>);

impl<T> Inbox<T> {
    fn new() -> Self {
        Inbox(Rc::new(RefCell::new(VecDeque::new())))
    }

    /// The oldest batch.
    #[inline]
    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().pop_front()
    }

    #[inline]
    pub(crate) fn put(&self, item: T) {
        self.0.borrow_mut().push_back(item);
    }
}

impl Inbox<RawBatch> {
    /// Adds picked records of a chunk. Records that follow the last ones picked join their batch: partitions that take
    /// turns record by record still give whole batches.
    pub(crate) fn put_picks(&self, chunk: &Arc<Chunk>, picks: impl Iterator<Item = Pick>) {
        let mut waiting = self.0.borrow_mut();
        match waiting.back_mut() {
            Some(last) if Arc::ptr_eq(&last.chunk, chunk) => last.picks.extend(picks),
            _ => waiting.push_back(RawBatch {
                chunk: chunk.clone(),
                picks: picks.collect(),
            }),
        }
    }
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Inbox(self.0.clone())
    }
}

/// Where a node sends its batches: the inboxes of all readers.
pub struct Outlet<T> {
    readers: Vec<(Inbox<T>, u32)>,
    ready: Rc<Ready>,
}

impl<T: Clone> Outlet<T> {
    /// Delivers to every reader; all but the last get a clone.
    #[inline]
    pub fn send(&self, item: T) {
        let Some(((last, node), others)) = self.readers.split_last() else {
            return;
        };
        for (inbox, node) in others {
            inbox.put(item.clone());
            self.ready.set(*node);
        }
        last.put(item);
        self.ready.set(*node);
    }

    /// Whether anybody reads this: work for nobody can be left out.
    pub fn has_readers(&self) -> bool {
        !self.readers.is_empty()
    }
}

/// The set of nodes that have something in an inbox, by topological number.
#[derive(Debug)]
pub(crate) struct Ready(Box<[Cell<u64>]>);

impl Ready {
    pub fn new(nodes: usize) -> Self {
        Ready((0..nodes.div_ceil(64)).map(|_| Cell::new(0)).collect())
    }

    #[inline]
    pub fn set(&self, node: u32) {
        let word = &self.0[node as usize / 64];
        word.set(word.get() | 1 << (node % 64));
    }

    /// Removes the first node in topological order.
    #[inline]
    pub fn pop(&self) -> Option<u32> {
        for (i, word) in self.0.iter().enumerate() {
            let bits = word.get();
            if bits != 0 {
                word.set(bits & (bits - 1));
                return Some(i as u32 * 64 + bits.trailing_zeros());
            }
        }
        None
    }
}

/// One reading end of an edge: node number, and which of its readings of this edge (a node may read an edge twice).
pub(crate) type Reader = (u32, u32);

/// What a node may ask for while it is made.
pub struct Wiring<'a> {
    pub(crate) node: u32,
    pub(crate) application: &'a str,
    pub(crate) readers: &'a BTreeMap<u32, Vec<Reader>>,
    pub(crate) mail: BTreeMap<(u32, Reader), Box<dyn Any>>,
    pub(crate) taken: BTreeMap<(u32, u32), u32>,
    pub(crate) raw: Vec<(u32, Inbox<RawBatch>)>,
    pub(crate) shared: BTreeMap<String, Box<dyn Any>>,
    pub(crate) ready: Rc<Ready>,
    pub(crate) specs: &'a [StoreSpec],
    pub(crate) stores: StoreSet,
    pub(crate) env: Env,
}

impl Wiring<'_> {
    /// The inbox on `edge`. A node that lists an edge twice among its inputs asks twice, and gets two inboxes.
    pub fn input<T: 'static>(&mut self, edge: Edge<T>) -> Inbox<T> {
        let nth = self.taken.entry((edge.0, self.node)).or_default();
        let reader = (self.node, *nth);
        *nth += 1;
        self.inbox(edge, reader)
    }

    /// The sending end of `edge`, which must be one of this node's outputs.
    pub fn output<T: 'static>(&mut self, edge: Edge<T>) -> Outlet<T> {
        let readers: &[Reader] = self.readers.get(&edge.0).map_or(&[], Vec::as_slice);
        let readers = readers
            .iter()
            .map(|&reader| (self.inbox(edge, reader), reader.0))
            .collect();
        Outlet {
            readers,
            ready: self.ready.clone(),
        }
    }

    fn inbox<T: 'static>(&mut self, edge: Edge<T>, reader: Reader) -> Inbox<T> {
        let mail = self
            .mail
            .entry((edge.0, reader))
            .or_insert_with(|| Box::new(Inbox::<T>::new()));
        match mail.downcast_ref::<Inbox<T>>() {
            Some(inbox) => inbox.clone(),
            None => unreachable!("edges are typed: both ends of edge {} carry the same type", edge.0),
        }
    }

    /// What the task is fed from the topics of this source node.
    pub fn raw_input(&mut self) -> Inbox<RawBatch> {
        let inbox = Inbox::new();
        self.raw.push((self.node, inbox.clone()));
        inbox
    }

    /// A counter of this node.
    pub fn counter(&mut self, name: &'static str) -> CounterId {
        self.env.counters.push((self.node, name, 0));
        CounterId(self.env.counters.len() as u32 - 1)
    }

    /// A topic to write to.
    pub fn topic(&mut self, topic: &TopicName) -> TopicRef {
        let full = topic.full(self.application);
        self.env.outbox.topic(&full)
    }

    /// Resolves what happens to records this node refuses.
    pub fn on_bad(&mut self, door: Door, policy: &Policy) -> Result<OnBad> {
        let doors = &self.env.config.doors;
        let policy = match (policy, door) {
            (Policy::Configured, Door::Read) => doors.read.clone(),
            (Policy::Configured, Door::Process) => doors.process.clone(),
            (own, _) => own.clone(),
        };
        let topic = match policy {
            Policy::Configured | Policy::Fail => return Ok(OnBad::Fail),
            Policy::Skip => return Ok(OnBad::Skip),
            Policy::DeadLetterTo(topic) => topic,
            Policy::DeadLetter => self.env.config.doors.dead_letter_topic.clone().ok_or_else(|| {
                TaskError::Misuse(format!(
                    "node {}: bad records are to be dead-lettered, but no topic is set: name one on the node or set \
                     errors.dead.letter.queue.topic.name",
                    self.name()
                ))
            })?,
        };
        Ok(OnBad::DeadLetter(self.env.outbox.topic(&topic)))
    }

    /// The store `name`, which this node must list among its stores. The first node that asks gives its schema; others of
    /// the same type share it.
    pub fn store<S: Schema>(&mut self, name: &str, schema: impl FnOnce() -> S) -> Result<Shared<S>> {
        let key = format!("store {name}");
        if let Some(known) = self.shared.get(&key) {
            return known.downcast_ref::<Shared<S>>().cloned().ok_or_else(|| {
                TaskError::Misuse(format!(
                    "node {}: store {name} is used with two different types",
                    self.name()
                ))
            });
        }
        let Some(spec) = self.specs.iter().find(|s| s.name == name).cloned() else {
            return Err(TaskError::Misuse(format!(
                "node {}: there is no store {name}",
                self.name()
            )));
        };
        let node = self.name().to_owned();
        let store = self
            .stores
            .register(spec, schema())
            .map_err(|source| TaskError::State { node, source })?;
        self.shared.insert(key, Box::new(store.clone()));
        Ok(store)
    }

    /// Offers something to the other nodes of this task under a name: a table to its readers.
    pub fn share<T: 'static>(&mut self, name: &str, what: Rc<T>) {
        self.shared.insert(name.to_owned(), Box::new(what));
    }

    /// What an earlier node shared under this name, if it is a `T`.
    pub fn shared<T: 'static>(&self, name: &str) -> Option<Rc<T>> {
        self.shared.get(name)?.downcast_ref::<Rc<T>>().cloned()
    }

    /// The name of the node being made.
    pub fn name(&self) -> &str {
        &self.env.names[self.node as usize]
    }
}
