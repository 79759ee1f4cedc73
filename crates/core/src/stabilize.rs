//! Stabilization windows: recent recommendations hold back a change.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{history::Recommendation, policy::Behavior};

/// Stabilizes a recommendation of a spec without `behavior`: the result is the highest
/// recommendation of the window, `desired` included. One that is exactly as old as the window still
/// counts.
///
/// The rule is `stabilizeRecommendation` of `pkg/controller/podautoscaler/horizontal.go`.
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

/// Stabilizes a recommendation of a spec with `behavior`: the result is the value nearest to
/// `current` between the lowest recommendation of the scale-up window and the highest one of the
/// scale-down window, `desired` included in both. One that is exactly as old as a window no longer
/// counts.
///
/// Example: at 6 replicas, with recommendations of 5 and then 2 within the scale-down window, the
/// result is 5.
///
/// The rule is `stabilizeRecommendationWithBehaviors` of
/// `pkg/controller/podautoscaler/horizontal.go`.
pub fn with_behavior(
    recommendations: &[Recommendation],
    behavior: &Behavior,
    current: i32,
    desired: i32,
    now: DateTime<Utc>,
) -> i32 {
    let up_edge = now - behavior.scale_up.window;
    let down_edge = now - behavior.scale_down.window;
    let lowest = replicas_since(recommendations, up_edge).fold(desired, i32::min);
    let highest = replicas_since(recommendations, down_edge).fold(desired, i32::max);
    current.max(lowest).min(highest)
}

/// Returns the recommendations after `edge`.
fn replicas_since(
    recommendations: &[Recommendation],
    edge: DateTime<Utc>,
) -> impl Iterator<Item = i32> {
    recommendations.iter().filter(move |past| past.at > edge).map(|past| past.replicas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::Rules, tests::support::at};

    fn past(list: &[(i64, i32)]) -> Vec<Recommendation> {
        list.iter()
            .map(|(second, replicas)| Recommendation { replicas: *replicas, at: at(*second) })
            .collect()
    }

    #[test]
    fn without_behavior_the_highest_of_the_window_and_its_edge_holds() {
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
    fn with_behavior_the_size_stays_between_the_lowest_and_the_highest() {
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
