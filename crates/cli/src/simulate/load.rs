//! The options of the load.

use std::{path::PathBuf, str::FromStr};

use clap::ArgGroup;
use llm_autoscaler_simulate::{
    SimulateError,
    arrivals::{Lengths, Load, Shape, Spread, SyntheticLoad, TraceLoad},
};

use super::numbers::{positive, read_trace};

/// The seconds of a day.
const DAY: f64 = 86_400.0;
/// The most days that are simulated.
const LONGEST: f64 = 366.0;

/// The options of the load: a trace, a shape, or a shape with the lengths of a trace.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("source").args(["trace", "arrivals"]).required(true).multiple(true))]
pub(crate) struct LoadArgs {
    /// A trace: a CSV file with a line for each request, as docs/simulate.md describes it. With
    /// --arrivals, only its lengths are used.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Random arrivals of a shape, such as step:base=16,peak=80,length=3600; docs/simulate.md has
    /// the shapes.
    #[arg(long, value_name = "SHAPE")]
    arrivals: Option<NamedShape>,
    /// The number of copies of the trace.
    #[arg(long, conflicts_with = "arrivals", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    copies: u32,
    /// Shift the copies against each other, as independent users are. By default each request is
    /// only up to --jitter seconds late.
    #[arg(long, conflicts_with = "arrivals")]
    shift: bool,
    /// The time by which the requests of copies are late at most, in seconds.
    #[arg(long, conflicts_with = "arrivals", default_value_t = 2.0, value_parser = positive, value_name = "SECONDS")]
    jitter: f64,
    /// The mean length of random prompts, in tokens.
    #[arg(long, conflicts_with = "trace", default_value_t = 1155.0, value_parser = positive, value_name = "TOKENS")]
    input: f64,
    /// The mean length of random answers, in tokens.
    #[arg(long, conflicts_with = "trace", default_value_t = 211.0, value_parser = positive, value_name = "TOKENS")]
    output_tokens: f64,
    /// The standard deviation of the logarithm of random lengths; 0 for constant ones.
    #[arg(long, conflicts_with = "trace", default_value_t = 0.8, value_parser = positive)]
    sigma: f64,
    /// The time at the start that does not count, in seconds. A trace's start is mirrored in it.
    #[arg(long, default_value_t = 600.0, value_parser = positive, value_name = "SECONDS")]
    pub(crate) warm_up: f64,
}

/// A shape, and the text that it was parsed from.
#[derive(Clone, Debug)]
struct NamedShape {
    text: String,
    shape: Shape,
}

impl FromStr for NamedShape {
    type Err = SimulateError;

    fn from_str(text: &str) -> Result<Self, SimulateError> {
        Ok(Self { text: text.to_owned(), shape: text.parse()? })
    }
}

impl LoadArgs {
    /// Returns the load in a few words.
    pub(crate) fn words(&self) -> String {
        let trace = self.trace.as_ref().and_then(|file| file.file_name());
        let trace = trace.map(|name| name.to_string_lossy().into_owned());
        let shape = self.arrivals.as_ref().map(|arrivals| arrivals.text.clone());
        let mut words: Vec<String> = shape.into_iter().chain(trace).collect();
        if self.copies > 1 {
            words.push(format!("{} copies", self.copies));
        }
        words.join(", ")
    }

    /// Reads the load.
    pub(crate) fn load(&self) -> anyhow::Result<Load> {
        let load = self.any_load()?;
        let days = load.duration() / DAY;
        anyhow::ensure!(
            days <= LONGEST,
            "the load lasts {days:.0} days with its warm-up, and at most {LONGEST} are simulated; \
             lengths and arrivals are in seconds"
        );
        Ok(load)
    }

    fn any_load(&self) -> anyhow::Result<Load> {
        let trace = self.trace.as_deref().map(read_trace).transpose()?;
        let warm_up = self.warm_up;
        match (&self.arrivals, trace) {
            (Some(shape), trace) => {
                let lengths = trace.map_or(
                    Lengths::Lognormal {
                        prompt: self.input.max(1.0),
                        output: self.output_tokens.max(1.0),
                        sigma: self.sigma,
                    },
                    Lengths::Trace,
                );
                let shape = shape.shape.clone();
                Ok(Load::Synthetic(SyntheticLoad { shape, lengths, warm_up }))
            }
            (None, Some(trace)) => {
                let is_single = self.copies == 1;
                let jitter = if is_single { 0.0 } else { self.jitter };
                let spread = if self.shift { Spread::Shift } else { Spread::Jitter(jitter) };
                Ok(Load::Trace(TraceLoad { trace, copies: self.copies, spread, warm_up }))
            }
            (None, None) => anyhow::bail!("there is no load; add --trace FILE or --arrivals SHAPE"),
        }
    }
}
