//! The increases of counters from one page to the next.

use std::collections::HashMap;

/// The meaning of a counter's first sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The counter began at zero since the page before: its pod is new.
    Zero,
    /// The counter may have counted for any time.
    Unknown,
}

/// The latest samples of the counters of one engine.
#[derive(Debug, Clone, Default)]
pub(super) struct Increases {
    places: HashMap<String, usize>,
    latest: Vec<Option<f64>>,
    has_page: bool,
}

/// The increases of the counters of a page.
#[derive(Debug, PartialEq)]
pub(super) struct Increased {
    /// The increase of each counter, in the order of the page.
    pub(super) by: Vec<f64>,
    /// True if the engine has begun anew since the page before.
    pub(super) is_restarted: bool,
}

impl Increases {
    /// Returns the place of the counter with this name and these labels.
    pub(super) fn place(&mut self, key: String) -> usize {
        let next = self.latest.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.latest.push(None);
        }
        place
    }

    /// Returns the increases of the counters of a page, each given by its place and its value.
    ///
    /// A counter that has fallen has begun at zero. If most of the counters have, the engine has
    /// begun anew, and all of them have. A counter that the page before did not have has begun at
    /// zero too; `start` is that of the first page.
    pub(super) fn step(&mut self, page: &[(usize, f64)], start: Start) -> Increased {
        let known = page.iter().filter_map(|(place, value)| Some((self.latest[*place]?, *value)));
        let (mut grown, mut fallen) = (0, 0);
        for (before, now) in known.filter(|(before, _)| *before > 0.0) {
            if now < before { fallen += 1 } else { grown += 1 }
        }
        let is_restarted = fallen > grown;
        let is_unknown = start == Start::Unknown && !self.has_page;
        let by = page.iter().map(|(place, now)| match self.latest[*place] {
            Some(before) if *now >= before && !is_restarted => now - before,
            None if is_unknown => 0.0,
            Some(_) | None => *now,
        });
        let by = by.collect();
        for (place, now) in page {
            self.latest[*place] = Some(*now);
        }
        self.has_page = true;
        Increased { by, is_restarted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds pages of the counters `a`, `b`, and so on, and returns the increases of the last.
    fn last(pages: &[&str], start: Start) -> (Vec<f64>, bool) {
        let mut increases = Increases::default();
        let mut latest = Increased { by: Vec::new(), is_restarted: false };
        for page in pages {
            let page: Vec<(usize, f64)> = page
                .split_whitespace()
                .map(|counter| {
                    let (name, value) = counter.split_once('=').unwrap();
                    (increases.place(name.to_owned()), value.parse().unwrap())
                })
                .collect();
            latest = increases.step(&page, start);
        }
        (latest.by, latest.is_restarted)
    }

    #[test]
    fn increases_are_those_of_each_series() {
        use Start::{Unknown, Zero};
        // the pages, the first sample, the increases, and a restart
        let table: [(&[&str], Start, &[f64], bool); 10] = [
            (&["a=7"], Unknown, &[0.0], false),
            (&["a=7"], Zero, &[7.0], false),
            (&["a=7", "a=9"], Unknown, &[2.0], false),
            (&["a=7", "a=7"], Unknown, &[0.0], false),
            (&["a=7", "a=3"], Unknown, &[3.0], true),
            // A series that a known page did not have began at zero.
            (&["a=7", "a=8 b=5"], Unknown, &[1.0, 5.0], false),
            // A series that a page left out goes on.
            (&["a=7 b=5", "a=8", "a=9 b=6"], Unknown, &[1.0, 1.0], false),
            // A single one that falls is no restart of the engine.
            (&["a=7 b=5 c=5", "a=8 b=6 c=2"], Unknown, &[1.0, 1.0, 2.0], false),
            // After a restart a counter may be past its former value.
            (&["a=700 b=5 c=9", "a=40 b=6 c=1"], Unknown, &[40.0, 6.0, 1.0], true),
            (&["a=0 b=0", "a=0 b=3"], Unknown, &[0.0, 3.0], false),
        ];
        for (pages, start, expected, is_restarted) in table {
            assert_eq!(last(pages, start), (expected.to_vec(), is_restarted), "{pages:?}");
        }
    }
}
