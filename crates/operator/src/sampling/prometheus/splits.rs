//! The merged range queries that a server has refused, and the parts that are asked in their place.
//!
//! A server may refuse a query because of one series in it, or because all of them together are too
//! many. Then the two halves of it are asked, and the halves of a half that is refused as well,
//! down to the series of one measure, so that no autoscaler lacks its samples because of another.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::sampling::prometheus::demand::{RangeGroup, SeriesNames};

/// The largest number of names that one query selects, unless a single measure has more.
const CHUNK: usize = 24;
/// The time for which a refused query is not asked again as a whole.
const REMEMBERED: Duration = Duration::from_mins(10);
/// The largest number of refused queries that are remembered: twice that of the queries of a
/// server, for all halves.
const MOST: usize = 512;

/// The selections that one query reads, sorted.
pub(super) type Part = Vec<SeriesNames>;

/// The range queries of one server that were refused lately.
#[derive(Debug, Default)]
pub(super) struct Splits {
    /// The time at which each is forgotten.
    refused: HashMap<(RangeGroup, Part), Instant>,
}

impl Splits {
    /// Remembers that a query was refused. A single selection is from then on asked by itself.
    pub(super) fn record_refusal(&mut self, group: RangeGroup, part: &[SeriesNames], now: Instant) {
        if self.refused.len() >= MOST {
            self.refused.clear();
        }
        self.refused.insert((group, part.to_vec()), now + REMEMBERED);
    }

    /// Forgets what is too long ago. Returns true if there was something to forget.
    pub(super) fn forget_expired(&mut self, now: Instant) -> bool {
        let before = self.refused.len();
        self.refused.retain(|_, until| *until > now);
        self.refused.len() < before
    }

    /// Divides the selections of a group into queries: as few as possible, without those that were
    /// refused.
    pub(super) fn parts(&self, group: RangeGroup, selections: &BTreeSet<SeriesNames>) -> Vec<Part> {
        let is_refused = |part: &[SeriesNames]| self.refused.contains_key(&(group, part.to_vec()));
        let (alone, others): (Vec<_>, Vec<_>) =
            selections.iter().cloned().partition(|names| is_refused(std::slice::from_ref(names)));
        let mut parts: Vec<Part> = alone.into_iter().map(|names| vec![names]).collect();
        let mut undivided = chunks(others);
        while let Some(mut part) = undivided.pop() {
            if part.len() > 1 && is_refused(&part) {
                let second = part.split_off(part.len() / 2);
                undivided.extend([part, second]);
            } else {
                parts.push(part);
            }
        }
        parts
    }
}

/// Groups selections so that no group has more different names than one query selects.
fn chunks(selections: Vec<SeriesNames>) -> Vec<Part> {
    let mut chunks: Vec<Part> = Vec::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for names in selections {
        let new = names.iter().filter(|name| !known.contains(*name)).count();
        match chunks.last_mut() {
            Some(chunk) if known.len() + new <= CHUNK => chunk.push(names.clone()),
            _ => {
                known.clear();
                chunks.push(vec![names.clone()]);
            }
        }
        known.extend(names.iter().cloned());
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GROUP: RangeGroup =
        RangeGroup { range: SECOND, interval: SECOND, timeout: Duration::from_secs(5) };

    fn selections(names: &str) -> BTreeSet<SeriesNames> {
        names.chars().map(|name| [name.to_string()].into()).collect()
    }

    fn part(names: &str) -> Part {
        selections(names).into_iter().collect()
    }

    /// Returns the parts as text, sorted.
    fn parts(splits: &Splits, names: &str) -> Vec<String> {
        let parts = splits.parts(GROUP, &selections(names));
        let mut parts: Vec<String> = parts.iter().map(|part| part.concat().concat()).collect();
        parts.sort();
        parts
    }

    #[test]
    fn a_refused_query_is_halved_until_only_the_bad_series_is_alone() {
        let mut splits = Splits::default();
        let mut rounds = vec![parts(&splits, "abcdefgh")];
        let now = Instant::now();
        // Every query with f is refused.
        while let Some(refused) = rounds.last().unwrap().iter().find(|part| part.contains('f'))
            && refused.len() > 1
        {
            splits.record_refusal(GROUP, &part(refused), now);
            rounds.push(parts(&splits, "abcdefgh"));
        }
        assert_eq!(
            rounds,
            [
                vec!["abcdefgh"],
                vec!["abcd", "efgh"],
                vec!["abcd", "ef", "gh"],
                vec!["abcd", "e", "f", "gh"],
            ]
        );
        splits.record_refusal(GROUP, &part("f"), now);
        assert_eq!(parts(&splits, "abcdefgh"), ["abcdegh", "f"], "the others are one query again");
        assert_eq!(
            parts(&splits, "abcdefghi"),
            ["abcdeghi", "f"],
            "and stay one with a new series"
        );
        let other = RangeGroup { range: 2 * SECOND, ..GROUP };
        assert_eq!(splits.parts(other, &selections("abcdefgh")).len(), 1, "another range");
    }

    #[test]
    fn a_split_is_remembered_for_ten_minutes() {
        let (mut splits, now) = (Splits::default(), Instant::now());
        splits.record_refusal(GROUP, &part("ab"), now);
        assert!(!splits.forget_expired(now + REMEMBERED - SECOND));
        assert_eq!(parts(&splits, "ab"), ["a", "b"]);
        assert!(splits.forget_expired(now + REMEMBERED));
        assert_eq!(parts(&splits, "ab"), ["ab"]);
    }

    #[test]
    fn a_query_has_a_limited_number_of_names_and_whole_selections() {
        let of = |first: usize, count: usize| -> SeriesNames {
            (first..first + count).map(|number| format!("series_{number:03}")).collect()
        };
        let sizes = |parts: Vec<Part>| -> Vec<usize> { parts.iter().map(Vec::len).collect() };
        let single = (0..=CHUNK).map(|number| of(number, 1)).collect();
        assert_eq!(sizes(chunks(single)), [CHUNK, 1]);
        assert_eq!(sizes(chunks(vec![of(0, 20), of(100, 5), of(200, 30), of(300, 1)])), [1; 4]);
        assert_eq!(sizes(chunks(vec![of(0, 20), of(100, 4)])), [2]);
        assert_eq!(sizes(chunks(vec![of(0, 20), of(5, 15), of(19, 5)])), [3], "names in common");
        assert!(chunks(Vec::new()).is_empty());
    }

    #[test]
    fn the_memory_of_splits_has_a_limit() {
        let (mut splits, now) = (Splits::default(), Instant::now());
        for number in 0..3 * MOST {
            splits.record_refusal(GROUP, &[[number.to_string()].into()], now);
        }
        assert!(splits.refused.len() <= MOST);
    }
}
