//! Stabilization: recent recommendations hold back a change.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Behavior, Recommendation};

/// Without `behavior`: never below the highest recommendation of the window. A recommendation exactly as
/// old as the window still counts.
pub fn legacy(
    recommendations: &[Recommendation],
    window: TimeDelta,
    desired: i32,
    now: DateTime<Utc>,
) -> i32 {
    let edge = now - window;
    let recent = recommendations.iter().filter(|past| past.at >= edge);
    recent.map(|past| past.replicas).fold(desired, i32::max)
}

/// With `behavior`: stays where it is between the lowest recommendation of the scale-up window and the
/// highest one of the scale-down window. A recommendation exactly as old as a window no longer counts.
pub fn with_behavior(
    recommendations: &[Recommendation],
    behavior: &Behavior,
    current: i32,
    desired: i32,
    now: DateTime<Utc>,
) -> i32 {
    let within = |window: TimeDelta| {
        let edge = now - window;
        recommendations.iter().filter(move |past| past.at > edge).map(|past| past.replicas)
    };
    let lowest = within(behavior.scale_up.window).fold(desired, i32::min);
    let highest = within(behavior.scale_down.window).fold(desired, i32::max);
    current.max(lowest).min(highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use crate::testing::at;

    fn past(list: &[(i64, i32)]) -> Vec<Recommendation> {
        list.iter()
            .map(|(second, replicas)| Recommendation { replicas: *replicas, at: at(*second) })
            .collect()
    }

    #[test]
    fn legacy_takes_the_highest_of_the_window_and_its_edge() {
        let table = [
            (&[][..], 3, 3),
            (&[(-60, 5)], 3, 5),
            (&[(-300, 5)], 3, 5),
            (&[(-301, 5)], 3, 3),
            (&[(-60, 2), (-10, 4)], 3, 4),
        ];
        for (list, desired, expected) in table {
            assert_eq!(
                legacy(&past(list), TimeDelta::seconds(300), desired, at(0)),
                expected,
                "{list:?}"
            );
        }
    }

    #[test]
    fn behavior_stays_between_the_lowest_and_the_highest() {
        let window =
            |seconds| Rules { window: TimeDelta::seconds(seconds), ..Rules::default_scale_up() };
        // past, scale-up window, scale-down window, current, desired, expected
        let table = [
            (&[(-10, 5)], 60, 60, 4, 8, 5),
            (&[(-10, 5)], 0, 60, 4, 8, 8),
            (&[(-10, 5)], 60, 60, 6, 2, 5),
            (&[(-60, 5)], 60, 60, 6, 2, 2),
            (&[(-10, 3)], 60, 60, 6, 8, 6),
            (&[(-10, 9)], 60, 60, 6, 2, 6),
        ];
        for (list, up, down, current, desired, expected) in table {
            let behavior = Behavior { scale_up: window(up), scale_down: window(down) };
            let stabilized = with_behavior(&past(list), &behavior, current, desired, at(0));
            assert_eq!(stabilized, expected, "{list:?} {current} {desired}");
        }
    }
}
