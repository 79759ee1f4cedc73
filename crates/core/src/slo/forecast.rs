//! The expected work, and how far such expectations have been off.
//!
//! Work is in seconds of replicas' computing per second. A forecast is for one start-up time ahead:
//! what a replica that is ordered now will meet. Its errors of the last hour say by how much a load
//! may exceed it without being a surprise.

use std::collections::VecDeque;

use super::arrivals::Arrivals;

/// The time between two forecasts that are remembered, in seconds.
const EVERY: f64 = 15.0;
/// The number of forecasts that are remembered: ten minutes of them.
const FORECASTS: usize = 40;
/// The number of errors that are remembered: an hour of them.
const ERRORS: usize = 240;
/// The errors below which nothing is known, and the size of an error that is then assumed.
const FEW: usize = 20;
const ASSUMED: f64 = 0.3;
const ASSUMED_MEAN: f64 = 0.1;
/// The time over which the mean load is the forecast, in seconds.
const MEAN: f64 = 120.0;
/// The time over which the mean load is compared with its forecast.
const ACTUAL: f64 = 20.0;
/// The largest error that is remembered, as a logarithm.
const LARGEST: f64 = 1.2;

/// The past forecasts and their errors.
#[derive(Clone, Debug)]
pub(super) struct Forecasts {
    /// The forecasts by the time that they were made at, the oldest first.
    made: VecDeque<(f64, f64)>,
    /// The errors as absolute values of logarithms.
    errors: [f32; ERRORS],
    /// The number of errors so far, and the place of the next one.
    count: usize,
    next: usize,
    /// The 99th percentile of the errors.
    error: f64,
}

impl Default for Forecasts {
    fn default() -> Self {
        Self {
            made: VecDeque::with_capacity(FORECASTS),
            errors: [0.0; ERRORS],
            count: 0,
            next: 0,
            error: ASSUMED,
        }
    }
}

impl Forecasts {
    /// Returns the expected work, by the load since its last sudden change.
    pub(super) fn expected(arrivals: &Arrivals, changed_at: f64) -> Option<f64> {
        arrivals.rate(MEAN, 0.0, changed_at).map(|rate| rate.work)
    }

    /// Remembers a forecast, and compares the load with the one that was made for now.
    pub(super) fn compare(&mut self, arrivals: &Arrivals, changed_at: f64, lead: f64) {
        let now = arrivals.end();
        if self.made.back().is_some_and(|(at, _)| now - at < EVERY) {
            return;
        }
        let Some(expected) = Self::expected(arrivals, changed_at) else { return };
        if self.made.len() == FORECASTS {
            self.made.pop_front();
        }
        self.made.push_back((now, expected));
        let due = self.made.iter().rev().find(|(at, _)| *at <= now - lead);
        let due = due.filter(|(at, _)| *at >= changed_at && now - lead - at < 2.0 * EVERY);
        let actual = arrivals.rate(ACTUAL, 0.0, changed_at).map(|rate| rate.work);
        if let Some((due, actual)) = due.map(|(_, due)| *due).zip(actual)
            && due > 0.0
            && actual > 0.0
        {
            self.remember((actual / due).ln().abs().min(LARGEST));
        }
    }

    fn remember(&mut self, error: f64) {
        self.errors[self.next] = error as f32;
        self.next = (self.next + 1) % ERRORS;
        self.count = (self.count + 1).min(ERRORS);
        if self.count >= FEW {
            let mut sorted = self.errors;
            let sorted = &mut sorted[..self.count];
            sorted.sort_unstable_by(f32::total_cmp);
            self.error = f64::from(sorted[(self.count - 1) * 99 / 100]);
        }
    }

    /// Returns the number of remembered errors.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Returns the mean of the errors as the logarithm of a factor.
    pub(super) fn mean_error(&self) -> f64 {
        if self.count < FEW {
            return ASSUMED_MEAN;
        }
        let errors = &self.errors[..self.count];
        errors.iter().map(|error| f64::from(*error)).sum::<f64>() / self.count as f64
    }

    /// Returns the 99th percentile of the errors as the logarithm of a factor.
    pub(super) fn error(&self) -> f64 {
        self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::arrivals::Flow;

    #[test]
    fn errors_are_those_at_the_lead_and_not_across_a_change() {
        let run = |changed_at: f64| {
            let (mut arrivals, mut forecasts) = (Arrivals::default(), Forecasts::default());
            for at in 0..240 {
                let (from, to) = (5.0 * f64::from(at), 5.0 * f64::from(at + 1));
                let work = if from < 900.0 { 1.0 } else { 2.0 };
                arrivals.count(from, to, Flow { requests: 0.0, work: 5.0 * work });
                let changed_at = if to > changed_at { changed_at } else { 0.0 };
                forecasts.compare(&arrivals, changed_at, 120.0);
            }
            (forecasts.count(), forecasts.error())
        };
        let (count, error) = run(f64::INFINITY);
        assert!(count > 65 && (error - 2f64.ln()).abs() < 1e-6, "{count} {error}");
        let (count, error) = run(900.0);
        assert!((50..65).contains(&count) && error < 1e-6, "{count} {error}");
    }
}
