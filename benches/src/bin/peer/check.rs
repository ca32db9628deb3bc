//! Are the results equal? Reads an output topic to its end and keeps what counts of it.

use crate::Result;
use crate::batch::Record;
use crate::generate::PARTITIONS;
use crate::tail::Tail;
use crate::wire::Client;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Bytes of each partition in one fetch.
const FETCH_BYTES: i32 = 4 << 20;

/// What an output topic says in the end.
pub enum Results {
    /// The last value of each key.
    Last(HashMap<Vec<u8>, Vec<u8>>),
    /// Every record: how many, and the sum of their hashes, which does not depend on the order.
    Each {
        /// Records.
        records: u64,
        /// Sum of hashes.
        hash: u64,
    },
}

impl Results {
    /// Reads a topic. `hasher` must be the same for all that are compared.
    pub fn read(client: &mut Client, topic: &str, each: bool, hasher: &RandomState) -> Result<Self> {
        let mut results = match each {
            true => Results::Each { records: 0, hash: 0 },
            false => Results::Last(HashMap::new()),
        };
        let ends = client.ends(topic, PARTITIONS)?;
        let mut tail = Tail::new(topic, FETCH_BYTES, client.starts(topic, PARTITIONS)?);
        while tail.offsets().iter().zip(&ends).any(|(at, end)| at < end) {
            tail.read(client, 500, |_partition, record| results.take(record, hasher))?;
        }
        Ok(results)
    }

    fn take(&mut self, record: &Record<'_>, hasher: &RandomState) {
        match self {
            Results::Each { records, hash } => {
                *records += 1;
                *hash = hash.wrapping_add(hasher.hash_one((record.key, record.value)));
            }
            Results::Last(last) => match (record.value, last.get_mut(record.key)) {
                (None, _) => drop(last.remove(record.key)),
                (Some(value), Some(slot)) => {
                    slot.clear();
                    slot.extend_from_slice(value);
                }
                (Some(value), None) => drop(last.insert(record.key.to_vec(), value.to_vec())),
            },
        }
    }

    /// What is known of them, for people.
    pub fn describe(&self) -> String {
        match self {
            Results::Last(last) => format!("{} keys", last.len()),
            Results::Each { records, .. } => format!("{records} records"),
        }
    }

    /// `None` if they are equal, else the first difference that was found.
    pub fn difference(&self, other: &Results) -> Option<String> {
        match (self, other) {
            (Results::Each { records, hash }, Results::Each { records: r, hash: h }) => {
                (records != r || hash != h).then(|| format!("{records} records against {r}, or their bytes differ"))
            }
            (Results::Last(a), Results::Last(b)) => {
                let differing = a.iter().filter(|(key, value)| b.get(*key) != Some(value)).count();
                let more = b.keys().filter(|key| !a.contains_key(*key)).count();
                let example = a.iter().find(|(key, value)| b.get(*key) != Some(value));
                let example = example.map(|(key, value)| format!("; key {key:?}: {value:?} against {:?}", b.get(key)));
                (differing + more > 0).then(|| {
                    let counts = format!("{} keys against {}, {differing} differ, {more} more", a.len(), b.len());
                    counts + &example.unwrap_or_default()
                })
            }
            _ => Some("results of different kinds".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(pairs: &[(&[u8], Option<&[u8]>)]) -> Results {
        let mut results = Results::Last(HashMap::new());
        for (key, value) in pairs {
            results.take(&Record { key, value: *value }, &RandomState::new());
        }
        results
    }

    #[test]
    fn only_the_last_value_of_a_key_counts() {
        let one = last(&[
            (b"a", Some(b"1")),
            (b"b", Some(b"2")),
            (b"a", Some(b"3")),
            (b"c", Some(b"4")),
            (b"c", None),
        ]);
        let two = last(&[(b"b", Some(b"2")), (b"a", Some(b"3"))]);
        assert_eq!(one.difference(&two), None);
        for other in [
            last(&[(b"b", Some(b"2"))]),
            last(&[(b"a", Some(b"3")), (b"b", Some(b"1"))]),
            last(&[(b"a", Some(b"3")), (b"b", Some(b"2")), (b"c", Some(b"4"))]),
        ] {
            assert!(two.difference(&other).is_some());
        }
    }

    #[test]
    fn each_record_counts_whatever_the_order() {
        let hasher = RandomState::new();
        let each = |pairs: &[(&[u8], &[u8])]| {
            let mut results = Results::Each { records: 0, hash: 0 };
            for (key, value) in pairs {
                results.take(
                    &Record {
                        key,
                        value: Some(value),
                    },
                    &hasher,
                );
            }
            results
        };
        let one = each(&[(b"a", b"1"), (b"b", b"2")]);
        assert_eq!(one.difference(&each(&[(b"b", b"2"), (b"a", b"1")])), None);
        assert!(one.difference(&each(&[(b"a", b"1"), (b"b", b"3")])).is_some());
        assert!(one.difference(&each(&[(b"a", b"1")])).is_some());
    }
}
