//! What an aggregation does with each value: the [`Aggregate`] trait and the small ones that come along.

use std::marker::PhantomData;

use crate::record::Data;

/// Folds the values of a key (or of a key and window) into one result.
///
/// An aggregate that can [merge](Aggregate::merge) two partial results costs one update per record however many windows
/// overlap; one that cannot is kept per window, with one update for each window a record belongs to.
///
/// ```
/// use millstream_topology::aggregate::{Aggregate, Merge};
///
/// #[derive(Clone, Default)]
/// struct Delay { flights: u64, worst: Option<i32> }
///
/// struct Delays;
/// impl<K> Aggregate<K, i32> for Delays {
///     type Acc = Delay;
///     fn init(&self) -> Delay { Delay::default() }
///     fn add(&self, acc: &mut Delay, _key: &K, delay: &i32) {
///         acc.flights += 1;
///         acc.worst = acc.worst.max(Some(*delay));
///     }
///     fn merge(&self, acc: &mut Delay, other: &Delay) -> Merge {
///         acc.flights += other.flights;
///         acc.worst = acc.worst.max(other.worst);
///         Merge::Done
///     }
/// }
/// ```
pub trait Aggregate<K, V>: Send + Sync + 'static {
    /// The partial result, and what is emitted.
    type Acc: Data;

    /// The result before the first value.
    fn init(&self) -> Self::Acc;

    /// Adds one value.
    fn add(&self, acc: &mut Self::Acc, key: &K, value: &V);

    /// Adds the values of `other` to `acc`. Must be associative and commutative with respect to [`Aggregate::add`]: adding
    /// values one by one, in any order, or in groups that are then merged, gives the same result (floating-point sums may
    /// differ in their last bits). Say [`Merge::Done`] always or never.
    fn merge(&self, acc: &mut Self::Acc, other: &Self::Acc) -> Merge {
        let _ = (acc, other);
        Merge::Unsupported
    }

    /// Whether a result is worth keeping. One that is not is deleted from the table (a tombstone goes downstream), and the
    /// key starts again from [`Aggregate::init`]. Not asked for windows: they go by time.
    fn keep(&self, acc: &Self::Acc) -> bool {
        let _ = acc;
        true
    }
}

/// Whether an aggregate merged two partial results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Merge {
    /// It did.
    Done,
    /// It cannot: windows are then kept one by one.
    Unsupported,
}

/// The number of values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count;

impl<K, V> Aggregate<K, V> for Count {
    type Acc = i64;

    fn init(&self) -> i64 {
        0
    }

    #[inline]
    fn add(&self, acc: &mut i64, _key: &K, _value: &V) {
        *acc += 1;
    }

    fn merge(&self, acc: &mut i64, other: &i64) -> Merge {
        *acc += other;
        Merge::Done
    }
}

/// An aggregate made of closures.
///
/// ```
/// use millstream_topology::aggregate::Fold;
///
/// let total = Fold::new(|| 0i64, |sum: &mut i64, _key: &String, price: &i64| *sum += price)
///     .merging(|sum, other| *sum += other);
/// # let _ = total;
/// ```
pub struct Fold<A, I, F, M = NoMerge> {
    init: I,
    add: F,
    merge: M,
    acc: PhantomData<fn() -> A>,
}

impl<A, I, F> Fold<A, I, F> {
    /// Starts from `init()` and changes it by `add(acc, key, value)`; windows are kept one by one.
    pub fn new<K, V>(init: I, add: F) -> Self
    where
        I: Fn() -> A,
        F: Fn(&mut A, &K, &V),
    {
        Fold {
            init,
            add,
            merge: NoMerge,
            acc: PhantomData,
        }
    }

    /// Adds a merge of two partial results; see [`Aggregate::merge`] for what it must hold to.
    pub fn merging<M: Fn(&mut A, &A)>(self, merge: M) -> Fold<A, I, F, Merging<M>> {
        Fold {
            init: self.init,
            add: self.add,
            merge: Merging(merge),
            acc: PhantomData,
        }
    }
}

impl<K, V, A, I, F, M> Aggregate<K, V> for Fold<A, I, F, M>
where
    A: Data,
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&mut A, &K, &V) + Send + Sync + 'static,
    M: MergeWith<A>,
{
    type Acc = A;

    fn init(&self) -> A {
        (self.init)()
    }

    fn add(&self, acc: &mut A, key: &K, value: &V) {
        (self.add)(acc, key, value);
    }

    fn merge(&self, acc: &mut A, other: &A) -> Merge {
        self.merge.merge(acc, other)
    }
}

/// How a [`Fold`] merges: [`NoMerge`] or [`Merging`].
pub trait MergeWith<A>: Send + Sync + 'static {
    /// See [`Aggregate::merge`].
    fn merge(&self, acc: &mut A, other: &A) -> Merge;
}

/// A [`Fold`] without merge.
#[derive(Debug, Clone, Copy)]
pub struct NoMerge;

impl<A> MergeWith<A> for NoMerge {
    fn merge(&self, _acc: &mut A, _other: &A) -> Merge {
        Merge::Unsupported
    }
}

/// The merge closure of a [`Fold`].
#[derive(Debug, Clone, Copy)]
pub struct Merging<M>(M);

impl<A, M: Fn(&mut A, &A) + Send + Sync + 'static> MergeWith<A> for Merging<M> {
    fn merge(&self, acc: &mut A, other: &A) -> Merge {
        (self.0)(acc, other);
        Merge::Done
    }
}

/// What the aggregating nodes run: an [`Aggregate`] or a reducer, which has no empty result to start from.
pub(crate) trait Folding<K, V, A>: Send + Sync {
    /// The result of one value.
    fn first(&self, key: &K, value: V) -> A;
    /// Adds one value.
    fn add(&self, acc: &mut A, key: &K, value: V);
    /// Merges two results; only called when `merges` says so.
    fn merge(&self, acc: &mut A, other: &A);
    /// Whether two results can be merged.
    fn merges(&self) -> bool;
    /// Whether a result stays in the table.
    fn keep(&self, acc: &A) -> bool;
}

/// Runs an [`Aggregate`].
pub(crate) struct ByAggregate<G> {
    aggregate: G,
    merges: bool,
}

impl<G> ByAggregate<G> {
    pub(crate) fn new<K, V>(aggregate: G) -> Self
    where
        G: Aggregate<K, V>,
    {
        let merges = aggregate.merge(&mut aggregate.init(), &aggregate.init()) == Merge::Done;
        ByAggregate { aggregate, merges }
    }
}

impl<K, V, G: Aggregate<K, V>> Folding<K, V, G::Acc> for ByAggregate<G> {
    #[inline]
    fn first(&self, key: &K, value: V) -> G::Acc {
        let mut acc = self.aggregate.init();
        self.aggregate.add(&mut acc, key, &value);
        acc
    }

    #[inline]
    fn add(&self, acc: &mut G::Acc, key: &K, value: V) {
        self.aggregate.add(acc, key, &value);
    }

    fn merge(&self, acc: &mut G::Acc, other: &G::Acc) {
        let merged = self.aggregate.merge(acc, other);
        debug_assert_eq!(merged, Merge::Done, "an aggregate merges always or never");
    }

    fn merges(&self) -> bool {
        self.merges
    }

    fn keep(&self, acc: &G::Acc) -> bool {
        self.aggregate.keep(acc)
    }
}

/// Runs a reducer: the first value of a key is the result as it is.
pub(crate) struct ByReducer<F>(pub(crate) F);

impl<K, V, F> Folding<K, V, V> for ByReducer<F>
where
    F: Fn(&V, V) -> V + Send + Sync,
{
    fn first(&self, _key: &K, value: V) -> V {
        value
    }

    fn add(&self, acc: &mut V, _key: &K, value: V) {
        *acc = (self.0)(acc, value);
    }

    fn merge(&self, _acc: &mut V, _other: &V) {}

    /// A reducer need not be commutative, and slices are merged in the order of time rather than of arrival.
    fn merges(&self) -> bool {
        false
    }

    fn keep(&self, _acc: &V) -> bool {
        true
    }
}
