//! The lengths of synthetic requests.

use std::sync::Arc;

use fastrand::Rng;

use super::Trace;
use crate::random::lognormal;

/// The lengths of prompts and answers.
#[derive(Debug, Clone)]
pub enum Lengths {
    /// Those of a request of a trace, drawn at random.
    Trace(Arc<Trace>),
    /// Random lengths with these means. `sigma` is that of the logarithm: 0 for constant lengths.
    Lognormal {
        /// The mean length of prompts in tokens.
        prompt: f64,
        /// The mean length of answers in tokens.
        output: f64,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
}

impl Lengths {
    /// Draws the lengths of a prompt and its answer.
    pub(super) fn draw(&self, rng: &mut Rng) -> (u32, u32) {
        match self {
            Self::Trace(trace) => {
                let record = trace.records()[rng.usize(..trace.records().len())];
                (record.prompt_tokens, record.output_tokens)
            }
            Self::Lognormal { prompt, output, sigma } => {
                let mut length = |mean: f64| {
                    let median = mean * (-sigma * sigma / 2.0).exp();
                    lognormal(rng, median, *sigma).round().clamp(1.0, 1e6) as u32
                };
                (length(*prompt), length(*output))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_means_that_were_asked_for() {
        let mut rng = Rng::with_seed(1);
        let lengths = Lengths::Lognormal { prompt: 1000.0, output: 200.0, sigma: 0.8 };
        let drawn: Vec<_> = (0..20_000).map(|_| lengths.draw(&mut rng)).collect();
        let mean = |of: fn(&(u32, u32)) -> u32| {
            drawn.iter().map(|pair| f64::from(of(pair))).sum::<f64>() / drawn.len() as f64
        };
        assert!((mean(|pair| pair.0) / 1000.0 - 1.0).abs() < 0.03);
        assert!((mean(|pair| pair.1) / 200.0 - 1.0).abs() < 0.03);
        let constant = Lengths::Lognormal { prompt: 4000.0, output: 1000.0, sigma: 0.0 };
        assert_eq!(constant.draw(&mut rng), (4000, 1000));
    }
}
