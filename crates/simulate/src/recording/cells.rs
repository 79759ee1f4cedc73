//! The cells of a recording: the grid of time that amounts are spread over.

use std::collections::BTreeMap;

use llm_autoscaler_engines::prometheus::late_after;

use super::chunk::{Cell, WINDOW};

/// The cells' length and start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    /// The start of the recording, in seconds since 1970.
    pub(super) from: f64,
    /// The length of a cell, in seconds.
    pub(super) step: f64,
}

impl Grid {
    /// Returns true if two samples are so far apart that there should be one between them.
    pub(super) fn is_late(self, apart: f64) -> bool {
        apart > late_after(self.step)
    }

    /// Returns the time in which a further sample is expected, in seconds.
    pub(super) fn patience(self) -> f64 {
        late_after(self.step)
    }

    /// Returns the index of the window that has this time.
    pub(super) fn window(self, at: f64) -> u64 {
        ((at - self.from) / WINDOW).max(0.0) as u64
    }

    /// Spreads amounts evenly over the time from `from` to `to`.
    pub(super) fn spread(
        self,
        cells: &mut BTreeMap<u64, Cell>,
        from: f64,
        to: f64,
        amounts: &Cell,
    ) {
        let place = |at: f64| ((at - self.from) / self.step).max(0.0);
        let (start, end) = (place(from), place(to));
        let first = start as u64;
        // A cell ends before the next one begins.
        let last = (end.ceil() as u64).saturating_sub(1).max(first);
        let length = end - start;
        for index in first..=last {
            let overlap = end.min((index + 1) as f64) - start.max(index as f64);
            let share = if length > 0.0 { overlap / length } else { 1.0 };
            cells.entry(index).or_default().add(&amounts.share(share));
        }
    }
}

/// Joins times that are not far apart. `open` is the time that the last of them may go on from.
pub(super) fn cover(grid: Grid, times: &[f64], open: Option<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut covered: Vec<(f64, f64)> = open.into_iter().collect();
    for at in times {
        match covered.last_mut() {
            Some((_, end)) if !grid.is_late(at - *end) => *end = end.max(*at),
            _ => covered.push((*at, *at)),
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { from: 1000.0, step: 10.0 };

    #[test]
    fn amounts_are_spread_over_their_time() {
        // from, to, and the arrivals of the cells by their index
        for (from, to, expected) in [
            (1000.0, 1010.0, &[(0, 8.0)][..]),
            (1005.0, 1015.0, &[(0, 4.0), (1, 4.0)]),
            (1002.5, 1012.5, &[(0, 6.0), (1, 2.0)]),
            (1000.0, 1040.0, &[(0, 2.0), (1, 2.0), (2, 2.0), (3, 2.0)]),
            (1010.0, 1010.0, &[(1, 8.0)]),
            (1007.0, 1007.0, &[(0, 8.0)]),
            (990.0, 1010.0, &[(0, 8.0)]),
        ] {
            let mut cells = BTreeMap::new();
            GRID.spread(&mut cells, from, to, &Cell { arrivals: 8.0, ..Cell::default() });
            let found: Vec<_> = cells.iter().map(|(index, cell)| (*index, cell.arrivals)).collect();
            assert_eq!(found, expected, "{from} to {to}");
        }
    }

    #[test]
    fn times_are_covered_as_long_as_no_sample_is_missing() {
        // Two and a half intervals of 10 s are no gap yet.
        for (times, open, expected) in [
            (&[][..], None, &[][..]),
            (&[], Some((1.0, 9.0)), &[(1.0, 9.0)]),
            (&[10.0, 20.0, 45.0], None, &[(10.0, 45.0)]),
            (&[10.0, 20.0, 46.0, 50.0], None, &[(10.0, 20.0), (46.0, 50.0)]),
            (&[30.0, 60.0], Some((1.0, 9.0)), &[(1.0, 30.0), (60.0, 60.0)]),
        ] {
            assert_eq!(cover(GRID, times, open), expected, "{times:?} after {open:?}");
        }
    }
}
