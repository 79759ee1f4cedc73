//! The margins of a size, moved by the share of requests that were late.
//!
//! They fall where more than the promised share is late, and rise slowly to their defaults
//! otherwise. They never rise above them: a bound that could move up drifts up in calm times, and
//! pays for it in the next rise.

use super::{
    record::{numbers, rounded},
    size::Margins,
};

/// The margins without any experience.
pub(super) const DEFAULT: Margins = Margins { latency: 0.88, utilization: 0.80 };
const LEAST: Margins = Margins { latency: 0.44, utilization: 0.40 };
/// The shortest time that is judged, in seconds, and the requests that it needs.
const PERIOD: f64 = 10.0;
const REQUESTS: f64 = 500.0;
/// The longest time for which one judgement counts, in seconds.
const LONGEST: f64 = 60.0;
/// The part of the promised share of late requests below which margins rise. Above the whole share
/// they fall.
const FEW: f64 = 0.5;
/// The change of the logarithms of the margins per second. They halve within ten minutes and double
/// in an hour and a half: a burst of seconds says little about the next one, and a load that has
/// bursts all the time needs margins that stay.
const FALL: Margins = Margins { latency: -0.001_2, utilization: -0.000_8 };
const RISE: Margins = Margins { latency: 0.000_125, utilization: 0.000_062_5 };

/// The margins, and the requests that are not judged yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feedback {
    margins: Margins,
    finished: f64,
    late: f64,
    since: f64,
}

impl Default for Feedback {
    fn default() -> Self {
        Self { margins: DEFAULT, finished: 0.0, late: 0.0, since: f64::NEG_INFINITY }
    }
}

impl Feedback {
    pub(super) fn margins(&self) -> Margins {
        self.margins
    }

    /// Counts finished requests, and those of them that were late.
    pub(super) fn count(&mut self, finished: f64, late: f64) {
        self.finished += finished;
        self.late += late.min(finished);
    }

    /// Forgets what is not judged yet: requests of a burst are late by no fault of the margins.
    pub(super) fn forget(&mut self, now: f64) {
        (self.finished, self.late, self.since) = (0.0, 0.0, now);
    }

    /// Returns the margins as numbers.
    pub(super) fn record(&self) -> Vec<f64> {
        vec![rounded(self.margins.latency), rounded(self.margins.utilization)]
    }

    /// Takes over margins, if they are some.
    pub(super) fn restore(&mut self, record: &[f64]) {
        let Some([latency, utilization]) = numbers::<2>(record) else { return };
        let is_margin = |margin, least, most| (least..=most).contains(&margin);
        if is_margin(latency, LEAST.latency - 1e-6, DEFAULT.latency + 1e-6)
            && is_margin(utilization, LEAST.utilization - 1e-6, DEFAULT.utilization + 1e-6)
        {
            self.margins = Margins { latency, utilization };
        }
    }

    /// Moves the margins, if enough requests are to be judged: `most` of them may be late.
    pub(super) fn judge(&mut self, now: f64, most: f64) {
        let time = now - self.since;
        if time < PERIOD || self.finished < REQUESTS {
            return;
        }
        let share = self.late / self.finished;
        self.forget(now);
        let change = match share {
            share if share > most => FALL,
            share if share < FEW * most => RISE,
            _ => return,
        };
        let time = time.min(LONGEST);
        let moved = |margin: f64, by: f64, least: f64, most: f64| {
            (margin * (by * time).exp()).clamp(least, most)
        };
        let Margins { latency, utilization } = self.margins;
        self.margins = Margins {
            latency: moved(latency, change.latency, LEAST.latency, DEFAULT.latency),
            utilization: moved(
                utilization,
                change.utilization,
                LEAST.utilization,
                DEFAULT.utilization,
            ),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the margin of the latency after so many seconds in which this share was late.
    fn after(feedback: &mut Feedback, from: u32, seconds: u32, rate: f64, share: f64) -> f64 {
        for at in (from..from + seconds).step_by(5) {
            feedback.count(5.0 * rate, 5.0 * rate * share);
            feedback.judge(f64::from(at), 0.01);
        }
        feedback.margins().latency
    }

    #[test]
    fn margins_fall_while_requests_are_late_and_return_to_their_defaults() {
        let mut feedback = Feedback::default();
        let latency = DEFAULT.latency;
        assert!((after(&mut feedback, 0, 600, 100.0, 0.0) - latency).abs() < 1e-9);
        let fallen = after(&mut feedback, 600, 250, 100.0, 0.02);
        assert!(fallen < 0.8 * latency && fallen > 0.7 * latency, "{fallen}");
        feedback.forget(850.0);
        assert!((after(&mut feedback, 850, 600, 100.0, 0.007) - fallen).abs() < 1e-9);
        assert!((after(&mut feedback, 1_450, 3_600, 100.0, 1.0) - LEAST.latency).abs() < 1e-9);
        assert!(after(&mut feedback, 5_050, 1_800, 100.0, 0.0) < 0.7 * latency, "slowly");
        assert!((after(&mut feedback, 6_850, 5_400, 100.0, 0.0) - latency).abs() < 1e-9);
    }

    #[test]
    fn few_requests_are_judged_together_and_those_of_a_burst_not_at_all() {
        let mut feedback = Feedback::default();
        feedback.judge(0.0, 0.01);
        feedback.count(499.0, 499.0);
        feedback.judge(1_000.0, 0.01);
        assert_eq!(feedback.margins(), DEFAULT);
        feedback.forget(1_000.0);
        feedback.count(499.0, 499.0);
        feedback.judge(2_000.0, 0.01);
        assert_eq!(feedback.margins(), DEFAULT);
        feedback.count(1.0, 1.0);
        feedback.judge(2_000.0, 0.01);
        assert!(feedback.margins().latency < DEFAULT.latency);
    }

    #[test]
    fn the_promised_share_decides_what_is_too_many() {
        for (most, falls) in [(0.01, true), (0.05, false)] {
            let mut feedback = Feedback::default();
            feedback.count(1_000.0, 20.0);
            feedback.judge(1_000.0, most);
            assert_eq!(feedback.margins().latency < DEFAULT.latency, falls, "{most}");
        }
    }
}
