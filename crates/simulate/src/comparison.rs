//! Two outcomes of one scenario: the times at which their sizes differ.

use crate::{score::Outcome, timeline::Moment};

/// A time during which one outcome has more replicas than the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Its begin, in seconds since the end of the warm-up.
    pub from: f64,
    /// Its end, in the same way.
    pub until: f64,
    /// The requested sizes at the moment at which they differ most.
    pub sizes: (u32, u32),
    /// The waiting requests at that moment.
    pub waiting: (u64, u64),
}

impl Difference {
    /// Returns the replica-seconds by which the two differ, by the widest difference.
    fn weight(&self) -> f64 {
        f64::from(self.sizes.0.abs_diff(self.sizes.1)) * (self.until - self.from)
    }
}

/// Returns the times at which two outcomes of one scenario differ, the weightiest first. They are
/// as exact as the timeline, which has a moment every 15 s or every minute.
pub fn differences(one: &Outcome, other: &Outcome) -> Vec<Difference> {
    let mut found: Vec<Difference> = Vec::new();
    let mut open: Option<Difference> = None;
    for (a, b) in one.timeline.iter().zip(&other.timeline).filter(|(a, _)| a.t >= 0.0) {
        let goes_on = open.is_some_and(|it| {
            (it.sizes.0 > it.sizes.1) == (a.requested > b.requested) && a.requested != b.requested
        });
        if !goes_on {
            let ended = open.take().map(|it| Difference { until: a.t, ..it });
            found.extend(ended);
            open = (a.requested != b.requested).then(|| difference(a, b));
        }
        if let Some(difference) = &mut open {
            difference.until = a.t;
            let (before, now) = (difference.sizes, (a.requested, b.requested));
            if now.0.abs_diff(now.1) > before.0.abs_diff(before.1) {
                (difference.sizes, difference.waiting) = (now, (a.waiting, b.waiting));
            }
        }
    }
    found.extend(open);
    found.sort_by(|a, b| b.weight().total_cmp(&a.weight()));
    found
}

fn difference(a: &Moment, b: &Moment) -> Difference {
    Difference {
        from: a.t,
        until: a.t,
        sizes: (a.requested, b.requested),
        waiting: (a.waiting, b.waiting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(sizes: &[u32]) -> Outcome {
        let moment = |(index, size): (usize, &u32)| Moment {
            // The first moment is in the warm-up.
            t: 15.0 * (index as f64 - 1.0),
            requested: *size,
            waiting: 10 * u64::from(*size),
            ..Moment::default()
        };
        let timeline = sizes.iter().enumerate().map(moment).collect();
        Outcome { timeline, ..Outcome::default() }
    }

    #[test]
    fn times_with_another_direction_are_other_differences() {
        let one = outcome(&[9, 2, 2, 3, 5, 4, 4, 4, 1]);
        let other = outcome(&[1, 2, 1, 2, 2, 4, 6, 6, 6]);
        let found = differences(&one, &other);
        let difference = |from, until, sizes: (u32, u32)| Difference {
            from,
            until,
            sizes,
            waiting: (10 * u64::from(sizes.0), 10 * u64::from(sizes.1)),
        };
        assert_eq!(found, [difference(75.0, 105.0, (1, 6)), difference(15.0, 60.0, (5, 2))]);
        assert_eq!(differences(&one, &one), []);
    }
}
