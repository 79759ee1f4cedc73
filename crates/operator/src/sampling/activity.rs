//! The time in which a source is scraped or queried.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

/// The time for which a source stays active after it was needed.
const NEEDED_FOR: Duration = Duration::from_mins(1);

/// The time in which a source is scraped or queried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Activity {
    Always,
    Until(Monotonic),
}

impl Activity {
    pub(super) fn is_active(self, now: Monotonic) -> bool {
        match self {
            Self::Always => true,
            Self::Until(end) => now < end,
        }
    }

    /// Keeps the source active for [`NEEDED_FOR`].
    pub(super) fn renew(&mut self, now: Monotonic) {
        if let Self::Until(end) = self {
            *end = now.after(NEEDED_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_source_is_active_for_a_minute_after_it_was_needed() {
        let at = |second| Monotonic(Duration::from_secs(second));
        // The activity at 100 s, the time of renewal, and whether it is active at 100, 130 and 160
        // s.
        for (name, activity, renewed, expected) in [
            ("always", Activity::Always, None, [true; 3]),
            ("always, and needed", Activity::Always, Some(100), [true; 3]),
            ("never needed", Activity::Until(at(100)), None, [false; 3]),
            ("needed", Activity::Until(at(100)), Some(100), [true, true, false]),
            ("needed again", Activity::Until(at(110)), Some(101), [true; 3]),
        ] {
            let mut activity = activity;
            if let Some(second) = renewed {
                activity.renew(at(second));
            }
            let active = [100, 130, 160].map(|second| activity.is_active(at(second)));
            assert_eq!(active, expected, "{name}");
        }
    }
}
