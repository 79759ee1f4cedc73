//! The coefficients of a profile by which the model is nearest to measured runs.

use llm_autoscaler_simulate::EngineProfile;

use crate::measured::{Request, Run};

/// The factors by which a coefficient is changed, from coarse to fine.
const FACTORS: [f64; 6] = [2.0, 1.4, 1.15, 1.06, 1.025, 1.01];
/// The most rounds with one factor.
const ROUNDS: usize = 6;

type Coefficient = fn(&mut EngineProfile) -> &mut f64;

/// The coefficients of a step.
const COEFFICIENTS: [Coefficient; 4] = [
    |profile| &mut profile.base_ms,
    |profile| &mut profile.prefill_ms_per_token,
    |profile| &mut profile.sequence_ms,
    |profile| &mut profile.kv_us_per_token,
];

/// The shares of the start's coefficients from which a fit begins: of a prompt token, a sequence,
/// and a token in the KV cache. A fit from one of them may end before the best.
const STARTS: [[f64; 3]; 4] = [[1.0, 1.0, 1.0], [0.1, 3.0, 0.1], [3.0, 0.3, 1.0], [3.0, 3.0, 0.1]];

/// Returns the best of the fits from several starts.
pub(crate) fn fit(start: &EngineProfile, runs: &[&Run]) -> EngineProfile {
    let fits = STARTS.map(|shares| {
        let mut start = start.clone();
        for (coefficient, share) in COEFFICIENTS[1..].iter().zip(shares) {
            *coefficient(&mut start) *= share;
        }
        fit_from(start, runs)
    });
    let (mut best, _) = fits.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
    for coefficient in COEFFICIENTS {
        let value = coefficient(&mut best);
        *value = rounded(*value);
    }
    best
}

/// Changes one coefficient after another, and two against each other, while that brings the model
/// nearer to the runs. Returns the profile and its distance.
fn fit_from(start: EngineProfile, runs: &[&Run]) -> (EngineProfile, f64) {
    let least = distance(&start, runs);
    let mut best = (start, least);
    for factor in FACTORS {
        for _ in 0..ROUNDS {
            let before = best.1;
            for change in changes(factor) {
                let mut tried = best.0.clone();
                for (coefficient, times) in COEFFICIENTS.into_iter().zip(change) {
                    *coefficient(&mut tried) *= times;
                }
                let found = distance(&tried, runs);
                if found < best.1 {
                    best = (tried, found);
                }
            }
            if best.1 >= before {
                break;
            }
        }
    }
    best
}

/// Returns the factors of all coefficients for each change: of one of them, and of two in opposite
/// directions.
fn changes(factor: f64) -> Vec<[f64; 4]> {
    let mut changes = Vec::new();
    for one in 0..COEFFICIENTS.len() {
        for times in [factor, 1.0 / factor] {
            for other in 0..COEFFICIENTS.len() {
                let mut change = [1.0; 4];
                change[other] = 1.0 / times;
                change[one] = times;
                changes.push(change);
            }
        }
    }
    changes
}

/// Returns the mean differences of TTFT and ITL, request by request, relative to their means.
fn distance(profile: &EngineProfile, runs: &[&Run]) -> f64 {
    let of_run = |run: &&Run| {
        let model = run.modelled(profile);
        let off = |of: fn(&Request) -> f64| {
            let pairs = run.each(of).into_iter().zip(model.each(of));
            let (differences, sum) = pairs.fold((0.0, 0.0), |(differences, sum), (real, found)| {
                (differences + (found - real).abs(), sum + real)
            });
            differences / sum
        };
        off(|it| it.ttft) + off(|it| it.itl)
    };
    runs.iter().map(of_run).sum()
}

/// Returns the number with three digits.
fn rounded(value: f64) -> f64 {
    if value <= 0.0 {
        return value;
    }
    let scale = 10_f64.powi(2 - value.log10().floor() as i32);
    (value * scale).round() / scale
}
