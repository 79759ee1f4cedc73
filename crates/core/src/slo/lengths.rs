//! The lengths of requests, as ratios of counters.

use super::{record::numbers, track::Interval};

/// The time constant of the lengths, in seconds.
const MEMORY: f64 = 20.0;
/// The requests that are remembered whatever their age: below, a mean is noise.
const LEAST: f64 = 100.0;

/// The mean lengths of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths {
    /// The prompt tokens.
    pub prompt: f64,
    /// The prompt tokens that no prefix cache has.
    pub computed: f64,
    /// The tokens of the answer.
    pub output: f64,
}

/// Sums of the recent past.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LengthSums {
    prompt: f64,
    computed: f64,
    output: f64,
    first_tokens: f64,
    /// The requests of which `output` is: the mean of those that began and those that ended, since
    /// tokens are counted as they are generated.
    answers: f64,
    updated_at: f64,
}

impl LengthSums {
    /// Returns the sums as numbers.
    pub(super) fn record(&self) -> Vec<f32> {
        let Self { prompt, computed, output, first_tokens, answers, .. } = self;
        [prompt, computed, output, first_tokens, answers].map(|sum| *sum as f32).to_vec()
    }

    /// Takes over sums, as of the time `now`, if they are some.
    pub(super) fn restore(&mut self, record: &[f32], now: f64) {
        let Some(found) = numbers::<5>(record) else { return };
        if found.iter().all(|sum| *sum >= 0.0) {
            let [prompt, computed, output, first_tokens, answers] = found;
            *self = Self { prompt, computed, output, first_tokens, answers, updated_at: now };
        }
    }

    /// Forgets a part of the past, before a later time's intervals are added.
    pub(super) fn begin(&mut self, now: f64) {
        let kept = (-(now - self.updated_at).max(0.0) / MEMORY).exp();
        let of = |count: f64| kept.max((LEAST / count.max(LEAST)).min(1.0));
        let (prompts, answers) = (of(self.first_tokens), of(self.answers));
        for sum in [&mut self.prompt, &mut self.computed, &mut self.first_tokens] {
            *sum *= prompts;
        }
        (self.output, self.answers) = (self.output * answers, self.answers * answers);
        self.updated_at = now;
    }

    pub(super) fn add(&mut self, interval: &Interval) {
        self.prompt += interval.prompt_tokens;
        self.computed += interval.computed_tokens;
        self.output += interval.generated_tokens;
        self.first_tokens += interval.first_tokens;
        self.answers += f64::midpoint(interval.first_tokens, interval.finished);
    }

    /// Returns the mean lengths; `None` before the first requests.
    pub(super) fn means(&self) -> Option<Lengths> {
        (self.first_tokens >= 1.0 && self.answers >= 1.0).then(|| Lengths {
            prompt: self.prompt / self.first_tokens,
            computed: self.computed / self.first_tokens,
            output: self.output / self.answers,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(count: f64, prompt: f64, output: f64) -> Interval {
        Interval {
            prompt_tokens: count * prompt,
            computed_tokens: count * prompt * 0.6,
            generated_tokens: count * output,
            first_tokens: count,
            finished: count,
            ..Interval::default()
        }
    }

    #[test]
    fn lengths_follow_a_change_within_a_minute_and_keep_a_hundred_requests() {
        let mut sums = LengthSums::default();
        assert_eq!(sums.means(), None);
        let mut feed = |seconds: std::ops::Range<u32>, count: f64, prompt: f64| {
            for at in seconds.step_by(5) {
                sums.begin(f64::from(at));
                sums.add(&requests(count, prompt, 200.0));
            }
            sums.means().unwrap()
        };
        let before = feed(0..300, 300.0, 1_000.0);
        let expected = Lengths { prompt: 1_000.0, computed: 600.0, output: 200.0 };
        assert!((before.computed - expected.computed).abs() < 1e-6, "{before:?}");
        assert!((before.output - expected.output).abs() < 1e-6, "{before:?}");
        let after = feed(300..360, 300.0, 4_000.0);
        assert!(after.prompt > 3_800.0, "{after:?}");
        // A request in a minute changes the mean of the last hundred by a hundredth.
        let rare = feed(10_000..10_005, 1.0, 14_000.0);
        assert!((rare.prompt - after.prompt) < 200.0, "{rare:?}");
    }
}
