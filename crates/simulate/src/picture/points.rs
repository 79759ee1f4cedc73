//! Series over time as paths, with a bounded number of points.

use std::fmt::Write;

/// The width and the height of a plot in its own units; the page stretches it.
pub(super) const WIDTH: f64 = 2_000.0;
pub(super) const HEIGHT: f64 = 1_000.0;
/// The columns of a plot. Each has at most its lowest and its highest point of a series.
pub(super) const COLUMNS: usize = 300;

/// A point of a series; without a value there is a gap.
pub(super) type Point = (f64, Option<f64>);

/// Returns the pieces of a series between its gaps. Where there are more points than two for each
/// column, only the lowest and the highest one of each column and piece are left.
pub(super) fn pieces(points: &[Point], end: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut is_open = false;
    for (t, value) in points {
        match value {
            Some(value) if is_open => {
                if let Some(piece) = pieces.last_mut() {
                    piece.push((*t, *value));
                }
            }
            Some(value) => pieces.push(vec![(*t, *value)]),
            None => {}
        }
        is_open = value.is_some();
    }
    if points.len() > 2 * COLUMNS {
        let column = end.max(1.0) / COLUMNS as f64;
        pieces = pieces.iter().map(|piece| extremes(piece, column)).collect();
    }
    // A series of gaps has still no more pieces than columns.
    pieces.truncate(2 * COLUMNS);
    pieces
}

/// Returns the lowest and the highest point of each column, in the order of time, and both ends.
fn extremes(piece: &[(f64, f64)], column: f64) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    for points in piece.chunk_by(|a, b| (a.0 / column) as usize == (b.0 / column) as usize) {
        let lowest = points.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let highest = points.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (Some(lowest), Some(highest)) = (lowest, highest) else { continue };
        let is_rising = lowest.0 < highest.0;
        kept.push(if is_rising { *lowest } else { *highest });
        if is_rising || highest.0 < lowest.0 {
            kept.push(if is_rising { *highest } else { *lowest });
        }
    }
    kept
}

/// The scale of a plot: time to the right, values upwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// The end of the time, in seconds.
    pub(super) end: f64,
    /// The values at the bottom and at the top.
    pub(super) low: f64,
    pub(super) high: f64,
    /// True if equal ratios have equal distances.
    pub(super) is_log: bool,
}

impl Scale {
    /// Returns the share of the width at a time.
    pub(super) fn across(&self, t: f64) -> f64 {
        (t / self.end.max(1.0)).clamp(0.0, 1.0)
    }

    /// Returns the share of the height at a value, from the top.
    pub(super) fn down(&self, value: f64) -> f64 {
        let at = |value: f64| if self.is_log { value.max(1e-9).ln() } else { value };
        let (low, high) = (at(self.low), at(self.high));
        let share = if high > low { (at(value) - low) / (high - low) } else { 0.0 };
        1.0 - share.clamp(0.0, 1.0)
    }

    fn place(&self, (t, value): (f64, f64)) -> (i64, i64) {
        ((self.across(t) * WIDTH).round() as i64, (self.down(value) * HEIGHT).round() as i64)
    }

    /// Returns the path of a series as lines from point to point.
    pub(super) fn line(&self, points: &[Point]) -> String {
        let mut path = String::new();
        for piece in pieces(points, self.end) {
            let places: Vec<_> = piece.iter().map(|point| self.place(*point)).collect();
            let Some((x, y)) = places.first() else { continue };
            // Writing to a String cannot fail.
            let _ = write!(path, "M{x} {y}");
            for pair in places.windows(2).filter(|pair| pair[0] != pair[1]) {
                let _ = write!(path, "l{} {}", pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
            }
            if places.len() == 1 {
                // With round ends, a line without a length is a dot.
                path.push_str("h0");
            }
        }
        path
    }

    /// Returns the path of a series that keeps each value until the next one, up to a time.
    pub(super) fn steps(&self, points: &[(f64, f64)], until: f64) -> String {
        let points: Vec<Point> = points.iter().map(|(t, value)| (*t, Some(*value))).collect();
        let mut path = String::new();
        let mut height = None;
        for point in pieces(&points, self.end).into_iter().flatten() {
            let (x, y) = self.place(point);
            let _ = match height {
                None => write!(path, "M{x} {y}"),
                Some(before) if before == y => continue,
                Some(before) => write!(path, "H{x}v{}", y - before),
            };
            height = Some(y);
        }
        if height.is_some() {
            let _ = write!(path, "H{}", (self.across(until) * WIDTH).round());
        }
        path
    }

    /// Returns the path of the area below a path of a series.
    pub(super) fn below(path: &str) -> String {
        if path.is_empty() { String::new() } else { format!("{path}V{HEIGHT}H0z") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { end: 100.0, low: 0.0, high: 10.0, is_log: false };

    #[test]
    fn a_series_has_the_extremes_of_each_column() {
        let many: Vec<Point> =
            (0..100_000).map(|t| (f64::from(t), Some(f64::from(t % 1_000)))).collect();
        let pieces = pieces(&many, 100_000.0);
        let [piece] = &pieces[..] else { panic!("{} pieces", pieces.len()) };
        assert!(piece.len() <= 2 * COLUMNS + 2, "{} points", piece.len());
        assert!(piece.is_sorted_by_key(|point| point.0));
        let values = || piece.iter().map(|point| point.1);
        assert_eq!((values().fold(9.0, f64::min), values().fold(9.0, f64::max)), (0.0, 999.0));
    }

    #[test]
    fn lines_are_short_and_have_gaps() {
        for (points, expected) in [
            (&[][..], ""),
            (&[(0.0, None), (50.0, None)], ""),
            (&[(0.0, Some(10.0))], "M0 0h0"),
            (
                &[(0.0, Some(0.0)), (50.0, Some(5.0)), (100.0, Some(5.0))],
                "M0 1000l1000 -500l1000 0",
            ),
            (&[(0.0, Some(0.0)), (10.0, None), (50.0, Some(5.0))], "M0 1000h0M1000 500h0"),
        ] {
            assert_eq!(SCALE.line(points), expected, "{points:?}");
        }
    }

    #[test]
    fn steps_keep_each_value_until_the_next_one() {
        for (points, expected) in [
            (&[][..], ""),
            (&[(0.0, 10.0)], "M0 0H2000"),
            (&[(0.0, 0.0), (50.0, 5.0), (75.0, 5.0)], "M0 1000H1000v-500H2000"),
        ] {
            let path = SCALE.steps(points, 100.0);
            assert_eq!(path, expected, "{points:?}");
            let area = Scale::below(&path);
            assert_eq!(area.is_empty(), expected.is_empty(), "{area}");
        }
    }

    #[test]
    fn values_out_of_the_scale_are_at_its_edge() {
        let log = Scale { low: 0.01, high: 100.0, is_log: true, ..SCALE };
        for (scale, value, expected) in [
            (SCALE, 10.0, 0.0),
            (SCALE, 2.5, 0.75),
            (SCALE, 11.0, 0.0),
            (SCALE, -1.0, 1.0),
            (Scale { high: 0.0, ..SCALE }, 0.0, 1.0),
            (log, 100.0, 0.0),
            (log, 1.0, 0.5),
            (log, 0.0, 1.0),
        ] {
            assert!((scale.down(value) - expected).abs() < 1e-9, "{scale:?} {value}");
        }
    }
}
