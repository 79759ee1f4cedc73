//! The time of an engine's step, fitted online by least squares to what replicas did.
//!
//! Over a time in which a replica is busy, its steps fill the time. Each row of the fit is such a
//! time, divided by itself:
//!
//! ```text
//! 1 = k·base + p·per_prompt_token + g·per_sequence + k·kv·per_kv_token
//! ```
//!
//! with k steps, p computed prompt tokens and g generated tokens per second, and kv tokens in the
//! KV cache. Ordinary ridge regression pulls the four numbers towards a prior until there are rows.
//! The prior needs no profile: on every accelerator the three slopes are within a factor of five of
//! the same multiples of `base`, since all of them follow from the bytes and the operations of the
//! model. So `base` alone follows from the mean time of a step.

use super::{
    record::{numbers, rounded},
    track::Row,
};

/// The slopes of the prior as multiples of `base`: per prompt token, per sequence, per KV token.
/// They are the geometric means over measured engines (Qwen3-32B and Llama 2 70B on A100 and H100).
const SLOPES: [f64; 4] = [1.0, 0.007, 0.005, 3.0e-6];
/// The rows that the prior counts for, each of [`ROW`] seconds.
const RIDGE: f64 = 3.0;
const ROW: f64 = 5.0;
/// The range of a number as multiples of its prior.
const RANGE: (f64, f64) = (0.2, 5.0);
/// The time constant of forgetting, in seconds in which there were rows.
const MEMORY: f64 = 3_600.0;
/// The longest time between two steps that counts as such.
const GAP: f64 = 60.0;
/// The seconds of busy replicas that a model needs to be used.
const ENOUGH: f64 = 60.0;
/// The time constant of the error, in seconds of busy replicas.
const ERROR_MEMORY: f64 = 600.0;
/// The largest usable error of a row, relative to its time.
const MAX_ERROR: f64 = 0.3;

/// The time that a step of an engine takes: a sum of four products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTime {
    /// The seconds of a step with nothing to do.
    pub base: f64,
    /// The seconds that each computed prompt token adds.
    pub per_prompt_token: f64,
    /// The seconds that each decoding sequence adds.
    pub per_sequence: f64,
    /// The seconds that each token in the KV cache adds.
    pub per_kv_token: f64,
}

/// The state of a fit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fit {
    products: [[f64; 4]; 4],
    sums: [f64; 4],
    /// The seconds of all rows, those that are forgotten in part.
    weight: f64,
    /// The sum of the logarithms of each row's `base` by the prior's slopes, by weight.
    log_base: f64,
    squared_error: f64,
    error_weight: f64,
    updated_at: f64,
    /// The rows that have been added.
    rows: u64,
}

/// The state of a model that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unfit {
    /// There are this many seconds of busy replicas, which is too few.
    TooFewRows(f64),
    /// The fitted times are off by this share of the measured ones.
    LargeError(f64),
}

impl Fit {
    /// The numbers of a record: the upper half of `products`, `sums` and four numbers more.
    const NUMBERS: usize = 18;

    /// Returns the number of rows that have been added, those of a restored state excluded.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the state as numbers; `None` without a row.
    pub(super) fn record(&self) -> Option<Vec<f64>> {
        let upper = (0..4).flat_map(|line| self.products[line][line..].iter());
        let Self { weight, log_base, squared_error, error_weight, .. } = self;
        let rest = [weight, log_base, squared_error, error_weight];
        let all = upper.chain(&self.sums).chain(rest).map(|number| rounded(*number));
        (*weight > 0.0).then(|| all.collect())
    }

    /// Takes over a state, as of the time `now`, if it is one.
    pub(super) fn restore(&mut self, record: &[f64], now: f64) {
        let Some(found) = numbers::<{ Self::NUMBERS }>(record) else { return };
        let mut found = found.into_iter();
        let mut next = || found.next().unwrap_or_default();
        let mut fit = Self { updated_at: now, ..Self::default() };
        for line in 0..4 {
            for other in line..4 {
                let product = next();
                (fit.products[line][other], fit.products[other][line]) = (product, product);
            }
        }
        fit.sums = std::array::from_fn(|_| next());
        (fit.weight, fit.log_base) = (next(), next());
        (fit.squared_error, fit.error_weight) = (next(), next());
        if fit.weight > 0.0 && fit.squared_error >= 0.0 && fit.error_weight >= 0.0 {
            *self = fit;
        }
    }

    /// Forgets a part of the past, before rows of a later time are added.
    pub(super) fn begin(&mut self, now: f64) {
        let kept = (-(now - self.updated_at).clamp(0.0, GAP) / MEMORY).exp();
        self.products.iter_mut().flatten().for_each(|sum| *sum *= kept);
        self.sums.iter_mut().for_each(|sum| *sum *= kept);
        (self.weight, self.log_base) = (self.weight * kept, self.log_base * kept);
        self.updated_at = now;
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: &Row) {
        if row.time <= 0.0 || row.steps <= 0.0 {
            return;
        }
        let found = [
            row.steps / row.time,
            row.computed_tokens / row.time,
            row.generated_tokens / row.time,
            row.kv_tokens / row.time,
        ];
        if self.weight >= ENOUGH {
            let fitted = self.model().numbers();
            let error = 1.0 - dot(&found, &fitted);
            let kept = (-row.time / ERROR_MEMORY).exp();
            self.squared_error = self.squared_error * kept + row.time * error * error;
            self.error_weight = self.error_weight * kept + row.time;
        }
        let weight = row.time / ROW;
        for (line, one) in self.products.iter_mut().zip(found) {
            for (sum, other) in line.iter_mut().zip(found) {
                *sum += weight * one * other;
            }
        }
        for (sum, one) in self.sums.iter_mut().zip(found) {
            *sum += weight * one;
        }
        self.rows += 1;
        self.weight += row.time;
        self.log_base -= row.time * dot(&found, &SLOPES).ln();
    }

    /// Returns the model.
    ///
    /// # Errors
    /// Fails while there are too few rows, and if the model does not describe them.
    pub(super) fn usable(&self) -> Result<StepTime, Unfit> {
        if self.weight < ENOUGH {
            return Err(Unfit::TooFewRows(self.weight));
        }
        let error = (self.squared_error / self.error_weight.max(ROW)).sqrt();
        if error > MAX_ERROR { Err(Unfit::LargeError(error)) } else { Ok(self.model()) }
    }

    /// Returns the fitted model, within the range around its prior.
    fn model(&self) -> StepTime {
        let base = (self.log_base / self.weight).exp();
        let prior = SLOPES.map(|slope| slope * base);
        let mut fixed = [None; 4];
        // A number outside of its range is set to the end of it, and the others are fitted again.
        for _ in 0..4 {
            let found = self.solve(&prior, &fixed);
            let outside = (0..4).find(|place| {
                fixed[*place].is_none() && !(RANGE.0..=RANGE.1).contains(&found[*place])
            });
            let Some(place) = outside else { return StepTime::of(&found, &prior) };
            fixed[place] = Some(found[place].clamp(RANGE.0, RANGE.1));
        }
        StepTime::of(&fixed.map(|value| value.unwrap_or(1.0)), &prior)
    }

    /// Solves the normal equations in multiples of the prior, with some of the numbers fixed.
    fn solve(&self, prior: &[f64; 4], fixed: &[Option<f64>; 4]) -> [f64; 4] {
        let mut lines = [[0.0; 5]; 4];
        for (place, line) in lines.iter_mut().enumerate() {
            if let Some(value) = fixed[place] {
                (line[place], line[4]) = (1.0, value);
                continue;
            }
            for other in 0..4 {
                line[other] = self.products[place][other] * prior[place] * prior[other];
            }
            line[place] += RIDGE;
            line[4] = self.sums[place] * prior[place] + RIDGE;
        }
        eliminate(lines)
    }
}

impl StepTime {
    fn of(multiples: &[f64; 4], prior: &[f64; 4]) -> Self {
        let [base, per_prompt_token, per_sequence, per_kv_token] =
            std::array::from_fn(|place| multiples[place] * prior[place]);
        Self { base, per_prompt_token, per_sequence, per_kv_token }
    }

    fn numbers(&self) -> [f64; 4] {
        [self.base, self.per_prompt_token, self.per_sequence, self.per_kv_token]
    }
}

fn dot(one: &[f64; 4], other: &[f64; 4]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// Solves four equations by elimination. The matrix is positive definite by its ridge, so that no
/// pivot is zero.
pub(super) fn eliminate(mut lines: [[f64; 5]; 4]) -> [f64; 4] {
    for place in 0..4 {
        let pivot = lines[place];
        for (_, line) in lines.iter_mut().enumerate().filter(|(other, _)| *other != place) {
            let factor = line[place] / pivot[place];
            line.iter_mut().zip(pivot).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    std::array::from_fn(|place| lines[place][4] / lines[place][place])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Qwen3-32B on 2 H100, 1 A100, 1 H20; Llama 2 70B on 4 A100: the profiles of the simulator.
    const ENGINES: [[f64; 4]; 4] = [
        [0.017, 0.066e-3, 0.08e-3, 0.05e-6],
        [0.044_5, 0.265e-3, 0.05e-3, 0.16e-6],
        [0.026, 0.63e-3, 0.25e-3, 0.087e-6],
        [0.03, 0.22e-3, 0.2e-3, 0.05e-6],
    ];

    /// Returns the row of a replica in 15 s with so many sequences of 1,200 tokens, of which each
    /// step admits some.
    fn row(engine: &[f64; 4], sequences: f64, admitted: f64, noise: f64) -> Row {
        let (prompt, kv) = (admitted * 1_000.0, sequences * 1_200.0);
        let step = dot(engine, &[1.0, prompt, sequences, kv]);
        let steps = 15.0 / step;
        Row {
            time: 15.0,
            steps,
            computed_tokens: steps * prompt * noise,
            generated_tokens: steps * sequences,
            kv_tokens: steps * kv,
        }
    }

    #[test]
    fn a_model_needs_a_minute_of_busy_replicas() {
        let mut fit = Fit::default();
        for rows in 0..4 {
            assert_eq!(fit.usable(), Err(Unfit::TooFewRows(15.0 * f64::from(rows))));
            fit.add(&row(&ENGINES[0], 20.0, 0.2, 1.0));
        }
        // What four rows do not tell is the prior's; the step that they had is fitted.
        let model = fit.usable().unwrap();
        let step = |model: &[f64; 4]| dot(model, &[1.0, 200.0, 20.0, 24_000.0]);
        assert!((step(&model.numbers()) / step(&ENGINES[0]) - 1.0).abs() < 0.02, "{model:?}");
    }

    #[test]
    fn rows_of_another_kind_of_engine_are_an_error() {
        let mut fit = Fit::default();
        for index in 0..200 {
            // The rows are of steps that take four times as long every other time, without a cause.
            let slow = if index % 2 == 0 { 1.0 } else { 4.0 };
            let engine = ENGINES[0].map(|number| number * slow);
            fit.add(&row(&engine, 20.0, 0.2, 1.0));
        }
        assert!(matches!(fit.usable(), Err(Unfit::LargeError(error)) if error > 0.3));
    }

    #[test]
    fn an_engine_that_becomes_faster_is_followed() {
        let mut fit = Fit::default();
        let mut busy = |engine: &[f64; 4], from: u32| {
            for index in from..from + 480 {
                fit.begin(15.0 * f64::from(index));
                fit.add(&row(engine, f64::from(index % 40 + 3), f64::from(index % 3) * 0.1, 1.0));
            }
            fit.model().base
        };
        assert!((busy(&ENGINES[0], 0) / 0.017 - 1.0).abs() < 0.03);
        assert!(busy(&ENGINES[0].map(|number| number / 2.0), 480) < 0.012);
    }

    proptest! {
        /// The fitted time of a step is within 8 % of the engine's, over the range of loads that
        /// rows were seen of, although prompts are counted with an error of a tenth.
        #[test]
        fn a_step_time_is_learned_of_any_engine(
            engine in 0usize..ENGINES.len(), scale in 0.3f64..3.0,
            loads in prop::collection::vec((3.0f64..40.0, 0.02f64..0.6, 0.9f64..1.1), 120..240),
        ) {
            let engine = ENGINES[engine].map(|number| number * scale);
            let mut fit = Fit::default();
            for (sequences, admitted, noise) in loads {
                fit.add(&row(&engine, sequences, admitted, noise));
            }
            let model = fit.usable().unwrap().numbers();
            for (prompt, sequences) in [(50.0, 8.0), (300.0, 20.0), (500.0, 35.0)] {
                let load = [1.0, prompt, sequences, sequences * 1_200.0];
                let ratio = dot(&model, &load) / dot(&engine, &load);
                prop_assert!((ratio - 1.0).abs() < 0.08, "{ratio} {model:?} {engine:?}");
            }
        }
    }
}
