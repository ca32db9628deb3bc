//! Sorted runs become one: by key, and of each key only the newest row.

use super::run::Frame;
use super::spill::{Reader, Spill, Writer};
use crate::error::Result;
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
    merge(&spills[first..], &mut |frame| writer.add(&frame))?;
    let spill = writer.finish()?;
    spills.truncate(first);
    spills.push(spill);
    Ok(true)
}

/// Gives each key's newest row to `take`, by key. Later spills are newer.
pub(super) fn merge(spills: &[Spill], take: &mut dyn FnMut(Frame<'_>) -> Result<()>) -> Result<()> {
    let readers = spills.iter().map(Reader::open).collect::<Result<Vec<_>>>()?;
    let mut tree = Tree::new(readers)?;
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

/// A tree of losers: who wins on the way up has the least key, so each row costs one comparison for each level.
struct Tree<'a> {
    readers: Vec<Reader<'a>>,
    /// Head of each reader's present key; `None` at its end, so that it loses against all.
    heads: Vec<Option<u128>>,
    /// For each inner node who lost there; node 0 is above the root and has the winner.
    losers: Vec<usize>,
}

impl<'a> Tree<'a> {
    fn new(mut readers: Vec<Reader<'a>>) -> Result<Self> {
        let heads = readers.iter_mut().map(Reader::advance).collect::<Result<Vec<_>>>()?;
        let runs = readers.len();
        let mut tree = Tree {
            readers,
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
                let keys = self.readers[one].frame().key.cmp(self.readers[other].frame().key);
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
        Some((head, self.readers[winner].frame()))
    }

    /// Goes on behind it.
    #[inline]
    fn advance(&mut self) -> Result<()> {
        let mut winner = self.losers[0];
        self.heads[winner] = self.readers[winner].advance()?;
        let mut node = (winner + self.readers.len()) / 2;
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
