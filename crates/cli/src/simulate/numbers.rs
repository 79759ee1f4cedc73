//! The parsing of options, and the reading of files.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use llm_autoscaler_simulate::arrivals::Trace;

/// Reads a file as text.
pub(crate) fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Fails if the folder of a page of pictures is absent, before anything is simulated.
pub(crate) fn check_pictures(file: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let is_there = folder.is_none_or(Path::is_dir) && !file.is_dir();
    anyhow::ensure!(
        is_there,
        "writing the pictures to {}: name a file in a folder that exists",
        file.display()
    );
    Ok(())
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

/// Parses a number of percent above 0.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let percent = positive(text)?;
    if percent > 0.0 && percent <= 100.0 {
        Ok(percent)
    } else {
        Err("it is to be a number above 0, up to 100".to_owned())
    }
}

/// Parses a share.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = positive(text)?;
    if share <= 1.0 { Ok(share) } else { Err("it is to be a share from 0 to 1".to_owned()) }
}
