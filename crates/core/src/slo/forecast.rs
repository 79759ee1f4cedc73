//! The expected work, and how far such expectations have been off.
//!
//! Work is in seconds of replicas' computing per second. A forecast is for one start-up time ahead:
//! what a replica that is ordered now will meet. Its errors of the last hour say by how much a load
//! may exceed it without being a surprise.
//!
//! A rise is a straight line through the last three minutes, as far as its slope is beyond what may
//! be noise. The share of it that is carried on is learned: the share by which the load has
//! followed such lines in the last hour, by ridge regression. A long ramp teaches to follow it, and
//! a ripple that turns before a replica is ready teaches not to.

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

/// The seconds of which the line of a rise is, and the standard errors that its slope is lowered
/// by: what may be noise is no rise.
const RISE: f64 = 180.0;
const DOUBT: f64 = 2.0;
/// The largest rise, as a share of the mean load.
const LARGEST_RISE: f64 = 1.0;
/// The share of a rise that is carried on without experience, and the squared rises that this
/// counts for.
const CARRIED_ON: f64 = 0.7;
const UNSURE: f64 = 0.4;
/// The time constant of the experience with rises, in seconds.
const MEMORY: f64 = 3_600.0;

/// A forecast: the mean load, and the share of it that its rise adds if it is carried on.
#[derive(Clone, Copy, Debug)]
struct Made {
    at: f64,
    expected: f64,
    rise: f64,
    /// The share that was added for the rise.
    added: f64,
}

/// The past forecasts and their errors.
#[derive(Clone, Debug)]
pub(super) struct Forecasts {
    /// The forecasts, the oldest first.
    made: VecDeque<Made>,
    /// The sums of the squares of past rises, and of their products with what came after them.
    rises: f64,
    followed: f64,
    compared_at: f64,
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
            rises: 0.0,
            followed: 0.0,
            compared_at: 0.0,
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
        let rise = Self::rise(arrivals, expected, changed_at, lead);
        let added = self.gain() * rise;
        self.made.push_back(Made { at: now, expected, rise, added });
        let kept = (-(now - self.compared_at).max(0.0) / MEMORY).exp();
        (self.rises, self.followed) = (self.rises * kept, self.followed * kept);
        self.compared_at = now;
        let due = self.made.iter().rev().find(|made| made.at <= now - lead);
        let due = due.filter(|due| due.at >= changed_at && now - lead - due.at < 2.0 * EVERY);
        let actual = arrivals.rate(ACTUAL, 0.0, changed_at).map(|rate| rate.work);
        if let Some((due, actual)) = due.copied().zip(actual)
            && due.expected > 0.0
            && actual > 0.0
        {
            self.rises += due.rise * due.rise;
            self.followed += due.rise * (actual / due.expected - 1.0).min(2.0 * LARGEST_RISE);
            let forecast = due.expected * (1.0 + due.added);
            self.remember((actual / forecast).ln().abs().min(LARGEST));
        }
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

    /// Returns the share of a rise that has been carried on so far.
    fn gain(&self) -> f64 {
        let gain = (self.followed + UNSURE * CARRIED_ON) / (self.rises + UNSURE);
        gain.clamp(0.0, 1.0)
    }

    /// Returns the share of the mean load that a rise adds by the time that a new replica is ready.
    pub(super) fn trend(&self, arrivals: &Arrivals, changed_at: f64, lead: f64) -> f64 {
        let Some(expected) = Self::expected(arrivals, changed_at) else { return 0.0 };
        self.gain() * Self::rise(arrivals, expected, changed_at, lead)
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

    #[test]
    fn a_rise_is_carried_on_as_far_as_rises_have_gone_on_before() {
        let gain = |load: fn(f64) -> f64| {
            let (mut arrivals, mut forecasts) = (Arrivals::default(), Forecasts::default());
            for at in 0..360 {
                let (from, to) = (5.0 * f64::from(at), 5.0 * f64::from(at + 1));
                arrivals.count(from, to, Flow { requests: 5.0, work: 5.0 * load(to) });
                forecasts.compare(&arrivals, 0.0, 120.0);
            }
            forecasts.gain()
        };
        let steady = gain(|_| 1.0);
        assert!((steady - CARRIED_ON).abs() < 1e-6, "no rise teaches nothing: {steady}");
        let long = gain(|at| 1.0 + at / 300.0);
        assert!(long > 0.85, "a rise of half an hour: {long}");
        let ripple = gain(|at| 2.0 + (at / 240.0 * std::f64::consts::TAU).sin());
        assert!(ripple < 0.3, "rises that turn before a replica is ready: {ripple}");
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
