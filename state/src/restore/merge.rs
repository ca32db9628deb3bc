//! Sorted runs become one: by key, and of each key only the newest row.

use super::run::{Frame, Sorted};
use super::spill::{Reader, Spill, Writer};
use crate::error::Result;
use crate::overlay::sort_head;
use std::cmp::Ordering;
use std::path::PathBuf;

/// Runs that are merged at once, at most: each has a file open and a block in memory.
pub(super) const FAN_IN: usize = 64;

/// Keeps spills so few that they can be merged at once: as many as [`FAN_IN`] of the same age become one. So a row is
/// written log64(runs) times before it reaches the engine, which for any store that fits a disk is once or twice.
pub(super) fn reduce(spills: &mut Vec<Spill>, path: impl FnOnce() -> Option<PathBuf>) -> Result<bool> {
    let Some(first) = spills.len().checked_sub(FAN_IN) else {
        return Ok(false);
    };
    let merged = spills[first].merged;
    if spills[first..].iter().any(|spill| spill.merged != merged) {
        return Ok(false);
    }
    let Some(path) = path() else { return Ok(false) };
    let mut writer = Writer::create(path, merged + 1)?;
    merge(&spills[first..], None, &mut |frame| writer.add(&frame))?;
    let spill = writer.finish()?;
    spills.truncate(first);
    spills.push(spill);
    Ok(true)
}

/// Gives each key's newest row to `take`, by key. Later spills are newer, and what is in memory is newest.
pub(super) fn merge(
    spills: &[Spill],
    memory: Option<Sorted<'_>>,
    take: &mut dyn FnMut(Frame<'_>) -> Result<()>,
) -> Result<()> {
    let on_disk = spills.iter().map(|spill| Reader::open(spill).map(Source::Disk));
    let in_memory = memory.map(|sorted| Ok(Source::Memory(Box::new(sorted.rows()), NOTHING)));
    let mut tree = Tree::new(on_disk.chain(in_memory).collect::<Result<Vec<_>>>()?)?;
    let (mut last, mut last_head) = (Vec::new(), None);
    while let Some((head, frame)) = tree.least() {
        if last_head != Some(head) || last.as_slice() != frame.key {
            last_head = Some(head);
            last.clear();
            last.extend_from_slice(frame.key);
            take(frame)?;
        }
        tree.advance()?;
    }
    Ok(())
}

/// Where rows come from, by key.
enum Source<'a> {
    Disk(Reader<'a>),
    /// With the present row.
    Memory(Box<dyn Iterator<Item = Frame<'a>> + 'a>, Frame<'a>),
}

/// No row.
const NOTHING: Frame<'static> = Frame {
    key: &[],
    value: None,
    bytes: &[],
};

impl Source<'_> {
    /// Goes on to the next row and gives the head of its key; `None` at the end.
    #[inline]
    fn advance(&mut self) -> Result<Option<u128>> {
        match self {
            Source::Disk(reader) => reader.advance(),
            Source::Memory(rows, present) => {
                let next = rows.next();
                *present = next.unwrap_or(NOTHING);
                Ok(next.map(|frame| sort_head(frame.key)))
            }
        }
    }

    /// The present row.
    #[inline]
    fn frame(&self) -> Frame<'_> {
        match self {
            Source::Disk(reader) => reader.frame(),
            Source::Memory(_, present) => *present,
        }
    }
}

/// A tree of losers: who wins on the way up has the least key, so each row costs one comparison for each level.
struct Tree<'a> {
    sources: Vec<Source<'a>>,
    /// Head of each source's present key; `None` at its end, so that it loses against all.
    heads: Vec<Option<u128>>,
    /// For each inner node who lost there; node 0 is above the root and has the winner.
    losers: Vec<usize>,
}

impl<'a> Tree<'a> {
    fn new(mut sources: Vec<Source<'a>>) -> Result<Self> {
        let heads = sources.iter_mut().map(Source::advance).collect::<Result<Vec<_>>>()?;
        let runs = sources.len();
        let mut tree = Tree {
            sources,
            heads,
            losers: vec![0; runs.max(1)],
        };
        // Who wins at each node; the leaves come after the inner nodes.
        let mut winners: Vec<usize> = (0..2 * runs).map(|node| node.saturating_sub(runs)).collect();
        for node in (1..runs).rev() {
            let (one, other) = (winners[2 * node], winners[2 * node + 1]);
            let (winner, loser) = if tree.is_before(one, other) {
                (one, other)
            } else {
                (other, one)
            };
            (winners[node], tree.losers[node]) = (winner, loser);
        }
        tree.losers[0] = winners.get(1).copied().unwrap_or(0);
        Ok(tree)
    }

    /// By key; of equal keys the newest first.
    #[inline]
    fn is_before(&self, one: usize, other: usize) -> bool {
        match (self.heads[one], self.heads[other]) {
            (Some(a), Some(b)) if a != b => a < b,
            (Some(_), Some(_)) => {
                let keys = self.sources[one].frame().key.cmp(self.sources[other].frame().key);
                keys.then(other.cmp(&one)) == Ordering::Less
            }
            (a, _) => a.is_some(),
        }
    }

    /// The least row there is.
    #[inline]
    fn least(&self) -> Option<(u128, Frame<'_>)> {
        let winner = self.losers[0];
        let head = (*self.heads.get(winner)?)?;
        Some((head, self.sources[winner].frame()))
    }

    /// Goes on behind it.
    #[inline]
    fn advance(&mut self) -> Result<()> {
        let mut winner = self.losers[0];
        self.heads[winner] = self.sources[winner].advance()?;
        let mut node = (winner + self.sources.len()) / 2;
        while node > 0 {
            if self.is_before(self.losers[node], winner) {
                std::mem::swap(&mut self.losers[node], &mut winner);
            }
            node /= 2;
        }
        self.losers[0] = winner;
        Ok(())
    }
}
