//! Consecutive steps in closed form.

use crate::Histogram;

/// Steps with the same sequences, each of which gets a token in each step.
#[derive(Debug, Clone)]
pub(super) struct Run {
    start: f64,
    /// The duration of the first step.
    first_step: f64,
    /// The difference between the durations of a step and of the one before it.
    growth: f64,
    steps: u64,
    sequences: u64,
    /// True for a single step that computes prompt tokens too.
    has_prefill: bool,
}

impl Run {
    pub(super) fn new(
        start: f64,
        first_step: f64,
        growth: f64,
        steps: u64,
        sequences: u64,
        has_prefill: bool,
    ) -> Self {
        Self { start, first_step, growth, steps, sequences, has_prefill }
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn sequences(&self) -> u64 {
        self.sequences
    }

    pub(super) fn has_prefill(&self) -> bool {
        self.has_prefill
    }

    pub(super) fn end(&self) -> f64 {
        self.start + self.duration(self.steps)
    }

    /// Returns the duration of the first so many steps: an arithmetic series.
    fn duration(&self, steps: u64) -> f64 {
        let count = steps as f64;
        count * (self.first_step + self.growth * (count - 1.0) / 2.0)
    }

    /// Returns the number of steps that have ended by a time.
    pub(super) fn completed_by(&self, now: f64) -> u64 {
        let elapsed = now - self.start;
        if elapsed < self.first_step {
            return 0;
        }
        // The root of duration(k) = elapsed, in the form that is exact without growth too.
        let half = self.growth / 2.0;
        let linear = self.first_step - half;
        let root = (linear * linear + 4.0 * half * elapsed).sqrt();
        let estimate = (2.0 * elapsed / (linear + root)) as u64;
        let mut steps = estimate.min(self.steps);
        while steps < self.steps && self.duration(steps + 1) <= elapsed {
            steps += 1;
        }
        while steps > 0 && self.duration(steps) > elapsed {
            steps -= 1;
        }
        steps
    }

    /// Moves the start behind the first so many steps.
    pub(super) fn skip(&mut self, steps: u64) {
        self.start += self.duration(steps);
        self.first_step += self.growth * steps as f64;
        self.steps -= steps;
    }

    /// Ends the run with its current step.
    pub(super) fn shorten(&mut self) {
        self.steps = self.steps.min(1);
    }

    /// Counts the durations of the first so many steps, once for each sequence.
    pub(super) fn observe_latencies(&self, steps: u64, latencies: &mut Histogram) {
        if self.sequences > 0 && steps > 0 {
            latencies.observe_series(self.first_step, self.growth, steps, self.sequences);
        }
    }
}
