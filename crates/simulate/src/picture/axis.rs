//! The marks of axes.

use super::text;

/// The highest number of marks on the axis of time.
const TIMES: f64 = 8.0;
/// The distances of marks of time, in seconds.
const DISTANCES: [f64; 18] = [
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 10_800.0,
    14_400.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0,
];

/// A mark: its value and its text.
pub(super) type Mark = (f64, String);

/// Returns the marks of a time from zero on.
pub(super) fn times(end: f64) -> Vec<Mark> {
    let fits = |distance: &&f64| end / **distance <= TIMES;
    let distance = DISTANCES.iter().find(fits).copied().unwrap_or(end / TIMES);
    let count = (end / distance + 1e-9) as usize;
    let unit = match distance {
        distance if distance < 60.0 => (1.0, "s"),
        distance if distance < 1_800.0 => (60.0, "min"),
        distance if distance < 86_400.0 => (3_600.0, "h"),
        _ => (86_400.0, "d"),
    };
    let mark = |index: usize| {
        let t = distance * index as f64;
        (t, format!("{} {}", text::tick(t / unit.0), unit.1))
    };
    (0..=count).map(mark).collect()
}

/// Returns the marks of whole numbers from zero on: at most five above it. The last mark is at
/// least the highest number.
pub(super) fn numbers(highest: f64) -> Vec<Mark> {
    let highest = highest.max(1.0);
    let mut distance = 1.0;
    for step in [2.0, 2.5, 2.0].into_iter().cycle() {
        if highest / distance <= 5.0 {
            break;
        }
        distance *= step;
    }
    let count = (highest / distance).ceil() as usize;
    (0..=count).map(|index| distance * index as f64).map(|it| (it, text::tick(it))).collect()
}

/// Returns the marks of latencies within a range with equal ratios: 1, 2 and 5 of each decade, or
/// the decades alone where they are enough.
pub(super) fn latencies(low: f64, high: f64) -> Vec<Mark> {
    let all = (-4_i32..=5)
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| (digit, digit * 10_f64.powi(decade))));
    let within: Vec<(f64, f64)> =
        all.filter(|(_, value)| *value >= low * 0.999 && *value <= high * 1.001).collect();
    let decades_only = within.len() > 5;
    let is_kept = |(digit, _): &&(f64, f64)| !decades_only || *digit < 1.5;
    let kept = within.iter().filter(is_kept);
    kept.map(|(_, value)| (*value, text::round_latency(*value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(marks: &[Mark]) -> String {
        marks.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn marks_are_few_and_round() {
        for (marks, expected) in [
            (times(0.0), "0 s"),
            (times(20.0), "0 s | 5 s | 10 s | 15 s | 20 s"),
            (times(900.0), "0 min | 2 min | 4 min | 6 min | 8 min | 10 min | 12 min | 14 min"),
            (times(14_400.0), "0 h | 0.5 h | 1 h | 1.5 h | 2 h | 2.5 h | 3 h | 3.5 h | 4 h"),
            (times(86_400.0), "0 h | 3 h | 6 h | 9 h | 12 h | 15 h | 18 h | 21 h | 24 h"),
            (times(604_800.0), "0 d | 1 d | 2 d | 3 d | 4 d | 5 d | 6 d | 7 d"),
            (numbers(0.0), "0 | 1"),
            (numbers(3.2), "0 | 1 | 2 | 3 | 4"),
            (numbers(8.0), "0 | 2 | 4 | 6 | 8"),
            (numbers(23.0), "0 | 5 | 10 | 15 | 20 | 25"),
            (numbers(64.0), "0 | 20 | 40 | 60 | 80"),
            (numbers(4_100.0), "0 | 1,000 | 2,000 | 3,000 | 4,000 | 5,000"),
            (latencies(0.02, 0.2), "20 ms | 50 ms | 100 ms | 200 ms"),
            (latencies(0.05, 120.0), "100 ms | 1 s | 10 s | 100 s"),
            (latencies(0.03, 0.04), ""),
        ] {
            assert_eq!(texts(&marks), expected);
        }
    }
}
