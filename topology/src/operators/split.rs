//! Split: each row goes to the first branch whose predicate holds.

use std::sync::Arc;

use crate::{
    error::Result,
    graph::NodeSpec,
    node::{Ctx, Node},
    operators::apply,
    record::{Batch, Data},
    stream::Stream,
    wiring::{Edge, Inbox, Outlet, Wiring},
};

type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// The branches of a split, as they are named one after the other.
///
/// ```
/// # use millstream_topology::{StreamBuilder, options::Consumed};
/// # use millstream_state::codec::I64;
/// let builder = StreamBuilder::new();
/// let numbers = builder.stream::<i64, i64>("numbers", Consumed::with(I64, I64));
/// let branches = numbers.split().branch(|_, n| n % 2 == 0).branch(|_, n| n % 3 == 0).default_branch();
/// let [even, by_three, others] = &branches[..] else { unreachable!("two branches and the default") };
/// ```
pub struct Split<K, V> {
    stream: Stream<K, V>,
    branches: Vec<(Option<String>, Predicate<K, V>)>,
}

impl<K: Data, V: Data> Split<K, V> {
    pub(crate) fn new(stream: Stream<K, V>) -> Self {
        Split {
            stream,
            branches: Vec::new(),
        }
    }

    /// The next branch.
    pub fn branch(mut self, takes: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.branches.push((None, Arc::new(takes)));
        self
    }

    /// The next branch, whose node is called `<name of the split><name>`.
    pub fn branch_named(mut self, name: &str, takes: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.branches.push((Some(name.to_owned()), Arc::new(takes)));
        self
    }

    /// Ends the split: the branches in order and, last, one for the rows no branch took.
    pub fn default_branch(self) -> Vec<Stream<K, V>> {
        self.build(true)
    }

    /// Ends the split: the branches in order. Rows no branch took are left out.
    pub fn no_default_branch(self) -> Vec<Stream<K, V>> {
        self.build(false)
    }

    fn build(self, default: bool) -> Vec<Stream<K, V>> {
        let Split { stream, branches } = self;
        let name = stream.node_name("KSTREAM-BRANCH-");
        let mut suffixes: Vec<String> = branches
            .iter()
            .enumerate()
            .map(|(i, (n, _))| n.clone().unwrap_or_else(|| (i + 1).to_string()))
            .collect();
        if default {
            suffixes.push("0".to_owned());
        }
        let input = stream.edge();
        let predicates: Vec<Predicate<K, V>> = branches.into_iter().map(|(_, p)| p).collect();
        let spec = NodeSpec::new(&name, [input.id()]);
        let edges = stream
            .builder()
            .add_fan(spec, suffixes.len() as u32, move |w, outs: &[Edge<Batch<K, V>>]| {
                make(w, input, outs, predicates.clone())
            });
        let child = |(edge, suffix): (Edge<Batch<K, V>>, String)| {
            let name = format!("{name}{suffix}");
            let spec = NodeSpec::new(&name, [edge.id()]);
            let pass = stream
                .builder()
                .add_node(spec, move |w, out| apply::make(w, edge, out, pass_through()));
            stream.next(pass, &name, false)
        };
        edges.into_iter().zip(suffixes).map(child).collect()
    }
}

fn pass_through<K: Data, V: Data>() -> apply::BatchFn<K, V, K, V> {
    Arc::new(|batch, _| Ok(batch))
}

struct Splitter<K, V> {
    input: Inbox<Batch<K, V>>,
    outs: Vec<Outlet<Batch<K, V>>>,
    predicates: Vec<Predicate<K, V>>,
}

fn make<K: Data, V: Data>(
    w: &mut Wiring<'_>,
    input: Edge<Batch<K, V>>,
    outs: &[Edge<Batch<K, V>>],
    predicates: Vec<Predicate<K, V>>,
) -> Result<impl Node + use<K, V>> {
    Ok(Splitter {
        input: w.input(input),
        outs: outs.iter().map(|e| w.output(*e)).collect(),
        predicates,
    })
}

impl<K: Data, V: Data> Node for Splitter<K, V> {
    fn run(&mut self, _cx: &mut Ctx<'_>) -> Result<()> {
        while let Some(Batch { origin, rows }) = self.input.take() {
            let mut shares: Vec<Vec<_>> = self.outs.iter().map(|_| Vec::new()).collect();
            for row in rows {
                let taker = self.predicates.iter().position(|takes| takes(&row.key, &row.value));
                // The default branch, if there is one, stands after the last predicate.
                let branch = taker.unwrap_or(self.predicates.len());
                if let Some(share) = shares.get_mut(branch) {
                    share.push(row);
                }
            }
            for (out, rows) in self.outs.iter().zip(shares) {
                if !rows.is_empty() {
                    out.send(Batch {
                        origin: origin.clone(),
                        rows,
                    });
                }
            }
        }
        Ok(())
    }
}
