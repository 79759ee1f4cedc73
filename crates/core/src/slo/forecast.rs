//! The expected work, and how far such expectations have been off.
//!
//! Work is in seconds of replicas' computing per second. A forecast is for one start-up time ahead:
//! what a replica that is ordered now will meet. Its errors of the last hour say by how much a load
//! may exceed it without being a surprise.
//!
//! A forecast is the mean of the latest load, and the change that its past announces: a straight
//! rise through the last three minutes, as far as its slope is beyond what may be noise, and how
//! the load of some minutes ago compares with the present one. What they are worth is learned by
//! [`Regression`], so that a load with a rhythm is expected to keep it, and its errors are small.

use std::collections::VecDeque;

use super::{
    arrivals::Arrivals,
    regression::{Features, LARGEST_RISE, Regression},
};

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
/// The seconds of which the mean is the present load. The window before a scale-down keeps
/// the highest of such means, so that a longer one would only be late.
pub(super) const MEAN: f64 = 50.0;
/// The time over which the mean load is compared with its forecast.
const ACTUAL: f64 = 20.0;
/// The largest error that is remembered, as a logarithm.
const LARGEST: f64 = 1.2;

/// The seconds of which the line of a rise is, and the standard errors that its slope is lowered
/// by: what may be noise is no rise.
const RISE: f64 = 180.0;
const DOUBT: f64 = 1.0;
/// The times of the past that are compared with the present: the two before the latest of so many
/// seconds, and nearly all that is remembered.
const SPAN: f64 = 90.0;
const LONG: f64 = 590.0;

/// A forecast: the mean load, what its past announces, and the share of it that this adds.
#[derive(Clone, Copy, Debug)]
struct Made {
    at: f64,
    expected: f64,
    features: Features,
    added: f64,
}

/// The past forecasts and their errors.
#[derive(Clone, Debug)]
pub(super) struct Forecasts {
    /// The forecasts, the oldest first.
    made: VecDeque<Made>,
    regression: Regression,
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
            regression: Regression::default(),
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
        if self.made.back().is_some_and(|made| now - made.at < EVERY) {
            return;
        }
        let Some(expected) = Self::expected(arrivals, changed_at) else { return };
        if self.made.len() == FORECASTS {
            self.made.pop_front();
        }
        let features = Self::features(arrivals, expected, changed_at, lead);
        let added = self.regression.predict(&features);
        self.made.push_back(Made { at: now, expected, features, added });
        let due = self.made.iter().rev().find(|made| made.at <= now - lead);
        let due = due.filter(|due| due.at >= changed_at && now - lead - due.at < 2.0 * EVERY);
        let actual = arrivals.rate(ACTUAL, 0.0, changed_at).map(|rate| rate.work);
        if let Some((due, actual)) = due.copied().zip(actual)
            && due.expected > 0.0
            && actual > 0.0
        {
            self.regression.learn(now, &due.features, actual / due.expected - 1.0);
            let forecast = due.expected * (1.0 + due.added);
            self.remember((actual / forecast).ln().abs().min(LARGEST));
        }
    }

    /// Returns what the past announces, as shares of the expected work. Where the load has changed
    /// suddenly since a time, that time announces nothing.
    fn features(arrivals: &Arrivals, expected: f64, changed_at: f64, lead: f64) -> Features {
        let before = |ago: f64, seconds: f64| {
            let middle = arrivals.end() - ago - seconds / 2.0;
            let rate = arrivals.rate(seconds, ago, changed_at).filter(|_| middle >= changed_at);
            let share = rate.filter(|_| expected > 0.0).map(|rate| rate.work / expected - 1.0);
            share.map_or(0.0, |share| share.clamp(-1.0, 1.0))
        };
        let rise = Self::rise(arrivals, expected, changed_at, lead);
        [rise, before(SPAN, SPAN), before(2.0 * SPAN, SPAN), before(0.0, LONG)]
    }

    /// Returns the share by which the load will be above its mean after some time, if it goes on as
    /// it does; 0 for a fall, which is followed after the window.
    fn rise(arrivals: &Arrivals, expected: f64, changed_at: f64, lead: f64) -> f64 {
        let Some(line) = arrivals.line(RISE, changed_at) else { return 0.0 };
        let slope = line.slope - DOUBT * line.error;
        if expected <= 0.0 || slope <= 0.0 {
            return 0.0;
        }
        let later = line.mean + slope * (line.since_middle + lead);
        (later / expected - 1.0).clamp(0.0, LARGEST_RISE)
    }

    /// Returns the share of the mean load by which it will have risen when a new replica is ready;
    /// 0 for a fall.
    pub(super) fn trend(&self, arrivals: &Arrivals, changed_at: f64, lead: f64) -> f64 {
        let Some(expected) = Self::expected(arrivals, changed_at) else { return 0.0 };
        let features = Self::features(arrivals, expected, changed_at, lead);
        self.regression.predict(&features).max(0.0)
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
    use crate::slo::{arrivals::Flow, regression::CARRIED_ON};

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

    /// Returns the forecasts after some time of a load of twenty requests a second.
    fn after(seconds: i32, load: impl Fn(f64) -> f64) -> (Arrivals, Forecasts) {
        let (mut arrivals, mut forecasts) = (Arrivals::default(), Forecasts::default());
        for at in 0..seconds / 5 {
            let (from, to) = (5.0 * f64::from(at), 5.0 * f64::from(at + 1));
            arrivals.count(from, to, Flow { requests: 100.0, work: 5.0 * load(to) });
            forecasts.compare(&arrivals, 0.0, 120.0);
        }
        (arrivals, forecasts)
    }

    #[test]
    fn a_rise_is_carried_on_as_far_as_rises_have_gone_on_before() {
        // A ramp of an hour, which is 12 % higher after two minutes: the mean lags by 25 s.
        let (arrivals, forecasts) = after(3_600, |at| 1.0 + at / 300.0);
        let trend = forecasts.trend(&arrivals, 0.0, 120.0);
        let expected = Forecasts::expected(&arrivals, 0.0).unwrap();
        let ratio = expected * (1.0 + trend) / (13.0 + 120.0 / 300.0);
        assert!((ratio - 1.0).abs() < 0.01 && forecasts.mean_error() < 0.02, "{ratio}");
    }

    #[test]
    fn a_rhythm_is_learned_and_chance_is_not() {
        let wave = |at: f64| 2.0 + (at / 400.0 * std::f64::consts::TAU).sin();
        let (_, forecasts) = after(7_200, wave);
        let (_, first) = after(900, wave);
        let (first, second) = (first.mean_error(), forecasts.mean_error());
        assert!(first > 0.4 && second < 0.2, "{first} {second}");
        // Each minute has a load of its own, between 1 and 3.
        let chance = |at: f64| {
            let minute = (at / 60.0).floor();
            1.0 + ((minute * 0.618_034).sin() * 87_517.0).rem_euclid(2.0)
        };
        let (_, forecasts) = after(7_200, chance);
        assert!(forecasts.mean_error() > 0.25, "{}", forecasts.mean_error());
    }

    #[test]
    fn a_slope_within_its_error_and_a_fall_are_no_rise() {
        let trend = |load: fn(u32) -> f64| {
            let mut arrivals = Arrivals::default();
            for at in 0..60 {
                let (from, to) = (5.0 * f64::from(at), 5.0 * f64::from(at + 1));
                arrivals.count(from, to, Flow { requests: 5.0, work: 5.0 * load(at) });
            }
            Forecasts::default().trend(&arrivals, f64::NEG_INFINITY, 120.0)
        };
        assert!(trend(|at| f64::from(at % 7)) < 1e-9);
        assert!(trend(|at| 100.0 - f64::from(at)) < 1e-9);
        assert!(trend(|at| 100.0 + f64::from(at)) > 0.1);
        assert!(trend(|at| f64::from(at).powi(4)) <= CARRIED_ON * LARGEST_RISE + 1e-9);
    }
}
