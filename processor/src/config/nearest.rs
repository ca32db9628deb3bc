//! The nearest right name for a wrong one, so that an error can carry its own mend.

/// The candidate with the fewest edits to `wrong`, if it is near enough to be meant.
pub fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace(['_', '-'], ".");
    let limit = 1 + wrong.len() / 5;
    candidates
        .map(|name| (edits(&wrong, name), name))
        .filter(|(cost, _)| *cost <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance, one row at a time.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut next = vec![line + 1];
        for (column, b) in to.iter().enumerate() {
            let swap = row[column] + usize::from(a != *b);
            next.push(swap.min(row[column + 1] + 1).min(next[column] + 1));
        }
        row = next;
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_name_and_strangers_do_not() {
        let names = ["commit.interval.ms", "poll.ms", "state.dir"];
        let find = |wrong| nearest(wrong, names.iter().copied());
        assert_eq!(find("commit.intervall.ms"), Some("commit.interval.ms"));
        assert_eq!(find("COMMIT_INTERVAL_MS"), Some("commit.interval.ms"));
        assert_eq!(find("pol.ms"), Some("poll.ms"));
        assert_eq!(find("favourite.colour"), None);
    }
}
