//! The explanation of a size, read back and compared with the engine as it was configured.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_testbed::engine::EngineConfig;

/// A size as a status explains it: `n=7: at 6 p99 ITL would be 93 ms > 88 ms, 54 ms in the mean (41
/// req/s, 1150 in, 210 out); 3 % more are expected`.
#[derive(Debug, Clone)]
pub(crate) struct Explanation {
    /// The number of replicas that fails.
    fewer: f64,
    /// The requirement that it fails.
    binding: String,
    /// What it would have, in milliseconds or percent: of an ITL, the mean of all requests.
    predicted: f64,
    /// The requests per second, with those that are expected.
    rate: f64,
    /// The percentage of requests that are expected beside those that arrive.
    expected: f64,
    input: f64,
    output: f64,
}

impl Explanation {
    /// Reads a text.
    ///
    /// # Errors
    /// It has another form.
    pub(crate) fn read(text: &str) -> Result<Self> {
        Self::parse(text).with_context(|| format!("the reason of a size is {text:?}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(": at ")?;
        let (fewer, rest) = rest.split_once(' ')?;
        let (binding, rest) = rest.split_once(" would be ")?;
        let (claim, load) = rest.split_once(" (")?;
        let mean = claim.strip_suffix(" ms in the mean").and_then(|it| it.rsplit(' ').next());
        let predicted = mean.or_else(|| claim.split(' ').next())?;
        let (load, more) = load.split_once(" out)")?;
        let (rate, lengths) = load.split_once(" req/s, ")?;
        let (input, output) = lengths.split_once(" in, ")?;
        let expected = more.strip_prefix("; ").and_then(|more| more.split_once(" % more are"));
        let expected: f64 = expected.and_then(|(it, _)| it.parse().ok()).unwrap_or_default();
        let rate: f64 = rate.parse().ok()?;
        Some(Self {
            fewer: fewer.parse().ok()?,
            binding: binding.to_owned(),
            predicted: predicted.parse().ok()?,
            rate: rate * (1.0 + expected / 100.0),
            expected,
            input: input.parse().ok()?,
            output: output.parse().ok()?,
        })
    }

    /// Returns true if the load is steady: what is expected is the headroom for errors of
    /// forecasts, and no rise that goes on.
    pub(crate) fn is_steady(&self) -> bool {
        self.expected <= 20.0
    }

    /// Checks that the capacity that is predicted of one replica fewer is within a tenth of the
    /// engine's: the load at which the engine takes what is predicted, beside the load. A load is
    /// printed with two digits, so that it may be off by a few percent by itself.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn agrees_with(&self, engine: &EngineConfig) -> Result<String> {
        let rate = self.rate / self.fewer;
        let per_sequence = engine.step_per_sequence.as_secs_f64();
        let busy =
            rate * (self.input / engine.prefill_tokens_per_second + self.output * per_sequence);
        let base = 1000.0 * engine.step_base.as_secs_f64();
        let (truth, predicted_busy) = match &*self.binding {
            "utilization" => (100.0 * busy, self.predicted / 100.0),
            // Of slow requests the ITL depends on when prompts arrive; the mean does not.
            "p99 ITL" => (base / (1.0 - busy), 1.0 - base / self.predicted),
            other => anyhow::bail!("{other} is no requirement of this load"),
        };
        let Self { predicted, fewer, binding, .. } = self;
        let off = predicted_busy / busy - 1.0;
        let text = format!(
            "at {fewer} {binding} is {truth:.0}, predicted {predicted:.0}, which is a capacity off \
             by {:.0} %",
            100.0 * off
        );
        ensure!(off.abs() < 0.1, "{text}: {self:?}");
        Ok(text)
    }
}
