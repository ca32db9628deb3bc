//! Which thread runs which task: a pure function.

use millstream_topology::TaskId;

/// Deals tasks to `threads`: in the order of their sub-topology and partition, one to each thread in turn, so that the
/// partitions of one sub-topology spread and no thread has more than one task above another.
pub fn spread(mut tasks: Vec<TaskId>, threads: usize) -> Vec<Vec<TaskId>> {
    let mut dealt = vec![Vec::new(); threads.max(1)];
    tasks.sort_unstable();
    let count = dealt.len();
    for (turn, task) in tasks.into_iter().enumerate() {
        dealt[turn % count].push(task);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_subtopology_spread() {
        let ids = |pairs: &[(u32, i32)]| {
            pairs
                .iter()
                .map(|&(subtopology, partition)| TaskId { subtopology, partition })
                .collect()
        };
        let tasks: Vec<TaskId> = ids(&[(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]);
        let dealt = spread(tasks, 3);
        assert_eq!(
            dealt,
            vec![ids(&[(0, 0), (0, 3)]), ids(&[(0, 1), (1, 0)]), ids(&[(0, 2), (1, 1)])]
        );
    }
}
