//! The parsing of options, and the reading of files.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use llm_autoscaler_simulate::arrivals::Trace;

/// Reads a file as text.
pub(crate) fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Reads a file with a trace.
pub(crate) fn read_trace(file: &Path) -> anyhow::Result<Arc<Trace>> {
    let trace = Trace::parse(&read(file)?);
    Ok(Arc::new(trace.with_context(|| file.display().to_string())?))
}

/// Parses a number of at least 0.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is to be a number".to_owned())?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err("it is to be a number of at least 0".to_owned())
    }
}

/// Parses a number of percent.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let percent = positive(text)?;
    if percent <= 100.0 { Ok(percent) } else { Err("it is to be a number up to 100".to_owned()) }
}

/// Parses a share.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = positive(text)?;
    if share <= 1.0 { Ok(share) } else { Err("it is to be a share from 0 to 1".to_owned()) }
}
