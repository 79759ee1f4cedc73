//! The record of what the SLO mode has learned, small enough for a status.

use serde::{Deserialize, Serialize};

use super::{Promise, Slo, SloPolicy, SloSize, lengths::Lengths};

/// What an [`Slo`] has learned of its engine and of its requests: at most
/// [`Learned::NUMBERS`] numbers, which are rounded to seven digits. The loads of the recent past
/// are not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Learned {
    /// The state of the fit of the time of a step.
    pub fit: Vec<f64>,
    /// The state of the mean lengths of requests.
    pub lengths: Vec<f64>,
    /// The margins that the share of late requests has moved.
    pub margins: Vec<f64>,
    /// The latest start-up times in seconds, latest last.
    pub starts: Vec<f64>,
    /// The smallest KV cache of a replica, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_capacity: Option<f64>,
    /// The sequences that a batch can have, if it has been seen full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<f64>,
}

impl Learned {
    /// The most numbers of a record.
    pub const NUMBERS: usize = 43;
}

impl Slo {
    /// Returns what has been learned; `None` before there is anything of the engine.
    pub fn learned(&self) -> Option<Learned> {
        let fit = self.fit.record()?;
        Some(Learned {
            fit,
            lengths: self.lengths.record(),
            margins: self.feedback.record(),
            starts: self.starts.record(),
            kv_capacity: self.kv_capacity.map(rounded),
            sequences: self.sequences,
        })
    }

    /// Returns a number that grows with each row of the fit: while it stands still there is nothing
    /// new to record.
    pub fn rows(&self) -> u64 {
        self.fit.rows()
    }

    /// Returns the mode with what has been learned, at the time `now`. A part of the record that is
    /// not understood counts as not learned.
    pub fn restored(learned: &Learned, now: f64) -> Self {
        let Learned { kv_capacity, sequences, .. } = *learned;
        let mut slo = Self { kv_capacity, sequences, ..Self::default() };
        slo.fit.restore(&learned.fit, now);
        slo.lengths.restore(&learned.lengths, now);
        slo.feedback.restore(&learned.margins);
        slo.starts.restore(&learned.starts);
        slo
    }
}

impl SloSize {
    /// Returns the times of one request alone on an idle replica, by the learned model: a promise
    /// below them cannot be kept by any number of replicas.
    pub fn alone(&self) -> Promise {
        let (model, Lengths { prompt, computed, output }) = (&self.model, self.lengths);
        let context = prompt + output / 2.0;
        Promise {
            time_to_first_token: model.base + model.per_prompt_token * computed,
            inter_token_latency: model.base + model.per_sequence + model.per_kv_token * context,
        }
    }
}

impl SloPolicy {
    /// Returns the policy of a promise to 99 % of the requests, within these limits of the size.
    pub const fn new(promise: Promise, min: u32, max: u32) -> Self {
        let role = super::SloRole::Both;
        Self { promise, min, max, late: 0.01, headroom: 0.0, role, stabilized: 0.0 }
    }
}

/// Returns the numbers of a record, if there are as many as expected, and all of them are finite.
pub(super) fn numbers<const COUNT: usize>(record: &[f64]) -> Option<[f64; COUNT]> {
    let numbers: [f64; COUNT] = record.try_into().ok()?;
    numbers.iter().all(|number| number.is_finite()).then_some(numbers)
}

/// Rounds to seven digits, which are enough for sums of measured numbers and short as text.
pub(super) fn rounded(number: f64) -> f64 {
    format!("{number:.6e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_as_many_finite_numbers_as_expected() {
        assert_eq!(numbers::<2>(&[1.0, 2.0]), Some([1.0, 2.0]));
        for record in [&[1.0][..], &[1.0, 2.0, 3.0], &[1.0, f64::NAN], &[1.0, f64::INFINITY]] {
            assert_eq!(numbers::<2>(record), None, "{record:?}");
        }
    }

    #[test]
    fn numbers_of_a_record_have_seven_digits() {
        for (number, expected) in
            [(123_456_789.0, 123_456_800.0), (-1.0 / 3.0, -0.333_333_3), (0.0, 0.0)]
        {
            assert_eq!(rounded(number).to_bits(), f64::to_bits(expected), "{number}");
        }
    }

    #[test]
    fn a_record_that_is_not_understood_is_nothing_learned() {
        let nonsense = Learned {
            fit: vec![1.0; 3],
            lengths: vec![f64::NAN; 5],
            margins: vec![-1.0, 9.0],
            starts: vec![-5.0, f64::INFINITY, 60.0],
            kv_capacity: None,
            sequences: None,
        };
        let slo = Slo::restored(&nonsense, 10.0);
        assert_eq!(slo.learned(), None);
        assert_eq!(slo.feedback.margins(), Slo::default().feedback.margins());
        assert!((slo.starts.time() - 60.0).abs() < 1e-9, "only the time that can be one");
    }
}
