//! Sudden changes of the load.
//!
//! A burst begins where the load of the last 5 and 10 seconds is above everything that the errors
//! of past forecasts allow. Until replicas that start now can be ready, the size is that of the
//! load since then, and more replicas are ordered than needed: of many starts the first are faster
//! than the mean, and those that are not needed any more are cancelled before they are ready.

use super::{arrivals::Arrivals, forecast::Forecasts};

/// The least logarithm by which a load is above the expected one in a burst.
const LEAST: f64 = 0.35;
/// The factor of past errors.
const ERRORS: f64 = 1.3;
/// The logarithm that is added without any past error, and the errors that take it away.
const INEXPERIENCE: f64 = 0.4;
const EXPERIENCE: usize = 40;
/// The time after the start-up time for which a burst lasts, in seconds.
const AFTER: f64 = 60.0;
/// The time for which a burst lasts on while replicas are missing, in seconds.
const WHILE_MISSING: f64 = 30.0;
/// The replicas that are ordered for each missing one, if start-up times are independent.
const HEDGE: f64 = 6.0;
/// The seconds of which a burst is above the mean load: a shorter time would contain the burst
/// itself before it is long enough to be one.
const BEFORE: f64 = 120.0;
/// The load of the time for which a burst is sized, in seconds.
const MEAN: f64 = 60.0;

/// The state of bursts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bursts {
    /// The time of the last sudden change: older loads say nothing about the next ones.
    pub(super) changed_at: f64,
    until: f64,
    ordered: u32,
    /// The work that was expected before, and the logarithm that was exceeded.
    expected: f64,
    limit: f64,
}

/// A burst, as far as it explains a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// The work since it began, in replicas.
    pub work: f64,
    /// The work that was expected, in replicas.
    pub expected: f64,
    /// The replicas that the load needs.
    pub needed: u32,
    /// The replicas that serve and are not clogged.
    pub healthy: u32,
    /// The replicas that are ordered until as many are healthy as needed.
    pub ordered: u32,
}

/// The replicas of a target in a burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// The replicas that serve.
    pub(super) serving: u32,
    /// Those of them with queues that are longer than the promise.
    pub(super) clogged: u32,
    /// The replicas that have never been ready.
    pub(super) starting: u32,
    /// The requested replicas.
    pub(super) requested: u32,
    /// The share by which more starts make the first of them faster.
    pub(super) independence: f64,
}

impl Default for Bursts {
    fn default() -> Self {
        let never = f64::NEG_INFINITY;
        Self { changed_at: never, until: never, ordered: 0, expected: 0.0, limit: 0.0 }
    }
}

impl Bursts {
    /// Returns true if the load has just changed, and remembers since when.
    pub(super) fn detect(&mut self, arrivals: &Arrivals, errors: &Forecasts, start: f64) -> bool {
        let recent = |seconds| arrivals.rate(seconds, 0.0, self.changed_at);
        let recent = [BEFORE, MEAN, 10.0, 5.0].map(recent);
        let [Some(before), Some(minute), Some(ten), Some(five)] = recent else { return false };
        let expected = before.work;
        let missing = 1.0 - errors.count() as f64 / EXPERIENCE as f64;
        let noise = 2.0 / (10.0 * minute.requests).max(1.0).sqrt();
        let limit = LEAST.max(ERRORS * errors.error()) + noise + INEXPERIENCE * missing.max(0.0);
        let is_burst = five.work.min(ten.work) > expected * limit.exp();
        if is_burst {
            let now = arrivals.end();
            let ordered = if now < self.until { self.ordered } else { 0 };
            let (changed_at, until) = (now - 5.0, now + start + AFTER);
            *self = Self { changed_at, until, ordered, expected, limit };
        }
        is_burst
    }

    /// Returns the rate of requests to size a burst by, while there is one.
    pub(super) fn rate(&mut self, arrivals: &Arrivals) -> Option<f64> {
        let now = arrivals.end();
        if now >= self.until {
            return None;
        }
        let rate = arrivals.rate(MEAN, 0.0, self.changed_at)?;
        if rate.work < self.expected * (self.limit / 2.0).exp() {
            self.until = f64::NEG_INFINITY;
            return None;
        }
        Some(rate.requests)
    }

    /// Returns the replicas to order for a load that needs this many.
    pub(super) fn order(
        &mut self,
        needed: u32,
        standing: &Standing,
        arrivals: &Arrivals,
        errors: &Forecasts,
    ) -> Burst {
        let now = arrivals.end();
        let healthy = standing.serving - standing.clogged;
        let mut ordered = needed + standing.clogged.min(needed);
        if healthy < needed && errors.count() >= EXPERIENCE {
            let hedge = 1.0 + (HEDGE - 1.0) * standing.independence;
            let missing = f64::from(needed - healthy);
            let hedged = standing.serving + (hedge * missing).ceil() as u32;
            self.ordered = self.ordered.max(hedged).max(ordered);
            ordered = self.ordered;
            self.until = self.until.max(now + WHILE_MISSING);
        }
        // Only replicas that are not ready yet are cancelled.
        ordered = ordered.max(standing.requested.saturating_sub(standing.starting));
        let work = arrivals.rate(MEAN, 0.0, self.changed_at).map_or(0.0, |rate| rate.work);
        Burst { work, expected: self.expected, needed, healthy, ordered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::arrivals::Flow;

    /// Half an hour with a load of 20 requests of 0.1 s each, and then another load.
    struct Load {
        arrivals: Arrivals,
        errors: Forecasts,
        bursts: Bursts,
        at: f64,
    }

    impl Load {
        fn steady() -> Self {
            let (arrivals, errors) = (Arrivals::default(), Forecasts::default());
            let mut load = Self { arrivals, errors, bursts: Bursts::default(), at: 0.0 };
            assert_eq!(load.run(1_800, 20.0), None);
            load
        }

        /// Runs for some time, and returns the seconds after which a burst was detected.
        fn run(&mut self, seconds: u32, rate: f64) -> Option<u32> {
            let mut detected = None;
            for since in (0..seconds).step_by(5) {
                let flow = Flow { requests: 5.0 * rate, work: 0.5 * rate };
                self.arrivals.count(self.at, self.at + 5.0, flow);
                self.at += 5.0;
                self.errors.compare(&self.arrivals, self.bursts.changed_at, 120.0);
                if self.bursts.detect(&self.arrivals, &self.errors, 120.0) {
                    detected = detected.or(Some(since + 5));
                }
            }
            detected
        }

        fn order(&mut self, serving: u32, starting: u32, requested: u32) -> Burst {
            let standing = Standing { serving, clogged: 0, starting, requested, independence: 1.0 };
            self.bursts.order(12, &standing, &self.arrivals, &self.errors)
        }
    }

    #[test]
    fn a_multiple_of_the_load_is_a_burst_within_ten_seconds_and_a_third_more_is_none() {
        for (rate, expected) in [(26.0, None), (40.0, Some(10)), (100.0, Some(5))] {
            assert_eq!(Load::steady().run(60, rate), expected, "{rate}");
        }
    }

    #[test]
    fn more_is_ordered_than_needed_until_as_many_are_healthy() {
        let mut load = Load::steady();
        load.run(20, 100.0);
        assert!(load.bursts.rate(&load.arrivals).is_some_and(|rate| rate > 95.0));
        assert_eq!(load.order(3, 0, 3).ordered, 3 + 6 * 9);
        load.run(100, 100.0);
        assert_eq!(load.order(8, 49, 57).ordered, 57);
        // As many serve as needed: the others are cancelled, those that serve are not.
        assert_eq!(load.order(14, 43, 57).ordered, 14);
    }

    #[test]
    fn a_burst_ends_with_the_load_or_after_the_start_up_time() {
        let mut load = Load::steady();
        load.run(20, 100.0);
        load.run(80, 20.0);
        assert_eq!(load.bursts.rate(&load.arrivals), None);
        let mut load = Load::steady();
        load.run(180, 100.0);
        assert!(load.bursts.rate(&load.arrivals).is_some());
        load.run(20, 100.0);
        assert_eq!(load.bursts.rate(&load.arrivals), None);
    }

    #[test]
    fn starts_that_depend_on_each_other_are_not_hedged() {
        let mut load = Load::steady();
        load.run(20, 100.0);
        let standing =
            Standing { serving: 3, clogged: 1, starting: 0, requested: 3, independence: 0.0 };
        let found = load.bursts.order(12, &standing, &load.arrivals, &load.errors);
        assert_eq!((found.healthy, found.ordered), (2, 13));
    }
}
